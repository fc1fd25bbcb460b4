"""Evaluation by knowledge distillation: a teacher trained on real data labels every augmented and mixed batch.

Source: RDED's recipe (Sun et al. 2024), which PAD's Table 9 names without its details. Differs from it in: 1. the epoch
out of the last fifth is chosen on the validation split, not on the test split, and without a validation split it is the
last one; 2. the batch does not depend on IPC (published.py); 3. a batch norm sees a batch once, where RDED's sees it
twice; 4. test images of 64 pixels are not zoomed; 5. how the teacher is trained is `evaluation.teacher`'s to say.

Legend: N samples, C H W, K classes, T temperature, E epochs. Labels and lr of the set are not used.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from padray.data import augment
from padray.data.datasets import Dataset
from padray.data.mixing import mix
from padray.draws import generator
from padray.errors import DivergedError
from padray.evaluation.accuracy import Accuracy, measure
from padray.evaluation.protocol import RealSplits, Score, fresh, score_of
from padray.evaluation.settings import EvaluationSettings
from padray.experts.optimisers import AdamW
from padray.experts.training import Draws, Samples
from padray.machine import activity, interruption
from padray.networks.settings import NetworkSettings


@dataclass(frozen=True)
class TeacherSpec:
    """The teacher, and the settings that a student learns by."""

    teacher: nn.Module
    settings: EvaluationSettings


def imitation_loss(student_NK: torch.Tensor, teacher_NK: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(teacher || student) of logits softened by T, a mean over the batch, not multiplied by T^2."""
    wanted = F.softmax(teacher_NK / temperature, dim=1)
    return F.kl_div(F.log_softmax(student_NK / temperature, dim=1), wanted, reduction="batchmean")


def lr_factor(epoch: int, epochs: int) -> float:
    """The share of the lr in an epoch: a cosine that is half way down where training ends."""
    return 0.5 * (1 + math.cos(math.pi * epoch / (2 * epochs)))


def teach(student: nn.Module, images_NCHW: torch.Tensor, teacher_spec: TeacherSpec, draws: Draws) -> Iterator[float]:
    """Train in place; yield the loss of the last batch after every epoch.

    Raises:
        DivergedError: the loss is not finite.
    """
    settings, epochs = teacher_spec.settings.teacher, teacher_spec.settings.training.epochs
    optimiser = AdamW(student.parameters(), settings.lr, settings.weight_decay)
    teacher_spec.teacher.eval()
    with activity.step("epoch", epochs) as going:
        for epoch in range(epochs):
            interruption.check()
            optimiser.lr = settings.lr * lr_factor(epoch, epochs)
            draw = generator(draws.seed, draws.stage, draws.unit, epoch)
            loss = _teach_epoch(student, images_NCHW, teacher_spec, optimiser, draw)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the loss of {draws.stage} {draws.unit} became {loss} in epoch {epoch}: "
                    f"lower evaluation.teacher.lr ({settings.lr:g})"
                )
            going.done = epoch + 1
            yield loss


def _teach_epoch(
    student: nn.Module,
    images_NCHW: torch.Tensor,
    teacher_spec: TeacherSpec,
    optimiser: AdamW,
    draw: torch.Generator,
) -> float:
    student.train()
    settings, training = teacher_spec.settings, teacher_spec.settings.training
    count, channels, height, width = images_NCHW.shape
    loss = torch.zeros(())
    for batch in torch.split(torch.randperm(count, generator=draw), training.batch):
        change = augment.draw(training.augment, len(batch), (channels, height, width), draw)
        images = mix(settings.teacher.mix, augment.apply(change, images_NCHW[batch]), draw)
        with torch.no_grad():
            wanted = teacher_spec.teacher(images)
        loss = imitation_loss(student(images), wanted, settings.teacher.temperature)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return float(loss.detach())


def judge_taught(
    training: Samples,
    network: NetworkSettings,
    teacher_spec: TeacherSpec,
    draws: Draws,
    dataset: Dataset,
    splits: RealSplits,
) -> Score:
    """Teach a fresh network with the images of `training`, and take its accuracies at the chosen epoch.

    Without held samples nothing is chosen: the last epoch counts.

    Raises:
        DivergedError: the loss is not finite, or what the trained network says.
    """
    student, settings = fresh(network, dataset, draws, training), teacher_spec.settings
    epochs = settings.training.epochs
    first = epochs - max(1, epochs // 5)
    best: tuple[Accuracy, dict[str, torch.Tensor]] | None = None
    for epoch, _ in enumerate(teach(student, training.images, teacher_spec, draws)):
        if splits.held is not None and epoch >= first:
            accuracy = measure(student, splits.held)
            if best is None or accuracy.by(settings.metric) > best[0].by(settings.metric):
                best = accuracy, {name: value.clone() for name, value in student.state_dict().items()}
    if best is not None:
        student.load_state_dict(best[1])
    return score_of(student, splits)
