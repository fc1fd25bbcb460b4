"""The settings of every stage, as frozen models that check themselves.

Names are those of the papers' settings (see the table in README.md). A default is PAD's where the paper names
one. `UNITS` of a section are the settings that only say how many units fill a folder; they and `seed` are not
part of a section's meaning (see fingerprint.py).
"""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from padray.sections import (
    FULL_AUGMENTATION,
    Architecture,
    Augmentation,
    Count,
    NetworkSettings,
    NotNegative,
    Positive,
    Section,
)
from padray.space import SearchSettings


class DataSettings(Section):
    """The dataset and its splits. `path` says where the files lie; what they hold decides the fingerprint."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"path"})
    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")] = "digits"
    path: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    size: Annotated[int, Field(ge=4, le=1024)] | None = None
    limit_per_class: Count | None = None
    validation: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    split_seed: int = 0
    preprocessing: Literal["normalize", "zca", "none"] = "normalize"
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None
    zca_eps: Positive = 0.1


class ScoreSettings(Section):
    """Difficulty scores: how the scoring networks are trained. Higher scores are harder samples."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"networks", "seed"})
    method: Literal["el2n"] = "el2n"
    networks: Count = 10
    network: Architecture = NetworkSettings()
    epochs: Count = 20
    batch: Count = 256
    lr: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    augment: Augmentation = FULL_AUGMENTATION
    seed: int | None = None


class ScheduleSettings(Section):
    """FIEX: which samples the experts see in epoch e (PAD section 3.2; METHOD notes in schedule.py)."""

    initial_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    addition_end_epoch: Annotated[int, Field(ge=0)] = 0
    easy_removal: tuple[tuple[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=0, lt=1)]], ...] = ()

    @model_validator(mode="after")
    def _stages_in_order(self) -> "ScheduleSettings":
        starts = [epoch for epoch, _ in self.easy_removal]
        if sorted(set(starts)) != starts:
            raise ValueError(f"easy_removal must list its start epochs in rising order (got {starts})")
        return self

    @property
    def needs_scores(self) -> bool:
        """Whether any epoch leaves a sample out."""
        return (self.initial_ratio < 1 and self.addition_end_epoch > 0) or any(r for _, r in self.easy_removal)


class ExpertSettings(Section):
    """How an expert is trained: SGD from a fresh network, one snapshot before training and after every epoch."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"count", "seed"})
    count: Count = 100
    epochs: Count = 100
    batch: Count = 256
    lr: Positive = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: NotNegative = 0.0
    augment: Augmentation = FULL_AUGMENTATION
    seed: int | None = None


class WindowSettings(Section):
    """DATM's start epochs: drawn from [min_start, bound), the bound growing from start to max_start.

    `interval` is the number of iterations per epoch of growth; without it the bound is max_start from the start.
    """

    min_start: Annotated[int, Field(ge=0)] = 0
    start: Count = 20
    max_start: Count = 20
    interval: Count | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "WindowSettings":
        if not self.min_start < self.start <= self.max_start:
            raise ValueError(
                f"windows must satisfy min_start < start <= max_start "
                f"(got {self.min_start}, {self.start}, {self.max_start})"
            )
        return self


class SelectionSettings(Section):
    """FIEM: which parameters enter the matching loss (PAD Eq. 4). `ratio` is alpha, the shallow share left out."""

    strategy: Literal["none", "depth"] = "depth"
    ratio: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ImportanceSettings(Section):
    """IADD: one learned weight per parameter. Its learning rate and constraint are ours, the paper names none."""

    enabled: bool = False
    init: Positive = 1.0
    lr: Positive = 1.0
    constraint: Literal["mean1"] = "mean1"


class LabelSettings(Section):
    """Soft labels (raw logits, learned, DATM) or hard class indices (MTT)."""

    kind: Literal["soft", "hard"] = "soft"
    lr: NotNegative = 2.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9


class ValidationSettings(Section):
    """How the iterates are judged on the validation split while distilling; 0 seeds means not at all."""

    every: Count = 500
    seeds: Annotated[int, Field(ge=0)] = 3
    epochs: Count = 300


class DistillSettings(Section):
    """Trajectory matching: what is distilled, against which part of the experts, and how fast."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"iterations", "checkpoint_every", "seed"})
    ipc: Count = 10
    iterations: Count = 10_000
    student_steps: Count = 80
    expert_epochs: Count = 2
    batch: Count = 100
    trajectories: Count = 1
    lr_images: NotNegative = 100.0
    lr_student_lr: NotNegative = 1e-5
    student_lr: Positive = 0.01
    momentum_images: Annotated[float, Field(ge=0, lt=1)] = 0.5
    momentum_student_lr: Annotated[float, Field(ge=0, lt=1)] = 0.5
    max_loss: Positive = 1.0
    init: Literal["correct", "real"] = "correct"
    augment: Augmentation = FULL_AUGMENTATION
    checkpoint_every: Count = 100
    windows: WindowSettings = WindowSettings()
    selection: SelectionSettings = SelectionSettings()
    importance: ImportanceSettings = ImportanceSettings()
    labels: LabelSettings = LabelSettings()
    validation: ValidationSettings = ValidationSettings()
    seed: int | None = None


