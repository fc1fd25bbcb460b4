"""One iteration of trajectory matching as a pure step from state to state.

A contribution is what one trajectory says: its loss and its gradients. It depends on the state and on the
trajectory's number alone, so contributions may be made anywhere; `step` sums them in trajectory order, so who
made them does not matter. Sources: MTT Algorithm 1, DATM (soft labels, guard), PAD Eq. 4, IADD Algorithm 1.

Metrics hold finite numbers alone, so that JSON and Parquet know them all: what is not finite is None.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import torch

from padray.config import DistillSettings
from padray.distill import descent
from padray.distill.state import State
from padray.draws import generator
from padray.errors import DivergedError
from padray.matching import student
from padray.matching.gradients import GRADIENTS
from padray.matching.importance import Importance, weigh
from padray.matching.objective import Metric, match
from padray.matching.selection import Selection, select
from padray.matching.student import Gradient, Learned
from padray.networks.flat import FlatNetwork

Metrics = dict[str, Any]
BARREN = 10  # so many iterations in a row without a finite trajectory, and the work ends
_LOWER = "lower distill.lr_images, distill.labels.lr, distill.lr_student_lr or distill.student_lr"


@dataclass(frozen=True)
class Contribution:
    """One trajectory's loss (), gradients of set and weights (G,), and every tensor's errors (2, L), see Match."""

    loss: torch.Tensor
    gradient: Gradient
    weights: torch.Tensor | None
    layers: torch.Tensor


@dataclass(frozen=True)
class Problem:
    """What stays fixed while a set is distilled."""

    settings: DistillSettings
    network: FlatNetwork
    seed: int

    @cached_property
    def selection(self) -> Selection:
        """The parameters that are compared."""
        device = self.network.flatten().device
        return select(self.settings.selection, self.settings.pruning, self.network.spans, device)

    @cached_property
    def importance(self) -> Importance | None:
        """How the compared parameters are weighted; None without IADD."""
        settings = self.settings.importance
        return weigh(settings, self.network.spans, self.selection.fixed) if settings.enabled else None


def contribute(
    problem: Problem, state: State, trajectory: int, start_P: torch.Tensor, target_P: torch.Tensor
) -> Contribution:
    """Train a student from `start_P`, compare it with `target_P`, and take the gradient of the loss."""
    settings, learned = problem.settings, state.learned
    draw = generator(problem.seed, "distill", f"student-{trajectory}", state.iteration)
    _, channels, height, width = learned.images.shape
    shape = (channels, height, width)
    steps = student.draw_steps(
        len(learned.images), settings.student_steps, settings.batch, settings.augment, shape, draw
    )
    ran = GRADIENTS[settings.gradient](problem.network, start_P, learned, steps)
    found = match(ran.end, start_P, target_P, _metric(problem, state))
    set_descends, _ = descent.turns(settings, state.iteration)
    gradient = ran.back(found.end) if set_descends else Gradient.zero(learned)
    of_weights = None
    if problem.importance is not None and state.weights is not None and found.weights is not None:
        of_weights = problem.importance.gradient(state.weights, found.weights)
    return Contribution(found.loss, gradient, of_weights, found.layers)


def _metric(problem: Problem, state: State) -> Metric:
    importance, weights_P = problem.importance, None
    if importance is not None and state.weights is not None:
        weights_P = importance.weights(state.weights)
    weighted = problem.settings.importance.weighted_denominator
    return Metric(problem.selection, problem.network.spans, weights_P, weighted)


def step(problem: Problem, state: State, contributions: list[Contribution]) -> tuple[State, Metrics]:
    """The next state and this iteration's metrics, from the contributions of all trajectories in their order.

    Trajectories that are not finite, and those whose loss is above `distill.max_loss`, leave the mean; if all do,
    nothing is updated.

    Raises:
        DivergedError: no trajectory was finite, again and again; the student's lr is no longer positive; or the step
            leaves values that are not finite.
    """
    finite = [c for c in contributions if _is_finite(c)]
    used = [c for c in finite if float(c.loss) <= problem.settings.max_loss]
    stepped = replace(state, iteration=state.iteration + 1, barren=0 if finite else state.barren + 1)
    if stepped.barren >= BARREN:
        raise DivergedError(
            f"no trajectory was finite in {BARREN} iterations in a row, up to iteration {state.iteration} "
            f"(student lr {float(state.learned.lr):.3g}): {_LOWER}"
        )
    layers, errors = _mean_layers(contributions, finite)
    metrics: Metrics = {
        "iteration": state.iteration, "loss": _mean_loss(finite), "skipped": len(contributions) - len(used),
        "not_finite": len(contributions) - len(finite), "student_lr": float(state.learned.lr),
        "layers": layers, "errors": errors,
    }  # fmt: skip
    if problem.importance is not None and state.weights is not None:
        metrics |= problem.importance.diagnostics(state.weights)
    return _descend(problem, stepped, used) if used else stepped, {key: _told(value) for key, value in metrics.items()}


def _descend(problem: Problem, state: State, used: list[Contribution]) -> State:
    """The state of an iteration after its descent along the mean of what is used. Raises DivergedError."""
    settings, importance, iteration = problem.settings, problem.importance, state.iteration - 1
    set_descends, weights_descend = descent.turns(settings, iteration)
    if set_descends:
        state = descent.descend_set(settings, state, _mean_gradient([c.gradient for c in used]))
    if importance is not None and weights_descend:
        gradient_G = _mean([c.weights for c in used if c.weights is not None])
        state = descent.descend_weights(importance, state, gradient_G)
    if not float(state.learned.lr) > 0:
        kept = " or set distill.keep_lr_positive" if settings.keep_lr_positive == "no" else ""
        raise DivergedError(
            f"the student's lr became {float(state.learned.lr):.3g} in iteration {iteration}: "
            f"lower distill.lr_student_lr ({settings.lr_student_lr:g}){kept}"
        )
    _check_state(state)
    return state


def _mean_gradient(parts: list[Gradient]) -> Gradient:
    labels = [part.labels for part in parts if part.labels is not None]
    images, lr = _mean([part.images for part in parts]), _mean([part.lr for part in parts])
    return Gradient(images, _mean(labels) if labels else None, lr)


def _mean(parts: list[torch.Tensor]) -> torch.Tensor:
    """The mean, summed in the given order, so that its bytes do not depend on who made the parts."""
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total / len(parts)


def _is_finite(contribution: Contribution) -> bool:
    """Whether the loss and every gradient are finite."""
    gradient = contribution.gradient
    parts = (contribution.loss, gradient.images, gradient.labels, gradient.lr, contribution.weights)
    return all(bool(torch.isfinite(part).all()) for part in parts if part is not None)


def _mean_loss(finite: list[Contribution]) -> float | None:
    """The mean loss of the finite trajectories; None where there is none."""
    return sum(float(c.loss) for c in finite) / len(finite) if finite else None


def _mean_layers(contributions: list[Contribution], finite: list[Contribution]) -> list[list[float | None]]:
    """The mean errors of every tensor over the finite trajectories, (2, L); None each where there is none."""
    kinds, count = contributions[0].layers.shape
    return _mean([c.layers for c in finite]).tolist() if finite else [[None] * count] * kinds


def _told(value: Any) -> Any:
    """A metric as it is told: None in the place of every number that is not finite."""
    if isinstance(value, list):
        return [_told(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_state(state: State) -> None:
    """Refuse to go on from, or to store, what is not finite; each part names its own setting."""
    parts = {
        "distill.lr_images": state.learned.images, "distill.labels.lr": state.learned.labels,
        "distill.lr_student_lr": state.learned.lr, "distill.importance.lr": state.weights,
    }  # fmt: skip
    for setting, part in parts.items():
        if part is not None and not bool(torch.isfinite(part).all()):
            raise DivergedError(f"iteration {state.iteration - 1} left values that are not finite: lower {setting}")


@dataclass(frozen=True)
class Ports:
    """What the loop needs from outside: snapshots in, and what to do with the states.

    Attributes:
        rows: for each iteration's trajectories of this worker, in order, the (start, target) snapshots.
        mine: the numbers of this worker's trajectories.
        exchange: this worker's contributions -> those of all workers, in trajectory order.
        judge: the validation accuracies of networks trained on what has been learned; None for one that diverged.
        keep: called with every state that may be stored, and the metrics of the iteration that led to it.
    """

    rows: Iterator[tuple[torch.Tensor, ...]]
    mine: Iterable[int]
    exchange: Callable[[list[Contribution]], list[Contribution]]
    judge: Callable[[Learned], list[float | None]]
    keep: Callable[[State, Metrics], None]


def run(problem: Problem, state: State, until: int, ports: Ports) -> Iterator[Metrics]:
    """Iterate from `state` to `until`, yielding each iteration's metrics; validation joins at fixed iterations."""
    validation = problem.settings.validation
    while state.iteration < until:
        own = []
        for trajectory in ports.mine:
            start_P, target_P = next(ports.rows)
            own.append(contribute(problem, state, trajectory, start_P, target_P))
        state, metrics = step(problem, state, ports.exchange(own))
        if validation.seeds and state.iteration % validation.every == 0:
            accuracies = ports.judge(state.candidate)
            accuracy = fmean(found or 0.0 for found in accuracies)  # no iterate is worse than one that diverges
            state = state.judged(accuracy)
            metrics |= {"validation_accuracy": _told(accuracy), "validation_diverged": accuracies.count(None)}
        ports.keep(state, metrics)
        yield metrics


