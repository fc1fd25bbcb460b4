"""Trajectory matching as a method: an iteration is the mean over trajectories, each a student beside an expert.

Sources: MTT Algorithm 1, DATM (soft labels, guard, windows), PAD Eq. 4, IADD Algorithm 1, ATT (student's length).
Symbols: the table in __init__.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch

from padray.draws import generator
from padray.errors import DivergedError
from padray.methods import steps
from padray.methods.figure_data import Figure, History
from padray.methods.method import Contribution, Costs, Iterative, Metrics, Rehearsal, Sizes, Snapshot
from padray.methods.state import State, start
from padray.methods.trajectory import costs, descent, report, student, windows
from padray.methods.trajectory.gradients import GRADIENTS, Run
from padray.methods.trajectory.importance import Importance, weigh
from padray.methods.trajectory.initial import initial
from padray.methods.trajectory.length import nearest, whole
from padray.methods.trajectory.objective import Metric, match
from padray.methods.trajectory.selection import Selection, select
from padray.methods.trajectory.settings import TrajectorySettings
from padray.methods.trajectory.student import Gradient
from padray.networks import factory, peak
from padray.networks.derivatives import Derivatives, derivatives
from padray.networks.flat import FlatNetwork, Span
from padray.synthetic.set import Learned

_LOWER = "lower distill.lr_images, distill.labels.lr, distill.lr_student_lr or distill.student_lr"
_DESCRIBES = ("layers", "steps")  # of a contribution, what nothing descends along


class TrajectoryMatching(Iterative[TrajectorySettings]):
    """A contribution is one trajectory's: its loss (), its gradients, and every tensor's errors (2, L), see Match.

    `grad_images`, `grad_labels` (where they are soft), `grad_lr`, with IADD `grad_weights` (G,), and with an adaptive
    student length `steps` (), after how many of them the student was compared. The state's own tensors are IADD's:
    `weights` (G,), what it descends on (importance.py), and `weights_momentum` (G,).
    """

    contribution = "trajectory"

    @cached_property
    def network(self) -> FlatNetwork:
        """The student's structure."""
        given = self.materials
        built = factory.build(given.network, given.shape, given.classes, 0)
        return FlatNetwork(built.to(given.device, given.dtype).train())

    @cached_property
    def derivatives(self) -> Derivatives:
        """How a student's steps are made, compiled or not."""
        settings, execution = self.settings, self.materials.execution
        batch = min(settings.batch, settings.ipc * self.materials.classes)
        # In bf16 a student would lose its way: it alone is float32, as the snapshots are that it is compared with.
        bf16 = [kind for kind in execution.bf16 if kind == "curvature"]
        return derivatives(self.network, replace(execution, bf16=tuple(bf16)), batch)

    @cached_property
    def way(self) -> Callable[..., Run]:
        """How students are trained and differentiated; with graphs kept as far as there is memory for them."""
        settings, memory = self.settings, self.materials.execution.memory
        way = GRADIENTS[settings.gradient]
        if settings.gradient != "exact" or not memory or not self.derivatives.keeps:
            return way
        given = self.materials
        student = (peak.shaped(given.network, given.shape, given.classes, given.dtype), given.shape, given.classes)
        batch = min(settings.batch, settings.ipc * given.classes)
        return partial(way, keep=costs.kept_steps(*student, batch, settings.student_steps, memory))

    @cached_property
    def selection(self) -> Selection:
        """The parameters that are compared."""
        return select(self.settings.selection, self.settings.pruning, self.network.spans, self.materials.device)

    @cached_property
    def importance(self) -> Importance | None:
        """How the compared parameters are weighted; None without IADD."""
        settings = self.settings.importance
        return weigh(settings, self.network.spans, self.selection.fixed) if settings.enabled else None

    def start(self) -> State:
        own = {}
        if self.importance is not None:
            weights = self.importance.start(self.materials.dtype)
            own = {"weights": weights, "weights_momentum": torch.zeros_like(weights)}
        learned = initial(self.settings, self.network, self.materials)
        return start(learned, own, averaged=self.settings.ema_decay > 0)

    def snapshots(self, iteration: int, number: int) -> tuple[Snapshot, ...]:
        """Where the student starts, and what it is compared with."""
        settings, experts = self.settings, self.materials.experts.count
        position = iteration * settings.trajectories + number
        pair = windows.pair(settings.windows, experts, position, iteration, self.materials.seed)
        return Snapshot(pair.expert, pair.start), Snapshot(pair.expert, pair.start + settings.expert_epochs)

    def contribute(self, state: State, number: int, snapshots: Sequence[torch.Tensor]) -> Contribution:
        """Train a student from the first snapshot, compare it with the second, and take the gradient of the loss."""
        settings, learned = self.settings, state.learned
        start_P, target_P = snapshots
        draw = generator(self.materials.seed, "distill", f"student-{number}", state.iteration)
        _, channels, height, width = learned.images.shape
        shape = (channels, height, width)
        student_steps = student.draw_steps(
            len(learned.images), settings.student_steps, settings.batch, settings.augment, shape, draw
        )
        length = nearest(target_P) if settings.adaptive_length else whole
        ran = self.way(self.derivatives, start_P, learned, student_steps, length)
        matched = match(ran.end, start_P, target_P, self._metric(state))
        set_descends, _ = descent.turns(settings, state.iteration)
        gradient = ran.back(matched.grad_theta) if set_descends else Gradient.zero(learned)
        contribution = {"loss": matched.loss, "grad_images": gradient.images, "grad_lr": gradient.lr}
        if gradient.labels is not None:
            contribution["grad_labels"] = gradient.labels
        if self.importance is not None and matched.grad_weights is not None:
            grad_weights = self.importance.gradient(state.own["weights"], matched.grad_weights)
            contribution["grad_weights"] = grad_weights
        if settings.adaptive_length:
            contribution["steps"] = torch.tensor(ran.steps).to(matched.loss)
        return {**contribution, "layers": matched.layers}

    def _metric(self, state: State) -> Metric:
        weights_P = None if self.importance is None else self.importance.weights(state.own["weights"])
        weighted = self.settings.importance.weighted_denominator
        return Metric(self.selection, self.network.spans, weights_P, weighted)

    def step(self, state: State, contributions: Sequence[Contribution]) -> tuple[State, Metrics]:
        """The mean over the trajectories that are finite and whose loss is at most `distill.max_loss`.

        If none is left, nothing is updated.

        Raises:
            DivergedError: no trajectory was finite, again and again; the student's lr is no longer positive; or the
                step leaves values that are not finite.
        """
        finite = [one for one in contributions if steps.is_finite(one, without=_DESCRIBES)]
        used = [one for one in finite if float(one["loss"]) <= self.settings.max_loss]
        stepped = steps.next_of(state, bool(finite))
        lr = float(state.learned.student_lr)
        steps.check_barren(stepped, "trajectory", f" (student lr {lr:.3g}): {_LOWER}")
        metrics = {
            "iteration": state.iteration,
            "loss": _mean_loss(finite),
            "skipped": len(contributions) - len(used),
            "not_finite": len(contributions) - len(finite),
            "student_lr": lr,
            **_mean_layers(contributions, finite),
        }
        if self.settings.adaptive_length:
            metrics["student_steps"] = [int(one["steps"]) for one in finite]
        if self.importance is not None:
            metrics |= self.importance.diagnostics(state.own["weights"])
        return self._descend(stepped, used) if used else stepped, metrics

    def _descend(self, state: State, used: Sequence[Contribution]) -> State:
        """The state of an iteration after its descent along the mean of what is used. Raises DivergedError."""
        settings, iteration = self.settings, state.iteration - 1
        set_descends, weights_descend = descent.turns(settings, iteration)
        if set_descends:
            state = descent.descend_set(settings, state, _mean_gradient(used))
        if self.importance is not None and weights_descend:
            gradient_G = steps.mean([one["grad_weights"] for one in used])
            state = descent.descend_weights(self.importance, state, gradient_G)
        lr = float(state.learned.student_lr)
        if not lr > 0:
            kept = " or set distill.keep_lr_positive" if settings.keep_lr_positive == "no" else ""
            raise DivergedError(
                f"the student's lr became {lr:.3g} in iteration {iteration}: "
                f"lower distill.lr_student_lr ({settings.lr_student_lr:g}){kept}"
            )
        steps.check_finite(
            state,
            {
                "distill.lr_images": state.learned.images,
                "distill.labels.lr": state.learned.labels,
                "distill.lr_student_lr": state.learned.lr,
                "distill.importance.lr": state.own.get("weights"),
            },
        )
        return state

    def warning(self, state: State) -> str | None:
        """That the last iterations did nothing, or that IADD collapsed."""
        collapsed = None if self.importance is None else self.importance.warning(state.own["weights"])
        return "; ".join(filter(None, (steps.barren_warning(state, "trajectory", _LOWER), collapsed))) or None

    @classmethod
    def left_out(cls, settings: TrajectorySettings) -> str:
        return f"a trajectory left out because its loss was above distill.max_loss ({settings.max_loss:g})"

    @classmethod
    def notes(cls, settings: TrajectorySettings, learned: Learned, noun: str) -> list[str]:
        return report.notes(settings, learned, noun)

    @classmethod
    def figures(
        cls, settings: TrajectorySettings, history: History, spans: Sequence[Span], classes: Sequence[str]
    ) -> list[Figure]:
        return report.figures(settings, history, spans)

    @classmethod
    def costs(cls, settings: TrajectorySettings, sizes: Sizes) -> Costs:
        return costs.of(settings, sizes)

    @classmethod
    def rehearsal(cls, settings: TrajectorySettings) -> Rehearsal:
        return costs.rehearsal(settings)


def _mean_gradient(used: Sequence[Contribution]) -> Gradient:
    labels = [one["grad_labels"] for one in used if "grad_labels" in one]
    images, lr = steps.mean([one["grad_images"] for one in used]), steps.mean([one["grad_lr"] for one in used])
    return Gradient(images, steps.mean(labels) if labels else None, lr)


def _mean_loss(finite: Sequence[Contribution]) -> float | None:
    """The mean loss of the finite trajectories; None where there is none."""
    return sum(float(one["loss"]) for one in finite) / len(finite) if finite else None


def _mean_layers(contributions: Sequence[Contribution], finite: Sequence[Contribution]) -> dict[str, list[Any]]:
    """The mean errors of every tensor over the finite trajectories, relative and absolute; None where there is none."""
    kinds, count = contributions[0]["layers"].shape
    layers, errors = steps.mean([one["layers"] for one in finite]).tolist() if finite else [[None] * count] * kinds
    return {"layers": layers, "errors": errors}
