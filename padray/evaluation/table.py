"""From cells to the table that is reported: mean, standard deviation (n - 1) and n for every network and source.

A network whose training diverged counts with an accuracy of 0, and so that nobody takes that for a bad network, the
row says how many did, and holds mean and deviation over the others too.
"""

import statistics
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from padray.evaluation.protocol import Score  # which imports PyTorch; printing a table does not

CellResult = dict[str, Any]
Row = dict[str, Any]


def result(score: "Score") -> CellResult:
    """A cell's accuracies as they are stored: plain and balanced, on the held samples and on the test split."""
    found = {"validation": score.held, "test": score.test}
    plain = {name: accuracy and accuracy.plain for name, accuracy in found.items()}
    return plain | {f"{name}_balanced": accuracy and accuracy.balanced for name, accuracy in found.items()}


def best_lr(cells: Iterable[CellResult], metric: str = "accuracy") -> float:
    """The learning rate with the highest mean on the held samples, by `metric`; of equals, the smallest.

    A network that diverged with it counts as the worst that there is: none of its samples is right.
    """
    by_lr: dict[float, list[float]] = {}
    key = "validation_balanced" if metric == "balanced_accuracy" else "validation"
    for cell in cells:
        by_lr.setdefault(cell["lr"], []).append(cell[key])
    return max(sorted(by_lr), key=lambda lr: statistics.fmean(by_lr[lr]))


def row(architecture: str, source: str, cells: Iterable[CellResult], metric: str = "accuracy") -> Row:
    """One line of the table, accuracies in [0, 1], values in the order of the seeds.

    `diverged` counts the networks whose training did; `others_mean` is that of the networks that did not, None where
    all did. `lr_chosen_on` names the split that the lr was chosen on; None where it was not chosen.
    """
    ordered = sorted(cells, key=lambda cell: cell["seed"])
    return {
        "architecture": architecture, "source": source, **_spread(ordered, "test", ""), "n": len(ordered),
        "diverged": sum(cell["diverged"] for cell in ordered), **_spread(ordered, "test_balanced", "balanced_"),
        "metric": metric, "lr": ordered[0]["lr"], "lr_chosen_on": ordered[0]["lr_chosen_on"],
        "hard_label_recovery": None,
    }  # fmt: skip


def _spread(cells: Sequence[CellResult], key: str, prefix: str) -> dict[str, Any]:
    """Mean, deviation and values: over all cells, and over the others than those that diverged."""
    found: dict[str, Any] = {}
    for name, part in (("", cells), ("others_", [cell for cell in cells if not cell["diverged"]])):
        values = [cell[key] for cell in part]
        mean = statistics.fmean(values) if values else None
        std = statistics.stdev(values) if len(values) > 1 else 0.0 if values else None
        found |= {f"{prefix}{name}mean": mean, f"{prefix}{name}std": std, f"{prefix}{name}values": values}
    return found


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
    """`53.7 ± 30.0 (n=5, 1 diverged; the others 67.1 ± 0.4)`; `kind` is `balanced_` for the balanced accuracy."""
    return f"{spread(line, kind)} (n={line['n']}{''.join(f', {said}' for said in diverged(line, kind))})"


def spread(line: Row, kind: str = "") -> str:
    """`87.8 ± 0.4`, in percent."""
    return f"{100 * line[f'{kind}mean']:.1f} ± {100 * line[f'{kind}std']:.1f}"


def diverged(line: Row, kind: str = "") -> list[str]:
    """`1 diverged; the others 67.1 ± 0.4` or `all diverged`; nothing where none did."""
    count, left = line["diverged"], line["n"] - line["diverged"]
    if not count:
        return []
    if not left:
        return ["all diverged"]
    others = spread(line, f"{kind}others_")
    return [f"{count} diverged; the other{'s' * (left > 1)} {others}"]
