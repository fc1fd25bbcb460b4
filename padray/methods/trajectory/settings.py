"""The settings of trajectory matching: its windows, filters, weights and labels."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from padray.experts.settings import ExpertSettings
from padray.methods.searched import NARROW, WIDE, Among, Between, Range, around
from padray.methods.settings import Contributions, DistillSettings
from padray.networks.settings import CURVATURE_PASSES, GRADIENT_PASSES, NetworkSettings
from padray.settings.sections import Batch, Count, Epoch, NotNegative, Positive, Section, Share, Units

_MORE = "lower cluster.workers or raise distill.trajectories"


class WindowSettings(Section):
    """DATM's start epochs: drawn from [min_start, bound), the bound growing from start to max_start."""

    min_start: Epoch = 0
    """T⁻: the first epoch that a student may start from. [PAD]"""
    start: Units = 20
    """T: below which start epochs are drawn in the beginning. [MTT]"""
    max_start: Units = 20
    """T⁺: below which they are drawn in the end; together with expert_epochs within the experts' epochs. [MTT]"""
    interval: Count | None = None
    """Iterations for each epoch by which the bound grows from T to T⁺ (DATM). Left out, it is T⁺ from the start.
    [MTT]"""

    @model_validator(mode="after")
    def _ordered(self) -> "WindowSettings":
        if not self.min_start < self.start <= self.max_start:
            raise ValueError(
                f"windows must satisfy min_start < start <= max_start "
                f"(got {self.min_start}, {self.start}, {self.max_start})"
            )
        return self


class SelectionSettings(Section):
    """FIEM: which parameters enter the matching loss."""

    strategy: Literal["none", "depth", "layer", "deep", "loss"] = "depth"
    """`depth`: the first alpha are left out, the shallow ones (PAD Eq. 4). `layer`: the same, cut between tensors.
    `deep`: the last alpha (Table 5b). `loss`: those with the smallest errors, anew in every iteration (Table 4c).
    [PAD]"""
    alpha: Share = 0.0
    """α: the share of the parameters that is left out of the matching loss. PAD has 0, 0.25, 0.5 and 0.75, more with
    more images. [PAD]"""


class PruningSettings(Section):
    """DDPP-style pruning of parameters that are hard to match; its exact rule is not public, so these are ours."""

    rule: Literal["none", "magnitude_ratio", "abs_error_quantile"] = "none"
    """`magnitude_ratio`: out go parameters whose student and teacher values, smaller over larger magnitude (0 where
    their signs differ), have a ratio below the threshold. `abs_error_quantile`: out goes the share with the largest
    absolute errors. [ours]"""
    threshold: Share = 0.1
    """The ratio, or the share. [ours]"""


class ImportanceSettings(Section):
    """IADD: learned weights of the parameters. The paper says neither their start nor their constraint."""

    enabled: bool = False
    """Whether weights are learned (IADD). [ours]"""
    init: Positive = 1.0
    """The weight that all start with. [ours]"""
    lr: Positive = 1.0
    """The weights' learning rate. [ours]"""
    momentum: Share = 0.0
    """Their momentum. [ours]"""
    constraint: Literal["mean1", "none", "l2", "softmax", "clamp"] = "mean1"
    """What they are after each step: of mean 1, free (`none`), of root mean square 1 (`l2`), P times a softmax, or
    within `clamp`. [ours]"""
    clamp: tuple[NotNegative, Positive] = (0.1, 10.0)
    """[smallest, largest], for `constraint: clamp`. [ours]"""
    granularity: Literal["scalar", "channel", "tensor"] = "scalar"
    """A weight per parameter (`scalar`), per output channel of each tensor, or per tensor. [ours]"""
    weighted_denominator: bool = False
    """The loss's denominator is weighted too; the paper's is not. [IADD]"""
    order: Literal["together", "alternate"] = "together"
    """Weights and set descend together, or in turns: even iterations the set, odd ones the weights. [ours]"""

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
    """The set's labels: learned, or the classes."""

    kind: Literal["soft", "hard"] = "soft"
    """`soft`: logits, learned with the images (DATM). `hard`: class indices (MTT). [DATM]"""
    start: Literal["all_experts", "one_expert"] = "all_experts"
    """Where soft labels start: `all_experts`, the mean of those that are right (DATM section 3.3); `one_expert`, what
    the first says of a sample, right or wrong, as DATM's and PAD's scripts do where `init` is real. [DATM]"""
    lr: NotNegative = 2.0
    """The labels' learning rate; PAD has 2 to 10. [PAD]"""
    momentum: Share = 0.9
    """Their momentum. [PAD]"""

    @model_validator(mode="after")
    def _start_of_soft_labels(self) -> "LabelSettings":
        if self.kind == "hard" and self.start != "all_experts":
            raise ValueError(f"start: {self.start} is where soft labels start; leave it out with kind: hard")
        return self


