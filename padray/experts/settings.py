"""The settings of what is extracted: difficulty scores, the schedule that they give, and the experts."""

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from padray.networks.settings import Architecture, NetworkSettings
from padray.settings.sections import (
    FULL_AUGMENTATION,
    Augmentation,
    Batch,
    Epoch,
    NotNegative,
    Place,
    Positive,
    Section,
    Share,
    Units,
)

RANKING_SUFFIXES = (".npy", ".parquet", ".json")
EASY_REMOVAL: dict[str, tuple[tuple[int, float], ...]] = {
    "paper": ((41, 0.1),),  # PAD's text: 10 %, once
    "script": ((41, 0.1), (61, 0.2)),  # the published script: 20 % in all from epoch 61 on
}


def _named_removal(value: Any) -> Any:
    """Stages by their name; lists become tuples, since types are strict."""
    if isinstance(value, str) and value not in EASY_REMOVAL:
        raise ValueError(f"must be a list of [first epoch, share] or one of {', '.join(EASY_REMOVAL)}")
    if isinstance(value, str):
        return EASY_REMOVAL[value]
    return tuple(tuple(v) if isinstance(v, list) else v for v in value) if isinstance(value, list) else value


def _known_method(value: Any) -> Any:
    if value not in ("el2n", "file"):  # the default is known without the table, which brings PyTorch
        from padray.experts.scorers import SCORES

        if not isinstance(value, str) or value not in SCORES:
            raise ValueError(f"must be one of {', '.join(SCORES)} or file")
    return value


def _allowed_methods(schema: dict[str, Any]) -> None:
    from padray.experts.scorers import SCORES

    schema["enum"] = [*SCORES, "file"]


class ScoreSettings(Section):
    """How difficult each training sample is: the method, and how the scoring networks are trained."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"networks", "seed", "path"})
    method: Annotated[str, BeforeValidator(_known_method), Field(json_schema_extra=_allowed_methods)] = "el2n"
    """Which score ranks the samples, higher is harder. A scoring network gives all of them, so changing the method
    trains none again. `file` reads a ranking instead. [PAD]"""
    path: Place | None = None
    """The ranking's file, for `method: file`: `.npy`, JSON (as BLiP and BiLP have it) or Parquet. [ours]"""
    digest: str | None = None
    """The SHA-256 of that file's bytes; padray fills it in, so that workers need no file. [ours]"""
    networks: Units = 10
    """Scoring networks whose scores are averaged. [ours]"""
    network: Architecture = NetworkSettings()
    """The scoring networks. [ours]"""
    epochs: Units = 20
    """For how many epochs each is trained. [ours]"""
    batch: Batch = 256
    """Samples of a batch. [ours]"""
    lr: Positive = 0.01
    """The learning rate. [ours]"""
    momentum: Share = 0.9
    """Of SGD. [ours]"""
    weight_decay: NotNegative = 5e-4
    """Of SGD. [ours]"""
    augment: Augmentation = FULL_AUGMENTATION
    """Augmentation of their training. [ours]"""
    seed: int | None = None
    """In the common seed's place. [ours]"""

    @model_validator(mode="after")
    def _path_of_file(self) -> "ScoreSettings":
        if (self.method == "file") != (self.path is not None):
            raise ValueError("method: file and path go together: path names the file of the ranking")
        if self.path is not None and not self.path.endswith(RANKING_SUFFIXES):
            raise ValueError(f"path must end in {' or '.join(RANKING_SUFFIXES)} (got {self.path!r})")
        if self.digest is not None and self.path is None:
            raise ValueError("digest belongs to method: file; leave it out")
        return self


