"""One iteration of trajectory matching as a pure step from state to state.

A contribution is what one trajectory says: its loss and its gradients. It depends on the state and on the
trajectory's number alone, so contributions may be made anywhere; `step` sums them in trajectory order, so who
made them does not matter. Sources: MTT Algorithm 1, DATM (soft labels, guard), PAD Eq. 4, IADD Algorithm 1.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
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


@dataclass(frozen=True)
class Contribution:
    """One trajectory's loss (), gradients of set and weights (G,), and the relative error of every tensor (L,)."""

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

    Trajectories whose loss is above `distill.max_loss` leave the mean; if all are, nothing is updated.

    Raises:
        DivergedError: a loss or a gradient is not finite, or the student's lr is no longer positive.
    """
    settings, losses = problem.settings, [float(c.loss) for c in contributions]
    _check_finite(state, contributions)
    used = [c for c in contributions if float(c.loss) <= settings.max_loss]
    metrics: Metrics = {
        "iteration": state.iteration, "loss": sum(losses) / len(losses), "skipped": len(contributions) - len(used),
        "student_lr": float(state.learned.lr), "layers": _mean([c.layers for c in contributions]).tolist(),
    }  # fmt: skip
    importance, stepped = problem.importance, replace(state, iteration=state.iteration + 1)
    if importance is not None and state.weights is not None:
        metrics |= importance.diagnostics(state.weights)
    if not used:
        return stepped, metrics
    set_descends, weights_descend = descent.turns(settings, state.iteration)
    if set_descends:
        stepped = descent.descend_set(settings, stepped, _mean_gradient([c.gradient for c in used]))
    if importance is not None and weights_descend:
        gradient_G = _mean([c.weights for c in used if c.weights is not None])
        stepped = descent.descend_weights(importance, stepped, gradient_G)
    if not float(stepped.learned.lr) > 0:
        kept = " or set distill.keep_lr_positive" if settings.keep_lr_positive == "no" else ""
        raise DivergedError(
            f"the student's lr became {float(stepped.learned.lr):.3g} in iteration {state.iteration}: "
            f"lower distill.lr_student_lr ({settings.lr_student_lr:g}){kept}"
        )
    _check_state(stepped)
    return stepped, metrics


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


def _check_finite(state: State, contributions: list[Contribution]) -> None:
    for c in contributions:
        parts = [("loss", c.loss), ("gradient of the images", c.gradient.images), ("gradient of the lr", c.gradient.lr)]
        for name, part in parts:
            if not bool(torch.isfinite(part).all()):
                lr = float(state.learned.lr)
                raise DivergedError(
                    f"the {name} is not finite in iteration {state.iteration} (student lr {lr:.3g}): "
                    f"lower distill.lr_images, distill.labels.lr or distill.lr_student_lr"
                )


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
        judge: validation accuracy of what has been learned.
        keep: called with every state that may be stored.
    """

    rows: Iterator[tuple[torch.Tensor, ...]]
    mine: Iterable[int]
    exchange: Callable[[list[Contribution]], list[Contribution]]
    judge: Callable[[Learned], float]
    keep: Callable[[State], None]


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
            accuracy = ports.judge(state.candidate)
            state = state.judged(accuracy)
            metrics["validation_accuracy"] = accuracy
        yield metrics
        ports.keep(state)


def result(state: State) -> tuple[int, Learned]:
    """What a distillation gives: the best judged iterate, or the last one where none was judged."""
    if state.best is None or math.isnan(state.best.accuracy):
        return state.iteration, state.candidate
    return state.best.iteration, state.best.learned


def warning(problem: Problem, state: State) -> str | None:
    """What whoever uses the set of this state must know: that IADD's weights have collapsed."""
    if problem.importance is None or state.weights is None:
        return None
    return problem.importance.warning(state.weights)