class TrajectorySettings(DistillSettings):
    """Trajectory matching: what is distilled, against which part of the experts, and how fast."""

    family: Literal["trajectory"] = "trajectory"
    """Trajectory matching: MTT, FTD, TESLA, DATM, PAD, IADD, ATT. [PAD]"""
    student_steps: Annotated[int, Field(ge=1, le=100_000)] = 80
    """N: steps of the student on the set. [PAD]"""
    student_length: Literal["fixed", "nearest"] = "fixed"
    """A student is compared after all its steps (`fixed`), or where, up to then, it is nearest to the expert
    (`nearest`, ATT). [PAD]"""
    expert_epochs: Units = 2
    """M: how many of the expert's epochs those steps are to match. [PAD]"""
    batch: Batch = 100
    """Synthetic samples of a student's step. [PAD]"""
    trajectories: Units = 1
    """Students of an iteration, whose gradients are averaged; workers share them. [PAD]"""
    lr_student_lr: NotNegative = 1e-5
    """The learning rate of the student's learning rate; 0 keeps it. [PAD]"""
    student_lr: Positive = 0.01
    """What the student's learning rate starts from; it is learned, and comes with the set. [PAD]"""
    momentum_student_lr: Share = 0.5
    """Its momentum. [PAD]"""
    keep_lr_positive: Literal["no", "clamp", "log"] = "no"
    """The student's lr is left alone, kept at 1e-6 or more (`clamp`), or descends in its logarithm (`log`), where
    steps of the same size take an lr_student_lr that is student_lr^-2 times as large. [PAD]"""
    max_loss: Positive = 1.0
    """A trajectory with a larger loss is left out of its iteration, and counted. [PAD]"""
    gradient: Literal["exact", "unroll", "tesla"] = "exact"
    """The exact adjoint with the memory of one step, the same by keeping all graphs (`unroll`, N times the memory),
    or the published approximation (`tesla`). [ours]"""
    init: Literal["correct", "real", "noise"] = "correct"
    """Images start from real samples that an expert classifies correctly, from any real samples, or from noise.
    [DATM]"""
    windows: WindowSettings = WindowSettings()
    selection: SelectionSettings = SelectionSettings()
    pruning: PruningSettings = PruningSettings()
    importance: ImportanceSettings = ImportanceSettings()
    labels: LabelSettings = LabelSettings()

    @model_validator(mode="after")
    def _labels_of_real_samples(self) -> "TrajectorySettings":
        if self.init == "noise" and self.labels.start != "all_experts":
            raise ValueError(f"labels.start: {self.labels.start} is what an expert says of real samples; init is noise")
        return self

    @model_validator(mode="after")
    def _steps_to_choose_from(self) -> "TrajectorySettings":
        if self.adaptive_length and self.student_steps == 1:
            raise ValueError("student_length: nearest chooses among student_steps, and there is 1; raise it")
        return self

    @property
    def adaptive_length(self) -> bool:
        """Whether a student's steps up to where it is nearest to the expert are those that count (ATT)."""
        return self.student_length == "nearest"

    @property
    def needs_experts(self) -> bool:
        return True

    @property
    def soft_labels(self) -> bool:
        return self.labels.kind == "soft"

    @property
    def learns_lr(self) -> bool:
        return True

    @property
    def changes_lr(self) -> bool:
        return self.lr_student_lr > 0

    def searched(self, experts: ExpertSettings) -> Mapping[str, Range | None]:
        alphas = Between(0.0, max(0.5, self.selection.alpha))
        return {
            "lr_images": around(self.lr_images, WIDE),
            "labels.lr": around(self.labels.lr, WIDE) if self.soft_labels else None,
            "student_lr": around(self.student_lr, NARROW),
            "selection.alpha": None if self.selection.strategy == "none" else alphas,
            "windows.max_start": self._last_starts(experts),
        }

    def _last_starts(self, experts: ExpertSettings) -> Among | None:
        """Up to the last one that these experts allow."""
        if experts.keep_epochs is not None:
            return None
        windows, last = self.windows, experts.epochs + 1 - self.expert_epochs
        ends = [max(end, windows.max_start) for end in ((windows.max_start + last) // 2, last)]
        choices = tuple(sorted({windows.start, windows.max_start, *ends}))
        return Among(choices) if len(choices) > 1 else None

    def compilable_passes(self, classes: int) -> float:
        if self.gradient == "unroll":  # keeps graphs, which programs have none of
            return 0.0
        samples = min(self.batch, self.ipc * classes)
        students = float(self.iterations * self.trajectories * self.student_steps)
        return students * samples * (GRADIENT_PASSES + CURVATURE_PASSES)

    def contributions(self, network: NetworkSettings, classes: int) -> Contributions:
        return Contributions(self.trajectories, "distill.trajectories", _MORE)

    def check_experts(self, experts: ExpertSettings) -> None:
        windows, needed = self.windows, self.windows.max_start - 1 + self.expert_epochs
        if needed > experts.epochs:
            raise ValueError(
                f"distill.windows.max_start={windows.max_start} with distill.expert_epochs="
                f"{self.expert_epochs} reaches epoch {needed}, but experts.epochs is "
                f"{experts.epochs}; lower the window or train the experts longer"
            )
        first, last, kept = windows.min_start, needed, experts.keep_epochs
        begins = () if kept is None else (first, kept[1] + 1)  # where epochs that are left out may begin
        unkept = [e for e in begins if first <= e <= last and not experts.keeps(e)]
        if unkept:
            raise ValueError(
                f"experts.keep_epochs leaves out epoch {unkept[0]}, which distill.windows needs; keep [{first}, {last}]"
            )
        if not math.isclose(self.selection.alpha, 0) and self.selection.strategy == "none":
            raise ValueError("distill.selection.alpha needs distill.selection.strategy: depth, layer, deep or loss")