class ControlSettings(Section):
    """The controls trained by the protocol of the set: random real samples, and the full data if asked for.

    Their learning rate is the best of `lrs` on the validation split (on the training split where there is none),
    judged by the first `tuning_seeds` seeds.
    """

    lrs: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.003, 0.01, 0.03, 0.1)
    tuning_seeds: Count = 2
    full: bool = False
    full_epochs: Count = 100


class EvaluationSettings(Section):
    """Fresh networks trained on the set, tested on real data (MTT's protocol; the lengths are settings)."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"architectures", "seeds", "seed"})
    architectures: tuple[Architecture, ...] = ()
    seeds: Count = 5
    epochs: Count = 1001
    batch: Count = 128
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 5e-4
    augment: Augmentation = FULL_AUGMENTATION
    controls: ControlSettings = ControlSettings()
    seed: int | None = None


class ClusterSettings(Section):
    """How work spreads over a Ray cluster. Nothing here changes what is computed.

    `workers` is the number of Ray Train workers of a distillation, or [fewest, most]. An actor, a worker and a cell
    take `compute.threads` CPUs (a Train worker `cpus_per_worker` where that is set) and the GPUs named here.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset(
        {"workers", "max_experts", "cpus_per_worker", "gpus_per_worker", "gpus_per_cell", "max_losses"}
    )
    workers: Count | tuple[Count, Count] = 1
    max_experts: Count = 64
    cpus_per_worker: Positive | None = None
    gpus_per_worker: NotNegative = 0.0
    gpus_per_cell: NotNegative = 0.0
    max_losses: Annotated[int, Field(ge=0)] = 10

    @property
    def most_workers(self) -> int:
        """The largest number of Train workers that may take part."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class ComputeSettings(Section):
    """The machine. Only `precision` changes what a stage means; the rest is recorded as its numerics."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"device", "threads"})
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count = 1
    precision: Literal["float32", "float64"] = "float32"


class StorageSettings(Section):
    """Where everything is kept."""

    root: str = "./runs"


class Config(Section):
    """All settings of a run."""

    data: DataSettings = DataSettings()
    network: Architecture = NetworkSettings()
    scores: ScoreSettings = ScoreSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    experts: ExpertSettings = ExpertSettings()
    distill: DistillSettings = DistillSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    search: SearchSettings = SearchSettings()
    cluster: ClusterSettings = ClusterSettings()
    compute: ComputeSettings = ComputeSettings()
    storage: StorageSettings = StorageSettings()
    seed: int = 0

    @model_validator(mode="after")
    def _window_within_experts(self) -> "Config":
        windows, needed = self.distill.windows, self.distill.windows.max_start - 1 + self.distill.expert_epochs
        if needed > self.experts.epochs:
            raise ValueError(
                f"distill.windows.max_start={windows.max_start} with distill.expert_epochs="
                f"{self.distill.expert_epochs} reaches epoch {needed}, but experts.epochs is "
                f"{self.experts.epochs}; lower the window or train the experts longer"
            )
        if not math.isclose(self.distill.selection.ratio, 0) and self.distill.selection.strategy == "none":
            raise ValueError("distill.selection.ratio needs distill.selection.strategy: depth")
        return self

    def seed_of(self, stage: Literal["scores", "experts", "distill", "evaluation", "search"]) -> int:
        """The stage's own seed, or the common one."""
        own: int | None = getattr(self, stage).seed
        return self.seed if own is None else own