class ScheduleSettings(Section):
    """FIEX: which samples the experts see in epoch e (PAD section 3.2; details in experts/schedule.py).

    Before all else comes the keep-list (experts/keeping.py), of which all that is made consists: what `prune_*` and
    `keep_list` leave.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"keep_list"})
    initial_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    """IR: with which share of each class, the easiest, the experts begin; PAD has 0.75. 1 is all. [ours]"""
    addition_end_epoch: Epoch = 0
    """AEE: the epoch in which the share has grown to all; PAD has 20 or 40. 0 is at once. [ours]"""
    easy_removal: Annotated[
        tuple[tuple[Epoch, Share], ...],
        BeforeValidator(_named_removal),
        Field(json_schema_extra={"allowed": f"a list of [epoch, share], or {', '.join(EASY_REMOVAL)}"}),
    ] = ()
    """[first epoch, share of the easiest left out] stages, in rising order; `paper` is [[41, 0.1]], `script` [[41,
    0.1], [61, 0.2]]. [ours]"""
    removal_end_epoch: Epoch | None = None
    """Makes a single stage gradual: its share grows linearly from 0 to the whole at this epoch (PAD Table 8a).
    [ours]"""
    prune_hardest: Share = 0.0
    """The share of each class, the hardest, that is left out for good: by start, real batches, experts and random
    controls. [ours]"""
    prune_easiest: Share = 0.0
    """The same of the easiest. [ours]"""
    keep_list: Place | None = None
    """A file (`.npy`, JSON, Parquet) of the samples that alone are known, before any share is left out. [ours]"""
    keep_digest: str | None = None
    """The SHA-256 of that file's bytes; padray fills it in. [ours]"""

    @model_validator(mode="after")
    def _stages_in_order(self) -> "ScheduleSettings":
        starts = [epoch for epoch, _ in self.easy_removal]
        if sorted(set(starts)) != starts:
            raise ValueError(f"easy_removal must list its start epochs in rising order (got {starts})")
        if self.removal_end_epoch is not None and (len(starts) != 1 or self.removal_end_epoch <= starts[0]):
            raise ValueError(
                f"removal_end_epoch makes one stage of easy_removal gradual and must come after it "
                f"(got removal_end_epoch {self.removal_end_epoch} and stages from {starts})"
            )
        if self.prune_hardest + self.prune_easiest >= 1:
            raise ValueError("prune_hardest and prune_easiest together must leave something: their sum must be below 1")
        if self.keep_list is not None and not self.keep_list.endswith(RANKING_SUFFIXES):
            raise ValueError(f"keep_list must end in {' or '.join(RANKING_SUFFIXES)} (got {self.keep_list!r})")
        if self.keep_digest is not None and self.keep_list is None:
            raise ValueError("keep_digest belongs to keep_list; leave it out")
        return self

    @property
    def prunes(self) -> bool:
        """Whether a fixed share is left out by score."""
        return self.prune_hardest > 0 or self.prune_easiest > 0

    @property
    def keeps_a_part(self) -> bool:
        """Whether there is a keep-list."""
        return self.prunes or self.keep_list is not None

    @property
    def has_epochs(self) -> bool:
        """Whether epochs differ in what they leave out."""
        added = self.initial_ratio < 1 and self.addition_end_epoch > 0
        return added or any(r for _, r in self.easy_removal)

    @property
    def needs_scores(self) -> bool:
        """Whether any epoch leaves a sample out by its score."""
        return self.has_epochs or self.prunes


class ExpertSettings(Section):
    """How an expert is trained: from a fresh network, one snapshot before training and after every epoch."""

    UNITS: ClassVar[frozenset[str]] = frozenset({"count", "seed"})
    count: Units = 100
    """How many experts are trained. More of them extend the folder. [PAD]"""
    epochs: Units = 100
    """For how many epochs each; a snapshot is kept before training and after every one. [PAD]"""
    batch: Batch = 256
    """Samples of a batch. Small data want small ones: with five steps in an epoch experts teach little. [PAD]"""
    lr: Positive = 0.01
    """The learning rate, the same all the way. [PAD]"""
    momentum: Share = 0.0
    """Of SGD. [PAD]"""
    weight_decay: NotNegative = 0.0
    """Of SGD. [PAD]"""
    rho: NotNegative = 0.0
    """The radius of GSAM's steps (FTD, DATM and PAD have 0.01); 0 is plain SGD, at half the cost. [MTT]"""
    gsam_alpha: NotNegative = 0.3
    """GSAM's weight of the component that is orthogonal to the perturbed gradient; 0 is SAM. [DATM]"""
    adaptive: bool = True
    """The radius is scaled by each parameter's magnitude (ASAM). [FTD]"""
    augment: Augmentation = FULL_AUGMENTATION
    """Augmentation of their training. [PAD]"""
    keep_epochs: tuple[Epoch, Epoch] | None = None
    """[first, last]: only these snapshots and the last epoch's are stored. Left out, all are. [ours]"""
    imported: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The digest that `padray import` gave the experts of others, in place of training, and of these settings.
    [ours]"""
    seed: int | None = None
    """In the common seed's place. [ours]"""

    @model_validator(mode="after")
    def _kept_in_order(self) -> "ExpertSettings":
        if self.keep_epochs is not None and not self.keep_epochs[0] <= self.keep_epochs[1] <= self.epochs:
            raise ValueError(f"keep_epochs is [first, last] within 0..{self.epochs} (got {list(self.keep_epochs)})")
        if self.keep_epochs is not None and self.imported is not None:
            raise ValueError("imported experts keep all their epochs; leave keep_epochs out")
        return self

    def keeps(self, epoch: int) -> bool:
        """Whether the snapshot after `epoch` epochs is stored."""
        kept = self.keep_epochs
        return kept is None or kept[0] <= epoch <= kept[1] or epoch == self.epochs
