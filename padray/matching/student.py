"""N student steps on the synthetic set, and the exact gradient of what they reach with the memory of one step.

Forward, theta_{i+1} = theta_i - lr * g_i with g_i = grad_theta loss(theta_i; augment_i(x_i), y_i); all N + 1
vectors are kept, no graph is. Backward, with lambda_N = dL/dtheta_N given, for i = N-1 .. 0 step i's gradient is
made again with its graph, s = -lr * <lambda_{i+1}, g_i> is differentiated for images and labels, and
lambda_i = lambda_{i+1} + ds/dtheta_i (METHOD: the adjoint of the unrolled student; trajectory matching as in MTT).

Legend: N synthetic samples, C H W, K classes, P parameters, B samples of a step.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from padray.data import augment
from padray.networks.flat import FlatNetwork


@dataclass(frozen=True)
class Learned:
    """What is distilled: images (N, C, H, W), labels as logits (N, K) or class indices (N,), the student's lr ()."""

    images: torch.Tensor
    labels: torch.Tensor
    lr: torch.Tensor

    @property
    def soft(self) -> bool:
        """Whether the labels are learned logits."""
        return self.labels.is_floating_point()


@dataclass(frozen=True)
class Step:
    """One student step: which samples it sees (B,), and how they are augmented. Drawn once, so it can be replayed."""

    indices: torch.Tensor
    augmentation: augment.Augmentation


@dataclass(frozen=True)
class Gradient:
    """dL/d(images), dL/d(labels) (None for hard labels) and dL/d(lr)."""

    images: torch.Tensor
    labels: torch.Tensor | None
    lr: torch.Tensor


def draw_steps(
    count: int, steps: int, batch: int, strategy: str, shape: tuple[int, int, int], draw: torch.Generator
) -> list[Step]:
    """`steps` student steps over `count` samples: chunks of a permutation, then of a new one when it is used up."""
    chunks: list[torch.Tensor] = []
    while len(chunks) < steps:
        chunks += torch.split(torch.randperm(count, generator=draw), min(batch, count))
    return [Step(ids, augment.draw(strategy, len(ids), shape, draw)) for ids in chunks[:steps]]


def loss_of_step(network: FlatNetwork, theta_P: torch.Tensor, learned: Learned, step: Step) -> torch.Tensor:
    """Cross-entropy of one step, averaged over its samples; soft labels enter through their softmax (DATM)."""
    images = augment.apply(step.augmentation, learned.images[step.indices])
    labels = learned.labels[step.indices]
    return F.cross_entropy(network(theta_P, images), labels.softmax(dim=1) if learned.soft else labels)


def train_student(
    network: FlatNetwork, theta_P: torch.Tensor, learned: Learned, steps: list[Step]
) -> list[torch.Tensor]:
    """The N + 1 parameter vectors of a student that starts from `theta_P`, detached."""
    trajectory = [theta_P.detach()]
    for step in steps:
        start = trajectory[-1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss_of_step(network, start, learned, step), start)
        trajectory.append(trajectory[-1] - learned.lr.detach() * gradient)
    return trajectory


def adjoint(
    network: FlatNetwork, trajectory: list[torch.Tensor], learned: Learned, steps: list[Step], end_P: torch.Tensor
) -> Gradient:
    """The exact gradient of a loss whose derivative for the student's last parameters is `end_P`."""
    lr = learned.lr.detach()
    images = torch.zeros_like(learned.images)
    labels = torch.zeros_like(learned.labels) if learned.soft else None
    lr_gradient = torch.zeros_like(lr)
    lambda_P = end_P
    for theta_P, step in zip(reversed(trajectory[:-1]), reversed(steps), strict=True):
        inner, of_images, of_labels, of_theta = _one_step(network, theta_P, learned, step, lambda_P)
        lr_gradient -= inner
        seen = step.indices.to(images.device)  # drawn on the CPU, like everything
        images.index_add_(0, seen, of_images, alpha=-float(lr))
        if labels is not None and of_labels is not None:
            labels.index_add_(0, seen, of_labels, alpha=-float(lr))
        lambda_P = lambda_P - lr * of_theta
    return Gradient(images, labels, lr_gradient)


def _one_step(
    network: FlatNetwork, theta_P: torch.Tensor, learned: Learned, step: Step, lambda_P: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """<lambda, g_i> and its derivatives for this step's images, labels (if soft) and start parameters."""
    theta = theta_P.clone().requires_grad_()
    images = learned.images[step.indices].detach().requires_grad_()
    labels = learned.labels[step.indices].detach()
    wanted = [images, theta]
    if learned.soft:
        wanted.append(labels.requires_grad_())
    everything = torch.arange(len(images), device=images.device)
    loss = loss_of_step(network, theta, Learned(images, labels, learned.lr), Step(everything, step.augmentation))
    (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
    inner = gradient @ lambda_P
    parts = torch.autograd.grad(inner, wanted)
    return inner.detach(), parts[0], parts[2] if learned.soft else None, parts[1]
