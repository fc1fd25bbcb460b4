"""From cells to the table that is reported: mean, standard deviation (n - 1) and n for every network and source."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from padray.evaluation.accuracy import Accuracy
from padray.evaluation.protocol import Score

CellResult = dict[str, Any]
Row = dict[str, Any]


def result(score: Score) -> CellResult:
    """A cell's accuracies as they are stored: plain and balanced, on the held samples and on the test split."""
    test = score.test or Accuracy(float("nan"), float("nan"))
    return {
        "validation": score.held.plain, "validation_balanced": score.held.balanced,
        "test": test.plain, "test_balanced": test.balanced,
    }  # fmt: skip


def best_lr(cells: Iterable[CellResult], metric: str = "accuracy") -> float:
    """The learning rate with the highest mean on the held samples, by `metric`; of equals, the smallest."""
    by_lr: dict[float, list[float]] = {}
    key = "validation_balanced" if metric == "balanced_accuracy" else "validation"
    for cell in cells:
        by_lr.setdefault(cell["lr"], []).append(cell[key])
    return max(sorted(by_lr), key=lambda lr: statistics.fmean(by_lr[lr]))


def row(architecture: str, source: str, cells: Iterable[CellResult], metric: str = "accuracy") -> Row:
    """One line of the table, accuracies in [0, 1], values in the order of the seeds.

    `lr_chosen_on` names the split that the lr was chosen on; None where it was not chosen.
    """
    ordered = sorted(cells, key=lambda cell: cell["seed"])
    return {
        "architecture": architecture, "source": source, **_spread(ordered, "test", ""), "n": len(ordered),
        **_spread(ordered, "test_balanced", "balanced_"), "metric": metric, "lr": ordered[0]["lr"],
        "lr_chosen_on": ordered[0]["lr_chosen_on"], "hard_label_recovery": None,
    }  # fmt: skip


def _spread(cells: Sequence[CellResult], key: str, prefix: str) -> dict[str, Any]:
    values = [cell[key] for cell in cells]
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return {f"{prefix}mean": statistics.fmean(values), f"{prefix}std": std, f"{prefix}values": values}


def with_recovery(rows: Sequence[Row]) -> list[Row]:
    """The rows, those of hard labels with their recovery where the full data were trained on too.

    Hard-label recovery, HLR: accuracy on the full data minus that on the set's images with hard labels, as fractions
    (DD-Ranking); smaller is better.
    """
    full = {line["architecture"]: line["mean"] for line in rows if line["source"] == "full"}
    return [
        {**line, "hard_label_recovery": full[line["architecture"]] - line["mean"]}
        if line["source"] == "hard_labels" and line["architecture"] in full
        else line
        for line in rows
    ]


def shows_balanced(rows: Sequence[Row]) -> bool:
    """Whether balanced accuracy says more than accuracy: they are a point apart, or it is what choices are made by."""
    return any(
        line.get("metric") == "balanced_accuracy" or abs(line["mean"] - line.get("balanced_mean", line["mean"])) > 0.01
        for line in rows
    )


def percent(line: Row, kind: str = "") -> str:
    """`87.8 ± 0.4 (n=5)`; `kind` is `balanced_` for the balanced accuracy."""
    return f"{100 * line[f'{kind}mean']:.1f} ± {100 * line[f'{kind}std']:.1f} (n={line['n']})"
