"""What the difficulty scores say of one another and of real difficulty, and what the schedule made of them.

Legend: S scoring networks, D methods, N samples, E epochs, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from padray.config import ScheduleSettings, ScoreSettings
from padray.experts.schedule import counts_of_epochs
from padray.experts.scorers import SCORES
from padray.methods.figure_data import Floats

Table = dict[str, list[Any]]
_NAMES = {"el2n": "EL2N", "grand": "GraNd", "file": "a ranking from a file"}


def named(method: str) -> str:
    """A method as its paper writes it."""
    return _NAMES.get(method, method.replace("_", " "))


@dataclass(frozen=True)
class Difficulty:
    """The scores that a schedule was made from.

    Attributes:
        tables: one per scoring network (or one, of a ranking from a file), as the scores stage stores them.
        sizes: the classes' training samples.
        epochs: how long an expert was trained.
    """

    scores: ScoreSettings
    schedule: ScheduleSettings
    tables: Sequence[Table]
    sizes: Sequence[int]
    epochs: int

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that all tables have; those of older versions may lack some."""
        return tuple(method for method in SCORES if all(method in table for table in self.tables))


class ScheduleInfo(NamedTuple):
    """How many training samples the experts saw in each epoch (E,), how many there are, and the epochs to tell of."""

    counts: Floats
    turns: tuple[int, ...]
    total: int
    method: str
    networks: int

    @property
    def caption(self) -> str:
        """The counts where the schedule turns, and what ranked the samples."""
        counts = ", ".join(f"{self.counts[epoch]:,.0f} in epoch {epoch}" for epoch in self.turns)
        over = f" over {self.networks} network{'s' * (self.networks > 1)}"
        ranked = f"{named(self.method)}{over * (self.method != 'file')}"
        return f"Of {self.total:,} training samples, ranked within each class by {ranked}: {counts}."


def schedule_info(difficulty: Difficulty) -> ScheduleInfo:
    """Samples per epoch, all classes together; the schedule turns where a stage of it begins or ends."""
    schedule, last = difficulty.schedule, difficulty.epochs - 1
    stages = [schedule.addition_end_epoch, *(first for first, _ in schedule.easy_removal)]
    turns = {0, last, *stages, schedule.removal_end_epoch or 0}
    counts_EK = counts_of_epochs(difficulty.sizes, difficulty.epochs, schedule).numpy()
    counts = counts_EK.sum(axis=1).astype(np.float64)
    shown = tuple(sorted(epoch for epoch in turns if epoch <= last))
    return ScheduleInfo(counts, shown, sum(difficulty.sizes), difficulty.scores.method, len(difficulty.tables))


class AgreementInfo(NamedTuple):
    """How far the methods agree with one another, (D, D), and with real difficulty, (D,) or None.

    `agreement` is taken where the networks that fail are others than those that gave the scores; `validation` and
    `failed` count the samples that it is of, and those of them that some network got wrong.
    """

    methods: tuple[str, ...]
    chosen: str
    correlations: Floats
    agreement: Floats | None
    networks: int
    validation: int
    failed: int

    @property
    def caption(self) -> str:
        """What was correlated, and why there is no bar where there is none."""
        left = (
            f"The map: Spearman's rank correlation of the methods on the training samples, each averaged over "
            f"{self.networks} network{'s' * (self.networks > 1)}, within each class (as the schedule ranks), averaged "
            f"over the classes by their size."
        )
        if self.agreement is not None:
            return (
                f"{left} The bars: rank correlation, over all classes, of a sample's score by one half of the networks "
                f"with the share of the other half that gets it wrong (both ways, averaged), on the {self.validation} "
                f"validation samples, of which {self.failed} were got wrong by some network; random is what chance "
                f"gives. The schedule used {named(self.chosen)}."
            )
        return f"{left} Whether they agree with real difficulty is not known: {self._unknown}."

    @property
    def _unknown(self) -> str:
        if not self.validation:
            return "there is no validation split"
        if self.networks < 2:
            return "it takes two scoring networks, one to score and one to fail"
        return "no half of the networks got any validation sample wrong"


def agreement_info(difficulty: Difficulty) -> AgreementInfo | None:
    """The correlations; None for a ranking from a file, which there is nothing to compare with."""
    if difficulty.scores.method == "file":
        return None
    train, validation = (_Part.of(difficulty, split) for split in ("train", "validation"))
    return AgreementInfo(
        difficulty.methods,
        difficulty.scores.method,
        _within_classes(train.scores_SDN.mean(axis=0), train.labels_N),
        _agreement(validation),
        len(difficulty.tables),
        len(validation.labels_N),
        int(validation.wrong_SN.any(axis=0).sum()),
    )


class _Part(NamedTuple):
    """One split's samples as all networks saw them."""

    scores_SDN: Floats
    wrong_SN: Floats
    labels_N: Floats

    @staticmethod
    def of(difficulty: Difficulty, split: str) -> "_Part":
        tables, methods = difficulty.tables, difficulty.methods
        rows = np.array([name == split for name in tables[0]["split"]], dtype=bool)
        scores = np.array([[table[method] for method in methods] for table in tables], dtype=np.float64)
        wrong = 1.0 - np.array([table["correct"] for table in tables], dtype=np.float64)
        return _Part(scores[:, :, rows], wrong[:, rows], np.array(tables[0]["label"])[rows])


def correlation(values_DN: Floats) -> Floats:
    """Spearman's rank correlations of the rows, (D, D); equal values share their mean rank, constants have NaN."""
    from scipy import stats  # here, for every worker imports this module and scipy takes most of a second

    ranks = stats.rankdata(values_DN, axis=1)
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    lengths = np.sqrt((centred**2).sum(axis=1, keepdims=True))
    unit = np.divide(centred, lengths, out=np.full_like(centred, np.nan), where=lengths > 0)
    matrix_DD: Floats = unit @ unit.T
    return matrix_DD


def _within_classes(scores_DN: Floats, labels_N: Floats) -> Floats:
    """Correlations within each class, averaged by the classes' sizes; classes whose scores are constant say nothing."""
    total, weight = np.zeros((len(scores_DN), len(scores_DN))), np.zeros((len(scores_DN), len(scores_DN)))
    for label in np.unique(labels_N):
        members = labels_N == label
        matrix_DD = correlation(scores_DN[:, members])
        total += np.nan_to_num(matrix_DD) * members.sum()
        weight += np.isfinite(matrix_DD) * members.sum()
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


def _agreement(part: _Part) -> Floats | None:
    """Each method's agreement with how often unseen samples are got wrong, (D,); None where nothing can be said."""
    half = len(part.scores_SDN) // 2
    if not half or not len(part.labels_N):
        return None
    rows = []
    for judges, failing in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        share_N = part.wrong_SN[failing].mean(axis=0)
        if share_N.min() < share_N.max():
            scores_DN = part.scores_SDN[judges].mean(axis=0)
            rows.append(correlation(np.vstack([scores_DN, share_N]))[-1, :-1])
    return np.mean(rows, axis=0) if rows else None
