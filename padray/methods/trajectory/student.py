"""N student steps on the synthetic set: theta_{i+1} = theta_i - lr * g_i.

g_i = grad_theta loss(theta_i; augment_i(x_i), y_i), as in MTT. How a loss at the end is differentiated through the
steps is told in gradients.py.

Legend: N synthetic samples, C H W, K classes, P parameters, B samples of a step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from padray.data import augment
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


def batch_of(images_BCHW: torch.Tensor, labels: torch.Tensor, step: Step) -> tuple[torch.Tensor, torch.Tensor]:
    """What a step trains on: its samples augmented, and its targets, of soft labels (B, K) the softmax (DATM)."""
    targets = labels.softmax(dim=1) if labels.is_floating_point() else labels
    return augment.apply(step.augmentation, images_BCHW), targets


def train_student(
    slope: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    theta_P: torch.Tensor,
    learned: Learned,
    steps: list[Step],
) -> list[torch.Tensor]:
    """The N + 1 parameter vectors of a student that starts from `theta_P`, detached.

    Args:
        slope: theta_i (P,), images and targets of a step -> g_i (P,), detached.
    """
    trajectory, lr = [theta_P.detach()], learned.student_lr.detach()
    for step in steps:
        batch = batch_of(learned.images[step.indices], learned.labels[step.indices], step)
        trajectory.append(trajectory[-1] - lr * slope(trajectory[-1], *batch))
    return trajectory
