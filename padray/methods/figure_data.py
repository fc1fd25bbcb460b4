"""The kinds of figures that a family may show of its iterations, as plain data; padray/report draws them.

Legend: T iterations, B bins of them or of values, R rows, K classes.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
History = Sequence[dict[str, Any]]

MAX_BINS, MOST_CLASSES = 200, 20


class RowsInfo(NamedTuple):
    """A positive quantity by row and bin of iterations (R, B), NaN where there is none, as a map around 1.

    `cut` is a position on the axis of the rows, on which row r covers [r, r + 1]; None where nothing is left out.

    Attributes:
        sizes: a number beside each row's name; none of them, or one each.
        scale: what the quantity is, and what 1 means.
    """

    values: Floats
    edges: Floats
    names: tuple[str, ...]
    sizes: tuple[int, ...]
    cut: float | None
    caption: str
    scale: str


class WeightsInfo(NamedTuple):
    """IADD's weights over iterations, each (T,), their counts (T, B) between log10 `edges` (B+1,), and a warning."""

    iterations: Floats
    low: Floats
    median: Floats
    high: Floats
    effective: Floats
    counts: Floats
    edges: Floats
    choices: str
    warning: str

    @property
    def caption(self) -> str:
        """What the weights did, whose choices made them so, and whether they have collapsed."""
        warning = f" {self.warning}." if self.warning else ""
        return (
            f"The share of parameters that carries the loss ends at {100 * self.effective[-1]:.1f} %.{warning} "
            f"{self.choices} and their learning rate are ours, since the paper leaves them open. The map: the share of "
            f"weights in each bin of log10 |w|."
        )


class CountsInfo(NamedTuple):
    """How often each whole number was chosen: bars of `counts` (B,) over `values` (B,), rising.

    Attributes:
        label: what the numbers are.
    """

    values: Floats
    counts: Floats
    label: str
    caption: str


class Figure(NamedTuple):
    """A figure: its file's name, its heading, what it shows to whom cannot see it, and a note on how to read it."""

    stem: str
    title: str
    alt: str
    info: RowsInfo | WeightsInfo | CountsInfo
    note: str = ""


def column(history: History, name: str) -> Floats:
    """What the iterations say, NaN where one has nothing to say."""
    return np.array([row[name] for row in history], dtype=np.float64)


def in_bins(values_TR: Floats, first: float) -> tuple[Floats, Floats]:
    """The means of what is above 0 by bins of iterations (R, B), and the bins' edges (B+1,), counted from `first`."""
    bins = min(MAX_BINS, len(values_TR))
    edges = np.linspace(0, len(values_TR), bins + 1).astype(int)
    means = np.stack([_mean_above_zero(values_TR[a:b]) for a, b in itertools.pairwise(edges)], axis=1)
    return means, edges + first


def _mean_above_zero(values_TR: Floats) -> Floats:
    """The mean over iterations (R,): those recorded as 0 or NaN say nothing."""
    counted = (values_TR > 0).sum(axis=0)
    return np.where(counted > 0, np.nansum(values_TR, axis=0) / np.maximum(counted, 1), np.nan)


def class_losses(history: History, classes: Sequence[str], networks: str) -> Figure:
    """The loss of every class, relative to where it was in the first bin of iterations; `networks`: which they are."""
    losses_TK = np.array([row["classes"] for row in history], dtype=np.float64)[:, :MOST_CLASSES]
    values, edges = in_bins(losses_TK, float(history[0]["iteration"]))
    names = tuple(classes[: values.shape[0]])
    shown = f"the first {len(names)} of {len(classes)}" if len(names) < len(classes) else f"all {len(names)}"
    caption = f"The mean loss of {shown} classes over bins of iterations; {networks}."
    scale = "loss of the class; 1 = as at first"
    info = RowsInfo(values / values[:, :1], edges, names, (), None, caption, scale)
    return Figure("classes", "Loss per class", "Loss per class over iterations", info)
