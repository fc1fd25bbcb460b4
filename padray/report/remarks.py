"""What a run should be told of itself, a function each: a sentence where there is something to say, else None."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from padray.config import Config, ControlSettings, EvaluationSettings
from padray.evaluation.ceiling import Ceiling
from padray.evaluation.summary import CellResult, Row, held_by_lr
from padray.methods.figure_data import History

SPAN = 0.1  # between the best and the worst expert from which that is worth a word
FEW = 100  # validation samples below which one of them is more than a point
FALL = 0.05  # of the loss, from the third quarter of the iterations to the last, that is no levelling off
_CHANCE = 4.0  # standard errors of one accuracy, which many equal experts span by chance
_FEWEST = 20  # iterations below which no such thing can be told


@dataclass(frozen=True)
class Observed:
    """The ceiling of a run's set, and the sentences of this module that are true of the run."""

    ceiling: Ceiling | None = None
    notes: tuple[str, ...] = ()


def still_improving(history: History, iterations: int, held: int) -> str | None:
    """Validation rose to the last iterate that was judged, or the loss falls clearly, and neither denies the other.

    Of some iterates one is the best by chance, so a small rise alone says nothing.

    Args:
        held: validation samples.
    """
    judged = [row["validation_accuracy"] for row in history if row.get("validation_accuracy") is not None]
    signs = []
    rise = judged[-1] - max(judged[:-1]) if len(judged) > 1 else 0.0
    fall = _fall([row["loss"] for row in history if row.get("loss") is not None])
    if rise > 0 and (fall or rise > math.sqrt(judged[-1] * (1 - judged[-1]) / max(1, held))):
        signs.append(f"validation rose to the last iterate ({100 * judged[-2]:.1f} to {100 * judged[-1]:.1f} %)")
    if fall and (rise > 0 or len(judged) < 2):  # what validation has settled, a smaller loss does not better
        signs.append(f"the loss fell by {100 * fall:.0f} % from the third quarter to the last")
    if not signs:
        return None
    return f"still improving: {' and '.join(signs)}; raise distill.iterations (now {iterations:,})"


def _fall(losses: Sequence[float]) -> float | None:
    """By which share the last quarter's mean lies below that of the quarter before; None where not clearly so."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    quarter = len(finite) // 4
    if len(finite) < _FEWEST:
        return None
    before, last = finite[-2 * quarter : -quarter], finite[-quarter:]
    step = statistics.fmean(before) - statistics.fmean(last)
    error = math.sqrt((statistics.variance(before) + statistics.variance(last)) / quarter)
    fall = step / statistics.fmean(before) if step > 0 else 0.0
    return fall if fall > FALL and step > 2 * error else None


_CONTROLS = {
    "distilled": "the set",
    "random": "the control",
    "random_soft": "the control with the experts' labels",
    "hard_labels": "the control with hard labels",
    "full": "the full data's control",
}


def control_at_edge(
    rows: Sequence[Row], controls: ControlSettings, tries: Sequence[CellResult], held: int
) -> str | None:
    """A control's best lr is the smallest or the largest that it could choose, so a better one may lie beyond.

    Not said where the next lr is as good but for chance: the accuracy is level there, and beyond it most likely too.

    Args:
        tries: the networks that chose an lr.
        held: how many samples it was chosen on.
    """
    edges = dict[tuple[str, float], list[str]]()
    for row in rows:
        grid = controls.lrs_on(row.source)
        at_edge = row.lr_chosen_on is not None and min(grid) < max(grid) and row.lr in (min(grid), max(grid))
        own = [cell for cell in tries if (cell.source, cell.architecture) == (row.source, row.architecture)]
        if at_edge and _beats_next(row.lr, grid, held_by_lr(own, row.metric), held):
            edges.setdefault((row.source, row.lr), []).append(row.architecture)
    if not edges:
        return None
    parts = [
        f"{_CONTROLS.get(source, source)} sits at the {_edge(lr, controls.lrs_on(source))} ({', '.join(names)})"
        for (source, lr), names in edges.items()
    ]
    return f"{'; '.join(parts)}; widen evaluation.controls.lrs"


def _beats_next(lr: float, grid: Sequence[float], accuracies: Mapping[float, float], held: int) -> bool:
    """Whether the lr at an edge is better than its neighbour by two standard errors of a difference on `held`."""
    following = sorted(set(grid), reverse=lr == max(grid))[1]
    if lr not in accuracies or following not in accuracies:
        return False
    better, other = accuracies[lr], accuracies[following]
    mean = (better + other) / 2
    return better - other > 2 * math.sqrt(2 * mean * (1 - mean) / max(1, held))


def _edge(lr: float, grid: Sequence[float]) -> str:
    which = "smallest" if lr == min(grid) else "largest"
    return f"{which} lr of its grid, {lr:g} of {', '.join(f'{one:g}' for one in sorted(grid))}"


def experts_span(accuracies: Sequence[float], validation: int) -> str | None:
    """The experts that a set was matched with know very different things, and not by the chance of few samples."""
    if not accuracies:
        return None
    mean = statistics.fmean(accuracies)
    chance = _CHANCE * math.sqrt(mean * (1 - mean) / max(1, validation))
    if max(accuracies) - min(accuracies) <= max(SPAN, chance):
        return None
    low, high = 100 * min(accuracies), 100 * max(accuracies)
    return f"experts span {low:.0f} to {high:.0f} % on validation; raise experts.epochs or lower experts.lr"


def few_validation(count: int, share: float) -> str | None:
    """What is chosen on validation is chosen by a handful of samples."""
    if not 0 < count < FEW:
        return None
    samples = f"{count} sample{'s' * (count > 1)}"
    return (
        f"validation has {samples}: one of them is {100 / count:.1f} points of all that is chosen by it; raise "
        f"data.validation (now {share:g})"
    )


def part_of_training(train: int, validation: int, available: int | None, config: Config, noun: str) -> str | None:
    """Not all training samples that there are were read. `available`: how many those are, where that is known."""
    if available is None or train + validation >= available:
        return None
    settings: dict[str, Any] = {"data.limit_per_class": config.data.limit_per_class}
    if config.data.imbalance > 1:
        settings["data.imbalance"] = config.data.imbalance
    why = " and ".join(f"{key} is {value:g}" for key, value in settings.items() if value is not None)
    held = f", and {validation:,} held out to validate with" if validation else ""
    return f"{train:,} of {available:,} training {noun}s were used{held}: {why}"


def no_ceiling(ceiling: Ceiling | None, evaluation: EvaluationSettings) -> str | None:
    """Nothing says what the full training split would have taught, though by this protocol it could be known."""
    if ceiling is not None or evaluation.taught:
        return None
    return (
        "no ceiling stands beside the set: evaluation.controls.full=true trains networks on the whole training split, "
        "and padray plan says what that takes"
    )
