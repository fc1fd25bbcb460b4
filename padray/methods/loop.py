"""The loop around every iterative method: contributions in, states and metrics out; it knows no family.

Metrics hold finite numbers alone, so that JSON and Parquet know them all: what is not finite is None.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from padray.machine import interruption
from padray.methods.method import Contribution, Iterative, Metrics
from padray.methods.settings import DistillSettings
from padray.methods.state import State
from padray.synthetic.set import Learned


@dataclass(frozen=True)
class LoopHooks:
    """What the loop needs from outside: snapshots in, and what to do with the states.

    Attributes:
        rows: for each iteration and each of `mine`, in order, the snapshots that the contribution asks for.
        mine: the numbers of this worker's contributions.
        exchange: this worker's contributions -> those of all workers, in the order of their numbers.
        judge: the validation accuracies of networks trained on what has been learned; None for one that diverged.
        keep: called with every state that may be stored, and the metrics of the iteration that led to it.
    """

    rows: Iterator[Sequence[torch.Tensor]]
    mine: Sequence[int]
    exchange: Callable[[list[Contribution]], list[Contribution]]
    judge: Callable[[Learned], list[float | None]]
    keep: Callable[[State, Metrics], None]


def run(method: Iterative[DistillSettings], state: State, until: int, hooks: LoopHooks) -> Iterator[Metrics]:
    """Iterate from `state` to `until`, yielding each iteration's metrics; validation joins at fixed iterations."""
    validation = method.settings.validation
    while state.iteration < until:
        interruption.check()
        own = [method.contribute(state, number, next(hooks.rows)) for number in hooks.mine]
        state, metrics = method.step(state, hooks.exchange(own))
        metrics = {name: finite_or_none(value) for name, value in metrics.items()}
        if validation.seeds and state.iteration % validation.every == 0:
            accuracies = hooks.judge(state.candidate)
            accuracy = fmean(one or 0.0 for one in accuracies)  # no iterate is worse than one that diverges
            state = state.judged(accuracy)
            metrics |= {"validation_accuracy": finite_or_none(accuracy), "validation_diverged": accuracies.count(None)}
        hooks.keep(state, metrics)
        yield metrics


def finite_or_none(value: Any) -> Any:
    """A metric as it is stored: None in the place of every number that is not finite."""
    if isinstance(value, list):
        return [finite_or_none(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(metrics: Metrics) -> str:
    """An iteration in a few words."""
    loss = "no finite loss" if metrics["loss"] is None else f"loss {metrics['loss']:.4f}"
    lr = f", student lr {metrics['student_lr']:.4g}" if metrics.get("student_lr") is not None else ""
    skipped, lost = metrics["skipped"], metrics["not_finite"]
    left_out = f", {skipped} left out ({lost} not finite)" if lost else f", {skipped} left out" if skipped else ""
    judged = ""
    if "validation_accuracy" in metrics:
        diverged = f" ({n} diverged)" if (n := metrics["validation_diverged"]) else ""
        judged = f", validation {100 * metrics['validation_accuracy']:.1f} %{diverged}"
    warned = f"; {metrics['warning']}" if "warning" in metrics else ""
    return f"{loss}{lr}{left_out}{judged}{warned}"


def result(state: State) -> tuple[int, Learned]:
    """What a distillation gives: the best judged iterate, or the last one where none was judged."""
    if state.best is None or math.isnan(state.best.accuracy):
        return state.iteration, state.candidate
    return state.best.iteration, state.best.learned
