"""The settings of the proof: protocol, networks and controls."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from padray.evaluation import published
from padray.evaluation.published import PROTOCOLS, TAUGHT, Protocol
from padray.networks.settings import Architecture, NetworkSettings
from padray.settings.sections import (
    Augmentation,
    Batch,
    Epochs,
    NotNegative,
    Positive,
    Section,
    Share,
    Units,
)

_MOST_CELLS = 20_000  # of one source of training samples
OWN = ("epochs", "batch", "momentum", "weight_decay", "augment")  # of a protocol's row, what settings may change


class ControlSettings(Section):
    """What is trained by the protocol of the set beside it: random real samples always, the rest if asked for.

    random_soft: random real samples labelled by the mean logits of all experts. hard_labels: the set's images with
    the class of each instead of what was learned. full: all training data, those samples too that a keep-list
    (`schedule`) leaves out, from which the random ones are never drawn. A control's learning rate is the best of
    `lrs` on the validation split (on a fixed tenth of the training split where there is none), judged by the first
    `tuning_seeds` seeds. full_lrs, full_seeds: the same of `full` alone, which costs most; left out, they are `lrs` and
    `evaluation.seeds`.
    """

    lrs: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=100)] = (0.003, 0.01, 0.03, 0.1)
    tuning_seeds: Units = 2
    random_soft: bool = False
    hard_labels: bool = False
    full: bool = False
    full_epochs: Epochs = 100
    full_lrs: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=100)] | None = None
    full_seeds: Units | None = None

    def lrs_on(self, source: str) -> tuple[float, ...]:
        """What a control chooses its learning rate from."""
        return (self.full_lrs if source == "full" else None) or self.lrs

    def tuning_on(self, source: str) -> int:
        """How many seeds choose it."""
        own = self.full_seeds if source == "full" else None
        return self.tuning_seeds if own is None else min(own, self.tuning_seeds)


class TeacherSettings(Section):
    """Knowledge-distillation evaluation (PAD Table 9): a teacher trained on real data labels each mixed batch.

    The teacher is trained by tm1001, for `epochs` with `teacher_lr` and `teacher_batch`. The student
    minimises KL(teacher || student) of outputs softened by `temperature`, with AdamW at `lr` and a cosine that ends
    at half of it. Which epoch out of the last fifth counts, the validation split says; without one, it is the last.
    """

    network: Architecture = NetworkSettings(norm="batch")
    epochs: Epochs = 60
    teacher_lr: Positive = 0.01
    teacher_batch: Batch = 128
    temperature: Positive = 20.0
    mix: Literal["cutmix", "mixup", "none"] = "cutmix"
    lr: Positive = 0.001
    weight_decay: NotNegative = 0.01


class EvaluationSettings(Section):
    """Fresh networks trained on the set, tested on real data.

    protocol: how they are trained, a row of published.py: tm1001 (MTT's), dc300, dsa1000, idc, deepcore, or rded-kd,
    knowledge distillation by a teacher, which judges the images alone. epochs, batch, momentum, weight_decay, augment:
    left out, the protocol's. What is chosen while distilling and searching is always judged by tm1001, with these in
    its row's place. metric: what the learning rates of controls, the best iterate and the best trial are chosen by;
    both are always reported. lr: what networks are trained with on the set; left out, it is the one that was learned
    with the set or, where none was, the protocol's; `chosen`: one of controls.lrs, chosen as a control's is, whatever
    the set brings, which is the fair way beside a control where nothing was learned. double_training: not how a set
    should be judged, but how FTD's and ATT's scripts judge an average of images: by the network that was just trained
    on the images before averaging, so that it is trained for twice as long as anything beside it, which the gain of
    averaging cannot be told from.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"architectures", "seeds", "seed"})
    architectures: Annotated[tuple[Architecture, ...], Field(max_length=100)] = ()
    protocol: published.Name = published.DEFAULT
    metric: Literal["accuracy", "balanced_accuracy"] = "accuracy"
    lr: Positive | Literal["chosen"] | None = None
    seeds: Units = 5
    epochs: Epochs | None = None
    batch: Batch | None = None
    momentum: Share | None = None
    weight_decay: NotNegative | None = None
    augment: Augmentation | None = None
    double_training: bool = False
    controls: ControlSettings = ControlSettings()
    teacher: TeacherSettings = TeacherSettings()
    seed: int | None = None

    @model_validator(mode="after")
    def _cells_that_can_be_made(self) -> "EvaluationSettings":
        of_network = self.seeds + len(self.controls.lrs) * self.controls.tuning_seeds
        cells = (1 + len(self.architectures)) * of_network
        if cells > _MOST_CELLS:
            raise ValueError(
                f"1 + {len(self.architectures)} architectures, each with {self.seeds} seeds and "
                f"{len(self.controls.lrs)} controls.lrs of {self.controls.tuning_seeds} controls.tuning_seeds, are "
                f"{cells:,} networks for a control; {_MOST_CELLS:,} are the most"
            )
        return self

    @model_validator(mode="after")
    def _labels_that_matter(self) -> "EvaluationSettings":
        asked = [name for name in ("random_soft", "hard_labels", "full") if getattr(self.controls, name)]
        if self.taught and asked:
            raise ValueError(
                f"controls.{asked[0]} needs another protocol, such as tm1001; with protocol: {TAUGHT} the teacher "
                f"labels every image, and real ones are the `random` control"
            )
        if self.taught and self.chooses_lr:
            raise ValueError(f"lr: chosen needs another protocol than {TAUGHT}, whose students have teacher.lr")
        if self.taught and self.double_training:
            raise ValueError(f"double_training needs another protocol than {TAUGHT}, which has no such thing")
        return self

    @property
    def fixed_lr(self) -> float | None:
        """The lr that the settings name for the set, if they do."""
        return self.lr if isinstance(self.lr, float) else None

    @property
    def chooses_lr(self) -> bool:
        """Whether the set's lr is chosen as a control's is."""
        return self.lr == "chosen"

    @property
    def taught(self) -> bool:
        """Whether a teacher labels every batch."""
        return self.protocol == TAUGHT

    @property
    def own(self) -> dict[str, Any]:
        """The values that are set here and not left to the protocol."""
        values = {name: getattr(self, name) for name in OWN}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def training(self) -> Protocol:
        """How networks are trained: the protocol's row, with what is set here in its place."""
        return replace(PROTOCOLS[self.protocol], **self.own)

    @property
    def judging(self) -> Protocol:
        """How networks are trained that choose among iterates and trials: the same of tm1001, whatever the protocol."""
        return replace(PROTOCOLS[published.DEFAULT], **self.own)

    def twice(self, source: str) -> bool:
        """Whether networks are trained twice over on this source, see `double_training`."""
        return self.double_training and source == "distilled"

    def seeds_on(self, source: str) -> int:
        """How many networks are trained on a source and tell its accuracy."""
        own = self.controls.full_seeds if source == "full" else None
        return self.seeds if own is None else own

    def epochs_on(self, source: str) -> int:
        """For how many epochs a network is trained on a set or a control of its size."""
        return self.training.epochs * (1 + self.twice(source))

    def protocol_on(self, source: str) -> str:
        """How networks are trained on a source: as `protocol_text`, or twice so."""
        return f"{self.protocol_text}, twice over" if self.twice(source) else self.protocol_text

    @property
    def protocol_text(self) -> str:
        """The protocol's name, and what is set otherwise: `dc300 (epochs 50)`."""
        row = PROTOCOLS[self.protocol]
        others = [f"{name} {value}" for name, value in self.own.items() if value != getattr(row, name)]
        others += [f"lr {self.fixed_lr:g}"] if self.fixed_lr is not None else []
        return f"{self.protocol} ({', '.join(others)})" if others else self.protocol
