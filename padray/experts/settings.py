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
        from padray.experts.scores import SCORES

        if not isinstance(value, str) or value not in SCORES:
            raise ValueError(f"must be one of {', '.join(SCORES)} or file")
    return value


class ScoreSettings(Section):
    """Difficulty scores: the method, and how the scoring networks are trained. Higher scores are harder samples.

    Each network gives the scores of all methods (experts/scores.py); `method` chooses the one that the schedule reads.
    `method: file` reads a ranking instead: `path` is a `.npy`, JSON or Parquet file (see experts/ranking.py), and
    `digest` the SHA-256 of its bytes, which padray fills in, so that workers need no file to know which one is meant.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"networks", "seed", "path"})
    method: Annotated[str, BeforeValidator(_known_method)] = "el2n"
    path: Place | None = None
    digest: str | None = None
    networks: Units = 10
    network: Architecture = NetworkSettings()
    epochs: Units = 20
    batch: Batch = 256
    lr: Positive = 0.01
    momentum: Share = 0.9
    weight_decay: NotNegative = 5e-4
    augment: Augmentation = FULL_AUGMENTATION
    seed: int | None = None

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

    From `initial_ratio` of each class the share grows to all of it in `addition_end_epoch`; at 0 it is all at once.
    `easy_removal` lists [first epoch, share of the easiest left out] stages, or is `paper` or `script`. With
    `removal_end_epoch` its single stage is gradual: the share grows linearly from 0 at the stage's epoch to the
    whole at that one. Before all else comes the keep-list (experts/keeping.py), of which all that is made consists:
    `prune_hardest` and `prune_easiest` leave a fixed share out, and `keep_list` names a file of the samples that alone
    are in it; `keep_digest` is the SHA-256 of its bytes, which padray fills in.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"keep_list"})
    initial_ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    addition_end_epoch: Epoch = 0
    easy_removal: Annotated[tuple[tuple[Epoch, Share], ...], BeforeValidator(_named_removal)] = ()
    removal_end_epoch: Epoch | None = None
    prune_hardest: Share = 0.0
    prune_easiest: Share = 0.0
    keep_list: Place | None = None
    keep_digest: str | None = None

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
    """How an expert is trained: from a fresh network, one snapshot before training and after every epoch.

    With `rho` above 0 each step is GSAM's (FTD, DATM, PAD; see experts/sharpness.py), otherwise plain SGD's.
    `keep_epochs` stores only the snapshots of epochs [first, last] and of the last epoch of training. `imported` is
    the digest that `padray import` gave the experts of others; they take the place of training, and of these settings.
    """

    UNITS: ClassVar[frozenset[str]] = frozenset({"count", "seed"})
    count: Units = 100
    epochs: Units = 100
    batch: Batch = 256
    lr: Positive = 0.01
    momentum: Share = 0.0
    weight_decay: NotNegative = 0.0
    rho: NotNegative = 0.0
    gsam_alpha: NotNegative = 0.3
    adaptive: bool = True
    augment: Augmentation = FULL_AUGMENTATION
    keep_epochs: tuple[Epoch, Epoch] | None = None
    imported: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    seed: int | None = None

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
