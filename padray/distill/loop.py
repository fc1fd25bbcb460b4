"""One iteration of trajectory matching as a pure step from state to state.

A contribution is what one trajectory says: its loss and its gradients. It depends on the state and on the
trajectory's number alone, so contributions may be made anywhere; `step` sums them in trajectory order, so who
made them does not matter. Sources: MTT Algorithm 1, DATM (soft labels, guard), PAD Eq. 4, IADD Algorithm 1.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from padray.config import DistillSettings
from padray.distill.state import State
from padray.draws import generator
from padray.errors import WorkError
from padray.matching import importance, student
from padray.matching.objective import Metric, match
from padray.matching.selection import SELECTIONS
from padray.matching.student import Learned
from padray.networks.flat import FlatNetwork

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Contribution:
    """One trajectory's loss (), gradients, and the relative error of every tensor of the network (L,)."""

    loss: torch.Tensor
    gradient: student.Gradient
    weights: torch.Tensor | None
    layers: torch.Tensor


@dataclass(frozen=True)
class Problem:
    """What stays fixed while a set is distilled."""

    settings: DistillSettings
    network: FlatNetwork
    seed: int

    def mask(self, device: torch.device) -> torch.Tensor:
        """The parameters that FIEM lets into the loss, (P,)."""
        selection = self.settings.selection
        return SELECTIONS[selection.strategy](self.network.size, selection.ratio).to(device)


def contribute(
    problem: Problem, state: State, trajectory: int, start_P: torch.Tensor, target_P: torch.Tensor
) -> Contribution:
    """Train a student from `start_P`, compare it with `target_P`, and take the exact gradient of the loss."""
    settings, learned = problem.settings, state.learned
    draw = generator(problem.seed, "distill", f"student-{trajectory}", state.iteration)
    _, channels, height, width = learned.images.shape
    shape = (channels, height, width)
    steps = student.draw_steps(
        len(learned.images), settings.student_steps, settings.batch, settings.augment, shape, draw
    )
    trajectory_P = student.train_student(problem.network, start_P, learned, steps)
    metric = Metric(problem.mask(start_P.device), state.weights, problem.network.spans)
    found = match(trajectory_P[-1], start_P, target_P, metric)
    gradient = student.adjoint(problem.network, trajectory_P, learned, steps, found.end)
    return Contribution(found.loss, gradient, found.weights, found.layers)


def step(problem: Problem, state: State, contributions: list[Contribution]) -> tuple[State, Metrics]:
    """The next state and this iteration's metrics, from the contributions of all trajectories in their order.

    Trajectories whose loss is above `distill.max_loss` leave the mean; if all are, nothing is updated.

    Raises:
        WorkError: a loss or a gradient is not finite, or the student's lr is no longer positive.
    """
    settings, losses = problem.settings, [float(c.loss) for c in contributions]
    _check_finite(state, contributions)
    used = [c for c in contributions if float(c.loss) <= settings.max_loss]
    metrics: Metrics = {
        "iteration": state.iteration, "loss": sum(losses) / len(losses), "skipped": len(contributions) - len(used),
        "student_lr": float(state.learned.lr), "layers": _mean([c.layers for c in contributions]).tolist(),
    }  # fmt: skip
    if state.weights is not None:
        metrics |= importance.diagnostics(state.weights[problem.mask(state.weights.device)])
    if not used:
        return State(state.iteration + 1, state.learned, state.momentum, state.weights, state.best), metrics
    learned, momentum = _descend(settings, state, used)
    if not float(learned.lr) > 0:
        raise WorkError(
            f"the student's lr became {float(learned.lr):.3g} in iteration {state.iteration}: "
            f"lower distill.lr_student_lr ({settings.lr_student_lr:g})"
        )
    weights = state.weights
    if weights is not None:
        gradient = _mean([c.weights for c in used if c.weights is not None])
        weights = importance.update(weights, gradient, settings.importance.lr, problem.mask(weights.device))
    stepped = State(state.iteration + 1, learned, momentum, weights, state.best)
    _check_state(stepped)
    return stepped, metrics


def _descend(settings: DistillSettings, state: State, used: list[Contribution]) -> tuple[Learned, Learned]:
    """SGD with momentum on images, labels and the student's lr; the momenta are the second result."""
    old, momenta = state.learned, state.momentum
    images = settings.momentum_images * momenta.images + _mean([c.gradient.images for c in used])
    lr = settings.momentum_student_lr * momenta.lr + _mean([c.gradient.lr for c in used])
    labels, new_labels = momenta.labels, old.labels
    if old.soft:
        labels = settings.labels.momentum * labels + _mean(
            [c.gradient.labels for c in used if c.gradient.labels is not None]
        )
        new_labels = old.labels - settings.labels.lr * labels
    learned = Learned(old.images - settings.lr_images * images, new_labels, old.lr - settings.lr_student_lr * lr)
    return learned, Learned(images, labels, lr)


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
                raise WorkError(
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
            raise WorkError(f"iteration {state.iteration} left values that are not finite: lower {setting}")


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
            accuracy = ports.judge(state.learned)
            state = state.judged(accuracy)
            metrics["validation_accuracy"] = accuracy
        yield metrics
        ports.keep(state)


def result(state: State) -> tuple[int, Learned]:
    """What a distillation gives: the best judged iterate, or the last one where none was judged."""
    if state.best is None or math.isnan(state.best.accuracy):
        return state.iteration, state.learned
    return state.best.iteration, state.best.learned