def describe(metrics: Metrics) -> str:
    """An iteration in a few words."""
    loss = "no finite loss" if metrics["loss"] is None else f"loss {metrics['loss']:.4f}"
    skipped, lost = metrics["skipped"], metrics["not_finite"]
    left_out = f", {skipped} left out ({lost} not finite)" if lost else f", {skipped} left out" if skipped else ""
    judged = ""
    if "validation_accuracy" in metrics:
        diverged = f" ({n} diverged)" if (n := metrics["validation_diverged"]) else ""
        judged = f", validation {100 * metrics['validation_accuracy']:.1f} %{diverged}"
    warned = f"; {metrics['warning']}" if "warning" in metrics else ""
    return f"{loss}, student lr {metrics['student_lr']:.4g}{left_out}{judged}{warned}"


def result(state: State) -> tuple[int, Learned]:
    """What a distillation gives: the best judged iterate, or the last one where none was judged."""
    if state.best is None or math.isnan(state.best.accuracy):
        return state.iteration, state.candidate
    return state.best.iteration, state.best.learned


def warning(problem: Problem, state: State) -> str | None:
    """What whoever uses the set of this state must know: that the last iterations did nothing, that IADD collapsed."""
    told: list[str | None] = []
    if state.barren:
        told.append(f"no trajectory was finite in the last {state.barren} iterations, which changed nothing: {_LOWER}")
    if problem.importance is not None and state.weights is not None:
        told.append(problem.importance.warning(state.weights))
    return "; ".join(filter(None, told)) or None
