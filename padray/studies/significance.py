"""Which rows of a study differ: confidence intervals, average ranks, and the critical difference of ranks.

A block is a column and the number of a repetition: in it every row has one value (a distillation's, or, of a control, a
network's), and the best has rank 1. Friedman's test asks whether ranks differ at all; two rows whose average ranks lie
further apart than the critical difference differ by Nemenyi's test (Demsar, JMLR 7, 2006). Repetitions of one column
are no further datasets: what is shown is that an order is more than chance on these columns, not on others.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from padray.studies.table import Entry

LEVEL = 0.95
_FEWEST_ROWS, _FEWEST_BLOCKS = 3, 2


@dataclass(frozen=True)
class Ranking:
    """The rows that have a value in every block, from the best to the worst.

    Attributes:
        ranks: average ranks; 1 is the best.
        critical: how far two of them must lie apart, at 5 %.
        p: of Friedman's test, that no row differs.
        blocks: how many there are.
        left_out: rows that lack values.
    """

    rows: tuple[str, ...]
    ranks: tuple[float, ...]
    critical: float
    p: float
    blocks: int
    left_out: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What it comes to."""
        if self.p >= 1 - LEVEL:
            return f"Friedman's test over {self.blocks} blocks finds no difference between rows (p = {self.p:.2g})."
        return (
            f"Over {self.blocks} blocks the rows differ (Friedman's test, p = {self.p:.2g}): two of them where their "
            f"average ranks lie further apart than {self.critical:.2f} (Nemenyi's test at 5 %)."
        )


def ranking_of(entries: Sequence[Entry]) -> Ranking | None:
    """The ranking of a table's rows; None where fewer than three rows have values everywhere, or there is one block."""
    from scipy import stats  # half a second, which only a study of this kind waits for

    columns, rows = (list(dict.fromkeys(names)) for names in zip(*((e.column, e.row) for e in entries), strict=True))
    cells = {(entry.row, entry.column): entry.values for entry in entries}
    ranked = [row for row in rows if all(cells.get((row, column)) for column in columns)]
    if len(ranked) < _FEWEST_ROWS:
        return None
    counts = {column: min(len(cells[row, column]) for row in ranked) for column in columns}
    values_BR = np.array(
        [[cells[row, column][k] for row in ranked] for column in columns for k in range(counts[column])]
    )
    if len(values_BR) < _FEWEST_BLOCKS:
        return None
    means_R = stats.rankdata(-values_BR, axis=1).mean(axis=0)
    order, count = np.argsort(means_R, kind="stable"), len(ranked)
    spread = float(stats.studentized_range.ppf(LEVEL, count, np.inf)) / math.sqrt(2)
    differ = bool((values_BR != values_BR[:, :1]).any())
    p = float(stats.friedmanchisquare(*values_BR.T).pvalue) if differ else 1.0
    return Ranking(
        tuple(ranked[k] for k in order),
        tuple(float(means_R[k]) for k in order),
        spread * math.sqrt(count * (count + 1) / (6 * len(values_BR))),
        p,
        len(values_BR),
        tuple(row for row in rows if row not in ranked),
    )


def half_width(values: Sequence[float]) -> float | None:
    """Of the confidence interval of the mean, by Student's t; None of a single value."""
    from scipy import stats

    if len(values) < 2:
        return None
    t = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1))
    return t * statistics.stdev(values) / math.sqrt(len(values))
