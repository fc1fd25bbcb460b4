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
    """What is trained by the protocol of the set beside it: random real samples always, the rest if asked for."""

    lrs: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=100)] = (0.003, 0.01, 0.03, 0.1)
    """A control's learning rate is the best of these on the validation split, or on a fixed tenth of the training
    split where there is none. [ours]"""
    tuning_seeds: Units = 2
    """Judged by so many networks. [ours]"""
    random_soft: bool = False
    """Also: random real samples, labelled by the mean logits of all experts. [ours]"""
    hard_labels: bool = False
    """Also: the set's images with the class of each in place of what was learned. [ours]"""
    full: bool = False
    """Also: all training data, those samples too that a keep-list leaves out. [ours]"""
    full_epochs: Epochs = 100
    """For how many epochs networks are trained on all data. [ours]"""
    full_lrs: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=100)] | None = None
    """Learning rates of the control `full` alone, which costs most; left out, they are `lrs`. [ours]"""
    full_seeds: Units | None = None
    """Networks on all training data; left out, `evaluation.seeds`. [ours]"""

    def lrs_on(self, source: str) -> tuple[float, ...]:
        """What a control chooses its learning rate from."""
        return (self.full_lrs if source == "full" else None) or self.lrs

    def tuning_on(self, source: str) -> int:
        """How many seeds choose it."""
        own = self.full_seeds if source == "full" else None
        return self.tuning_seeds if own is None else min(own, self.tuning_seeds)


class TeacherSettings(Section):
    """Knowledge-distillation evaluation (PAD Table 9): a teacher trained on real data labels each mixed batch.

    The student minimises KL(teacher || student) of softened outputs. Which epoch out of the last fifth counts, the
    validation split says; without one, it is the last.
    """

    network: Architecture = NetworkSettings(norm="batch")
    """The teacher. [RDED]"""
    epochs: Epochs = 60
    """For how many epochs it is trained, by tm1001. [ours]"""
    teacher_lr: Positive = 0.01
    """Its learning rate. [ours]"""
    teacher_batch: Batch = 128
    """Its batch. [ours]"""
    temperature: Positive = 20.0
    """By which both outputs are softened. [RDED]"""
    mix: Literal["cutmix", "mixup", "none"] = "cutmix"
    """How the images of a batch are mixed. [RDED]"""
    lr: Positive = 0.001
    """The student's learning rate, with AdamW and a cosine that ends at half of it. [RDED]"""
    weight_decay: NotNegative = 0.01
    """The student's. [RDED]"""


class EvaluationSettings(Section):
    """Fresh networks trained on the set, tested on real data."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"architectures", "seeds", "seed"})
    architectures: Annotated[tuple[Architecture, ...], Field(max_length=100)] = ()
    """Further networks, beside the one that the set was made with; each a name or a section. [ours]"""
    protocol: published.Name = published.DEFAULT
    """How fresh networks are trained on the set: a row of the table below. What is chosen while distilling and
    searching is always judged by tm1001. [PAD]"""
    metric: Literal["accuracy", "balanced_accuracy"] = "accuracy"
    """By which learning rates of controls, the best iterate and the best trial are chosen; both are always reported.
    [ours]"""
    lr: Positive | Literal["chosen"] | None = None
    """What networks are trained with on the set; left out, what was learned with it or, where nothing was, the
    protocol's. `chosen`: one of controls.lrs, chosen as a control's is, whatever the set brings: the fair way where
    nothing was learned. [PAD]"""
    seeds: Units = 5
    """Fresh networks for each network and source. [PAD]"""
    epochs: Epochs | None = None
    """In the place of the protocol's. [PAD]"""
    batch: Batch | None = None
    """In the place of the protocol's. [PAD]"""
    momentum: Share | None = None
    """In the place of the protocol's. [PAD]"""
    weight_decay: NotNegative | None = None
    """In the place of the protocol's. [PAD]"""
    augment: Augmentation | None = None
    """In the place of the protocol's. [PAD]"""
    double_training: bool = False
    """Judge a moving average as FTD's and ATT's scripts do, by a network that was just trained on the images before
    averaging: it is trained for twice as long as anything beside it, and no gain can be told from that. [ours]"""
    controls: ControlSettings = ControlSettings()
    teacher: TeacherSettings = TeacherSettings()
    seed: int | None = None
    """In the common seed's place; also of the real samples that the control draws. [ours]"""

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
        return replace(self.row, **self.own)

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
    def row(self) -> Protocol:
        """The protocol as its papers have it."""
        return PROTOCOLS[self.protocol]

    @property
    def protocol_text(self) -> str:
        """The protocol's name, and what is set otherwise: `dc300 (epochs 50)`."""
        others = [f"{name} {value}" for name, value in self.own.items() if value != getattr(self.row, name)]
        others += [f"lr {self.fixed_lr:g}"] if self.fixed_lr is not None else []
        return f"{self.protocol} ({', '.join(others)})" if others else self.protocol
