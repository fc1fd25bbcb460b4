"""From cells to the table that is reported: mean, standard deviation (n - 1) and n for every network and source.

A network whose training diverged counts with an accuracy of 0, and so that nobody takes that for a bad network, the
row says how many did, and holds mean and deviation over the others too.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple

from pydantic import Field

from padray.evaluation.published import DEFAULT

Share = Annotated[float, Field(ge=0, le=1)]
Six = tuple[float, float, list[float], float | None, float | None, list[float]]


@dataclass(frozen=True)
class CellResult:
    """What is stored of a cell.

    Attributes:
        validation, validation_balanced: on the samples that `lr_chosen_on` names; None where nothing was chosen.
        diverged: the loss was not finite, and the accuracies are 0. Older cells, in folders of their own, do not say.
    """

    source: str
    architecture: str
    seed: int
    lr: Annotated[float, Field(allow_inf_nan=False)]
    lr_chosen_on: str | None
    validation: Share | None
    validation_balanced: Share | None
    test: Share
    test_balanced: Share
    samples: int
    epochs: int
    diverged: bool = False

    def held(self, metric: str) -> float:
        """The accuracy that choices are made by. Only of a cell that was judged for a choice."""
        accuracy = self.validation_balanced if metric == "balanced_accuracy" else self.validation
        assert accuracy is not None, "a cell with a learning rate of its own is judged on the held samples"
        return accuracy


class Spread(NamedTuple):
    """Accuracies of `n` networks, in [0, 1]: their mean and sample standard deviation."""

    mean: float
    std: float
    n: int

    @property
    def text(self) -> str:
        """`87.8 ± 0.4`, in percent; of one network, which has no deviation, `87.8`."""
        return f"{100 * self.mean:.1f}" + f" ± {100 * self.std:.1f}" * (self.n != 1)


@dataclass(frozen=True)
class Row:
    """One line of the table: accuracies in [0, 1], values in the order of the seeds.

    Attributes:
        others_mean, others_std, others_values: of the networks that did not diverge; None where all did.
        n: networks.
        diverged: how many of them did.
        balanced_mean, …: the same of the balanced accuracy.
        metric: the one that choices are made by.
        lr_chosen_on: the split that the lr was chosen on; None where it was not chosen.
        hard_label_recovery: see `with_recovery`.
        protocol: how the networks were trained: a protocol's name, and what was set otherwise.
    """

    architecture: str
    source: str
    mean: float
    std: float
    values: list[float]
    others_mean: float | None
    others_std: float | None
    others_values: list[float]
    n: int
    diverged: int
    balanced_mean: float
    balanced_std: float
    balanced_values: list[float]
    balanced_others_mean: float | None
    balanced_others_std: float | None
    balanced_others_values: list[float]
    metric: str
    lr: float
    lr_chosen_on: str | None
    hard_label_recovery: float | None
    protocol: str

    @property
    def by_balanced(self) -> bool:
        """Whether balanced accuracy is what decides."""
        return self.metric == "balanced_accuracy"

    def spread(self, balanced: bool = False) -> Spread:
        """Over all networks."""
        mean, std = (self.balanced_mean, self.balanced_std) if balanced else (self.mean, self.std)
        return Spread(mean, std, self.n)

    def others(self, balanced: bool = False) -> Spread | None:
        """Over those that did not diverge; None where all did."""
        mean, std = self.others_mean, self.others_std
        if balanced:
            mean, std = self.balanced_others_mean, self.balanced_others_std
        return None if mean is None or std is None else Spread(mean, std, self.n - self.diverged)

    def values_of(self, balanced: bool = False) -> list[float]:
        """Of all networks."""
        return self.balanced_values if balanced else self.values

    def values_of_others(self, balanced: bool = False) -> list[float]:
        """Of those that did not diverge."""
        return self.balanced_others_values if balanced else self.others_values


@dataclass(frozen=True)
class LabelledRow(Row):
    """A line of the table of several sets; `set`: what the set was called where it was asked for."""

    set: str


def best_lr(cells: Iterable[CellResult], metric: str = "accuracy") -> float:
    """The learning rate with the highest mean on the held samples, by `metric`; of equals, the smallest.

    A network that diverged with it counts as the worst that there is: none of its samples is right.
    """
    accuracies = held_by_lr(cells, metric)
    return max(sorted(accuracies), key=accuracies.__getitem__)


def held_by_lr(cells: Iterable[CellResult], metric: str = "accuracy") -> dict[float, float]:
    """The mean on the held samples, in [0, 1], of each learning rate that was tried."""
    by_lr: dict[float, list[float]] = {}
    for cell in cells:
        by_lr.setdefault(cell.lr, []).append(cell.held(metric))
    return {lr: statistics.fmean(values) for lr, values in by_lr.items()}


def row(
    architecture: str, source: str, cells: Iterable[CellResult], metric: str = "accuracy", protocol: str = DEFAULT
) -> Row:
    """One line of the table, without a recovery."""
    ordered = sorted(cells, key=lambda cell: cell.seed)
    left = [cell for cell in ordered if not cell.diverged]
    plain = _six([cell.test for cell in ordered], [cell.test for cell in left])
    balanced = _six([cell.test_balanced for cell in ordered], [cell.test_balanced for cell in left])
    count, first = len(ordered), ordered[0]
    lr, chosen = first.lr, first.lr_chosen_on
    return Row(architecture, source, *plain, count, count - len(left), *balanced, metric, lr, chosen, None, protocol)


def _six(values: list[float], others: list[float]) -> Six:
    """Mean, deviation and values: over all cells, and over the others than those that diverged."""
    if not others:
        return statistics.fmean(values), _std(values), values, None, None, others
    return statistics.fmean(values), _std(values), values, statistics.fmean(others), _std(others), others


def _std(values: list[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def with_recovery(rows: Sequence[Row]) -> list[Row]:
    """The rows, those of hard labels with their recovery where the full data were trained on too.

    Hard-label recovery, HLR: accuracy on the full data minus that on the set's images with hard labels, as fractions
    (DD-Ranking); smaller is better.
    """
    full = {line.architecture: line.mean for line in rows if line.source == "full"}
    return [
        replace(line, hard_label_recovery=full[line.architecture] - line.mean)
        if line.source == "hard_labels" and line.architecture in full
        else line
        for line in rows
    ]


def shows_balanced(rows: Sequence[Row]) -> bool:
    """Whether balanced accuracy says more than accuracy: they are a point apart, or it is what choices are made by."""
    return any(line.by_balanced or abs(line.mean - line.balanced_mean) > 0.01 for line in rows)


def percent(line: Row, balanced: bool = False) -> str:
    """`53.7 ± 30.0 (n=5, 1 diverged; the others 67.1 ± 0.4)`."""
    notes = "".join(f", {note}" for note in diverged(line, balanced))
    return f"{line.spread(balanced).text} (n={line.n}{notes})"


def diverged(line: Row, balanced: bool = False) -> list[str]:
    """`1 diverged; the others 67.1 ± 0.4` or `all diverged`; nothing where none did."""
    if not line.diverged:
        return []
    others = line.others(balanced)
    if others is None:
        return ["all diverged"]
    return [f"{line.diverged} diverged; the other{'s' * (line.n - line.diverged > 1)} {others.text}"]
