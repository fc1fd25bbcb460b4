"""What a set could reach at best: what the whole training split taught networks."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from padray.evaluation.summary import Row, Spread


@dataclass(frozen=True)
class Ceiling:
    """Accuracies in [0, 1] of `n` networks that were trained on the full training split.

    Attributes:
        made_by: the control `full`, or the experts that a set was matched with, after their last epoch.
        split: what they were judged on.
        balanced: whether these are balanced accuracies, because those decide.
    """

    made_by: Literal["full", "experts"]
    architecture: str
    split: Literal["test", "validation"]
    mean: float
    std: float
    n: int
    balanced: bool = False

    @property
    def text(self) -> str:
        """`6 experts on the whole training split: 82.1 ± 4.0 % on the validation split`."""
        experts = f"{self.n} expert{'s' * (self.n > 1)}"
        who = experts if self.made_by == "experts" else f"{self.architecture} (n={self.n})"
        measure = " balanced accuracy" * self.balanced
        reached = Spread(self.mean, self.std, self.n).text
        return f"{who} on the whole training split: {reached} %{measure} on the {self.split} split"


def ceiling_of(rows: Sequence[Row], architecture: str, experts: Sequence[float]) -> Ceiling | None:
    """The ceiling of a set made with `architecture`; None where nothing was trained on the full split and judged.

    Args:
        rows: the evaluation's table. Its control `full` is proven on test and so comes first.
        experts: the last validation accuracy of every expert; empty without experts or without a validation split.
    """
    full = next((row for row in rows if (row.source, row.architecture) == ("full", architecture)), None)
    if full is not None:
        return Ceiling("full", architecture, "test", *full.spread(full.by_balanced), full.by_balanced)
    if not experts:
        return None
    spread = statistics.stdev(experts) if len(experts) > 1 else 0.0
    return Ceiling("experts", architecture, "validation", statistics.fmean(experts), spread, len(experts))
