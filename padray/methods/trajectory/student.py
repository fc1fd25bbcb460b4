"""N student steps on the synthetic set: theta_{i+1} = theta_i - lr * g_i.

g_i = grad_theta loss(theta_i; augment_i(x_i), y_i), as in MTT. How a loss at the end is differentiated through the
steps is told in gradients.py.

Legend: N synthetic samples, C H W, K classes, P parameters, B samples of a step.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from padray.data import augment
from padray.networks.flat import FlatNetwork
from padray.synthetic.set import Learned


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

    @staticmethod
    def zero(learned: Learned) -> "Gradient":
        """The gradient of what does not depend on `learned`."""
        labels = torch.zeros_like(learned.labels) if learned.soft else None
        return Gradient(torch.zeros_like(learned.images), labels, torch.zeros_like(learned.student_lr))


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
        trajectory.append(trajectory[-1] - learned.student_lr.detach() * gradient)
    return trajectory
