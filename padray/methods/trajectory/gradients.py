"""Three ways to differentiate a loss at the student's end for images, labels and lr.

With g_i the gradient of step i, lambda_N = dL/dtheta_N and theta_{i+1} = theta_i - lr * g_i:

exact: the adjoint. All N + 1 vectors are kept, no graph is. For i = N-1 .. 0 g_i is made again with its graph,
    s = -lr * <lambda_{i+1}, g_i> is differentiated for images and labels, and lambda_i = lambda_{i+1} + ds/dtheta_i.
    The memory of one step's graph, and the gradient of full unrolling. Of as many steps as are asked for the graph of
    g_i is kept on the way forth, so that it need not be made again: four fifths of the time where all are, and the
    same bytes however many are, since every g_i is made with its graph.
unroll: all graphs are kept and differentiated in one go: N times the memory, the reference.
tesla: as exact, but lambda_i = lambda_N: theta_i counts as a constant of step i (TESLA, Eq. 6 and Algorithm 1). So
    dL/dlr = -<lambda_N, sum of g_i>. Exact for one step only; see tests/benchmarks/results/tesla_error.json.

Where a student ends before its last step (length.py), N is the number of steps up to there, and nothing after it is
gone through again.

Legend: N student steps, P parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from padray.methods.trajectory.length import Length, whole
from padray.methods.trajectory.student import Gradient, Step, batch_of, train_student
from padray.networks.derivatives import Curvature, Derivatives, Slope
from padray.synthetic.set import Learned


@dataclass(frozen=True)
class Run:
    """A student that has arrived: its last parameters (P,), the way back from dL/dtheta_N (P,) to a gradient, and N."""

    end: torch.Tensor
    back: Callable[[torch.Tensor], Gradient]
    steps: int


def exact(
    derivatives: Derivatives,
    start_P: torch.Tensor,
    learned: Learned,
    steps: list[Step],
    length: Length = whole,
    keep: int = 0,
) -> Run:
    """A student from `start_P`; its way back is the adjoint.

    Args:
        keep: of how many steps graphs are kept; none where `derivatives` cannot. They are those of the first steps,
            since an adaptive length leaves out the last ones.
    """
    kept: list[Slope] = []

    def slope(*batch: torch.Tensor) -> torch.Tensor:
        if not derivatives.keeps:
            return derivatives.gradient(*batch)[1]
        one = derivatives.slope(*batch)
        if len(kept) < keep:
            kept.append(one)
        return one.gradient.detach()

    trajectory = train_student(slope, start_P, learned, steps)
    count = length(trajectory)
    passed, taken = trajectory[: count + 1], steps[:count]
    del kept[count:]
    return Run(passed[-1], lambda grad_P: adjoint(derivatives, passed, learned, taken, grad_P, kept), count)


def tesla(
    derivatives: Derivatives, start_P: torch.Tensor, learned: Learned, steps: list[Step], length: Length = whole
) -> Run:
    """A student from `start_P`; its way back is TESLA's approximation."""
    trajectory = train_student(lambda *batch: derivatives.gradient(*batch)[1], start_P, learned, steps)
    count = length(trajectory)

    def back(grad_P: torch.Tensor) -> Gradient:
        gradient, lr = Gradient.zero(learned), float(learned.student_lr)
        for theta_P, step in zip(trajectory[:count], steps[:count], strict=True):
            slope = partial(derivatives.curvature, theta_P, lambda_P=grad_P, of_theta=False)
            _add(gradient, _one_step(slope, learned, step), lr, step)
        return gradient

    return Run(trajectory[count], back, count)


def unroll(
    derivatives: Derivatives, start_P: torch.Tensor, learned: Learned, steps: list[Step], length: Length = whole
) -> Run:
    """A student from `start_P` whose graphs are all kept; its way back is autograd's, and nothing is compiled."""
    images, lr = learned.images.detach().requires_grad_(), learned.student_lr.detach().requires_grad_()
    labels = learned.labels.detach().requires_grad_(learned.soft)
    trajectory = [start_P.detach().requires_grad_()]
    for step in steps:
        theta_P = trajectory[-1]
        loss = derivatives.loss(theta_P, *batch_of(images[step.indices], labels[step.indices], step))
        trajectory.append(theta_P - lr * torch.autograd.grad(loss, theta_P, create_graph=True)[0])
    count = length(trajectory)
    wanted = [images, lr, labels] if learned.soft else [images, lr]

    def back(grad_P: torch.Tensor) -> Gradient:
        parts = torch.autograd.grad(trajectory[count], wanted, grad_P)
        return Gradient(parts[0], parts[2] if learned.soft else None, parts[1])

    return Run(trajectory[count].detach(), back, count)


GRADIENTS: dict[str, Callable[..., Run]] = {
    "exact": exact,
    "unroll": unroll,
    "tesla": tesla,
}


def adjoint(
    derivatives: Derivatives,
    trajectory: list[torch.Tensor],
    learned: Learned,
    steps: list[Step],
    grad_P: torch.Tensor,
    kept: list[Slope] | None = None,
) -> Gradient:
    """The exact gradient of a loss whose derivative for the student's last parameters is `grad_P`.

    Args:
        kept: the graphs of the first steps; each goes once it has been used.
    """
    lr = float(learned.student_lr)  # a GPU is waited for once, not N times
    gradient, lambda_P = Gradient.zero(learned), grad_P
    for number in reversed(range(len(steps))):
        if kept and number < len(kept):
            curvature = partial(_of_kept, kept.pop(), lambda_P)
        else:
            curvature = partial(derivatives.curvature, trajectory[number], lambda_P=lambda_P)
        part = _one_step(curvature, learned, steps[number])
        _add(gradient, part, lr, steps[number])
        assert part.theta is not None
        lambda_P = lambda_P - learned.student_lr.detach() * part.theta
    return gradient


def _of_kept(slope: Slope, lambda_P: torch.Tensor, images: torch.Tensor, targets: torch.Tensor) -> Curvature:
    """What is the same for its own images and targets, which it has."""
    return slope.curvature(lambda_P)


@dataclass(frozen=True)
class _Part:
    """<lambda, g_i> () and its derivatives for one step's images, labels (if soft) and start parameters (on demand)."""

    inner: torch.Tensor
    images: torch.Tensor
    labels: torch.Tensor | None
    theta: torch.Tensor | None


def _add(gradient: Gradient, part: _Part, lr: float, step: Step) -> None:
    """Add a step's part to the gradient, in place."""
    seen = step.indices.to(gradient.images.device)  # drawn on the CPU, like everything
    gradient.lr.sub_(part.inner)
    gradient.images.index_add_(0, seen, part.images, alpha=-lr)
    if gradient.labels is not None and part.labels is not None:
        gradient.labels.index_add_(0, seen, part.labels, alpha=-lr)


def _one_step(curvature: Callable[[torch.Tensor, torch.Tensor], Curvature], learned: Learned, step: Step) -> _Part:
    """<lambda, g_i> differentiated, back to the samples before their augmentation and to the labels' logits.

    Args:
        curvature: what it is differentiated for: images and targets as the network saw them.
    """
    images = learned.images[step.indices].detach().requires_grad_()
    labels = learned.labels[step.indices].detach().requires_grad_(learned.soft)
    seen, targets = batch_of(images, labels, step)
    part = curvature(seen, targets)
    grad_images = part.images if seen is images else torch.autograd.grad(seen, images, part.images)[0]
    grad_labels = None if part.targets is None else torch.autograd.grad(targets, labels, part.targets)[0]
    return _Part(part.inner, grad_images, grad_labels, part.theta)
