"""The settings of what is embedded: trajectory matching, its windows, filters, weights and labels."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from padray.sections import (
    FULL_AUGMENTATION,
    Augmentation,
    Batch,
    Count,
    Epoch,
    Epochs,
    NotNegative,
    Positive,
    Section,
    Share,
    Units,
)


class WindowSettings(Section):
    """DATM's start epochs: drawn from [min_start, bound), the bound growing from start to max_start.

    `interval` is the number of iterations per epoch of growth; without it the bound is max_start from the start.
    """

    min_start: Epoch = 0
    start: Units = 20
    max_start: Units = 20
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
    """FIEM: which parameters enter the matching loss. `ratio` is alpha, the share that is left out.

    depth: the first alpha, the shallow ones (PAD Eq. 4). layer: the same, cut between tensors. deep: the last alpha
    (Table 5b). loss: those with the smallest errors, anew in every iteration (Table 4c). none: nothing.
    """

    strategy: Literal["none", "depth", "layer", "deep", "loss"] = "depth"
    ratio: Share = 0.0


class PruningSettings(Section):
    """DDPP-style pruning of parameters that are hard to match; its exact rule is not public, so these are ours.

    ratio: out go parameters whose student and teacher values, smaller over larger magnitude (0 where their signs
    differ), have a ratio below `threshold`. abs_error_quantile: out goes the share `threshold` with the largest
    absolute errors.
    """

    rule: Literal["none", "ratio", "abs_error_quantile"] = "none"
    threshold: Share = 0.1


class ImportanceSettings(Section):
    """IADD: learned weights of the parameters. What is here besides `init` and `lr` is ours; the paper is silent.

    granularity: a weight per parameter (scalar), per output channel of each tensor, or per tensor. constraint: what
    the weights are after each step: free (none), of mean 1, of root mean square 1 (l2), P times a softmax, or within
    `clamp`. order: weights and set descend together, or in turns (even iterations the set, odd ones the weights).
    """

    enabled: bool = False
    init: Positive = 1.0
    lr: Positive = 1.0
    momentum: Share = 0.0
    constraint: Literal["mean1", "none", "l2", "softmax", "clamp"] = "mean1"
    clamp: tuple[NotNegative, Positive] = (0.1, 10.0)
    granularity: Literal["scalar", "channel", "tensor"] = "scalar"
    weighted_denominator: bool = False
    order: Literal["together", "alternate"] = "together"

    @model_validator(mode="after")
    def _clamp_in_order(self) -> "ImportanceSettings":
        low, high = self.clamp
        if not low < high:
            raise ValueError(f"clamp is [smallest, largest] (got {[low, high]})")
        if self.constraint == "clamp" and not low <= self.init <= high:
            raise ValueError(f"init {self.init:g} lies outside clamp {[low, high]}")
        if self.constraint == "softmax" and self.init != 1:
            raise ValueError(f"weights by softmax have mean 1 from the start: leave init out (got {self.init:g})")
        return self


class LabelSettings(Section):
    """Soft labels (raw logits, learned, DATM) or hard class indices (MTT).

    start: where soft labels of real samples start. all_experts: what the experts say together (DATM section 3.3).
    one_expert: what the first one says, right or wrong, as DATM's and PAD's scripts do where `init` is real.
    """

    kind: Literal["soft", "hard"] = "soft"
    start: Literal["all_experts", "one_expert"] = "all_experts"
    lr: NotNegative = 2.0
    momentum: Share = 0.9

    @model_validator(mode="after")
    def _start_of_soft_labels(self) -> "LabelSettings":
        if self.kind == "hard" and self.start != "all_experts":
            raise ValueError(f"start: {self.start} is where soft labels start; leave it out with kind: hard")
        return self


class ValidationSettings(Section):
    """How the iterates are judged on the validation split while distilling; 0 seeds means not at all."""

    every: Count = 500
    seeds: Annotated[int, Field(ge=0, le=10_000)] = 3
    epochs: Epochs = 300


class DistillSettings(Section):
    """Trajectory matching: what is distilled, against which part of the experts, and how fast.

    gradient: the exact adjoint (`exact`), the same by keeping all graphs (`unroll`, N times the memory), or the
    published approximation (`tesla`). ema_decay: the images' moving average (FTD) is judged and stored; 0 is off.
    keep_lr_positive: the student's lr is left alone (`no`), kept at 1e-6 or more (`clamp`), or descends in its
    logarithm (`log`), where steps of the same size take an lr_student_lr that is student_lr^-2 times as large.
    checkpoint_seconds: what a kill may cost; states are stored beside the work, and further apart only where that would
    take more than 2 % of the cores' time. 0: after every iteration, and the work waits for it.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"iterations", "checkpoint_seconds", "seed"})
    ipc: Count = 10
    iterations: Annotated[int, Field(ge=1, le=999_999)] = 10_000  # six digits number them
    student_steps: Annotated[int, Field(ge=1, le=100_000)] = 80
    expert_epochs: Units = 2
    batch: Batch = 100
    trajectories: Units = 1
    lr_images: NotNegative = 100.0
    lr_student_lr: NotNegative = 1e-5
    student_lr: Positive = 0.01
    momentum_images: Share = 0.5
    momentum_student_lr: Share = 0.5
    keep_lr_positive: Literal["no", "clamp", "log"] = "no"
    max_loss: Positive = 1.0
    ema_decay: Share = 0.0
    gradient: Literal["exact", "unroll", "tesla"] = "exact"
    init: Literal["correct", "real", "noise"] = "correct"
    augment: Augmentation = FULL_AUGMENTATION
    checkpoint_seconds: NotNegative = 60.0
    windows: WindowSettings = WindowSettings()
    selection: SelectionSettings = SelectionSettings()
    pruning: PruningSettings = PruningSettings()
    importance: ImportanceSettings = ImportanceSettings()
    labels: LabelSettings = LabelSettings()
    validation: ValidationSettings = ValidationSettings()
    seed: int | None = None

    @model_validator(mode="after")
    def _labels_of_real_samples(self) -> "DistillSettings":
        if self.init == "noise" and self.labels.start != "all_experts":
            raise ValueError(f"labels.start: {self.labels.start} is what an expert says of real samples; init is noise")
        return self
