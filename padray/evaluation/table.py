"""From cells to the table that is reported: mean, standard deviation (n - 1) and n for every network and source."""

import statistics
from collections.abc import Iterable
from typing import Any

CellResult = dict[str, Any]
Row = dict[str, Any]


def best_lr(cells: Iterable[CellResult]) -> float:
    """The learning rate with the highest mean validation accuracy; of equals, the smallest."""
    by_lr: dict[float, list[float]] = {}
    for cell in cells:
        by_lr.setdefault(cell["lr"], []).append(cell["validation"])
    return max(sorted(by_lr), key=lambda lr: statistics.fmean(by_lr[lr]))


def row(architecture: str, source: str, cells: Iterable[CellResult]) -> Row:
    """One line of the table, accuracies in [0, 1], values in the order of the seeds."""
    ordered = sorted(cells, key=lambda cell: cell["seed"])
    values = [cell["test"] for cell in ordered]
    return {
        "architecture": architecture, "source": source, "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0, "n": len(values), "values": values,
        "lr": ordered[0]["lr"],
    }  # fmt: skip


def percent(line: Row) -> str:
    """`87.8 ± 0.4 (n=5)`."""
    return f"{100 * line['mean']:.1f} ± {100 * line['std']:.1f} (n={line['n']})"
