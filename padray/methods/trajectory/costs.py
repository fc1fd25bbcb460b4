"""What trajectory matching takes: what a plan counts beside the time of an iteration."""

from functools import lru_cache

import torch
from torch.nn import functional as F

from padray.methods.method import Costs, Rehearsal, Sizes
from padray.methods.trajectory.importance import counts_of_groups
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks.flat import FlatNetwork
from padray.networks.layers import Shape
from padray.networks.peak import peak_of
from padray.networks.settings import CURVATURE_PASSES, GRADIENT_PASSES

# Bytes of an iteration in a checkpoint, about; of what is noted there of each tensor, and of IADD's weights.
_METRICS, _TENSOR, _DIAGNOSTICS = 140, 42, 250
_STEPS, _NUMBER = 20, 5  # what is noted of adaptive lengths, and of each trajectory's
Student = tuple[FlatNetwork, Shape, int, int, int]  # network, shape of samples, classes, batch, steps
MOST_STEPS = 4  # of a student, where its time is measured


def of(settings: TrajectorySettings, sizes: Sizes) -> Costs:
    """See `Costs`; of students of adaptive length the most that they may take."""
    count, weights = sizes.classes * settings.ipc, _weights(settings, sizes)
    looks = sizes.train if settings.init == "correct" else 0
    if settings.init != "noise" and settings.soft_labels:
        looks += count if settings.labels.start == "one_expert" else sizes.experts * count
    channels, height, width = sizes.shape
    numbers = count * (channels * height * width + (sizes.classes if settings.soft_labels else 0)) + 1
    students = settings.iterations * settings.trajectories * settings.student_steps
    batch = min(settings.batch, count)
    student = (sizes.network, sizes.shape, sizes.classes, batch, settings.student_steps)
    return Costs(
        looks=looks,
        passes=students * batch * (GRADIENT_PASSES + CURVATURE_PASSES),
        steps=students,
        peak=lambda: student_peak(*student, kept=_kept(settings, student, sizes.memory)),
        own_numbers=2 * weights,
        contribution_numbers=numbers + weights + settings.adaptive_length,
        metrics_bytes=_METRICS
        + _TENSOR * len(sizes.network.spans)
        + _DIAGNOSTICS * settings.importance.enabled
        + (_STEPS + _NUMBER * settings.trajectories) * settings.adaptive_length,
        reads=2 * settings.iterations * settings.trajectories,
    )


def rehearsal(settings: TrajectorySettings) -> Rehearsal:
    """An iteration's time is that of its student steps; a few of them stand for all, so that timing is short."""
    steps = min(settings.student_steps, MOST_STEPS)
    still = {"lr_images": 0.0, "lr_student_lr": 0.0, "max_loss": float("inf")}  # nothing is learned from noise
    quick = settings.model_copy(update={"student_steps": steps, "student_length": "fixed", **still})
    adaptive = ", all of them gone through again: of an adaptive length that is the most" * settings.adaptive_length
    if steps == settings.student_steps:
        return Rehearsal(quick, 1.0)
    note = f"an iteration's {settings.student_steps} student steps are calculated from {steps}{adaptive}"
    return Rehearsal(quick, settings.student_steps / steps, note)


def _kept(settings: TrajectorySettings, student: Student, memory: float) -> int:
    """Of how many steps graphs are kept."""
    if settings.gradient == "unroll":
        return settings.student_steps
    return kept_steps(*student, memory) if settings.gradient == "exact" else 0


def _weights(settings: TrajectorySettings, sizes: Sizes) -> int:
    """How many weights IADD learns."""
    if not settings.importance.enabled:
        return 0
    return sum(counts_of_groups(settings.importance.granularity, sizes.network.spans))


def student_peak(flat: FlatNetwork, shape: Shape, classes: int, batch: int, steps: int, kept: int = 0) -> int:
    """Bytes of a student and its way back (gradients.py): one step, gone through twice, and a vector (P,) for each.

    Args:
        kept: of how many steps graphs are kept; all of them where they are unrolled.
    """
    once, graph, vector = _student_bytes(flat, shape, classes, batch)
    return once + steps * vector + min(kept, steps - 1) * graph


def kept_steps(flat: FlatNetwork, shape: Shape, classes: int, batch: int, steps: int, memory: float) -> int:
    """Of how many of a student's steps graphs may be kept, where it and its way back may take `memory` bytes."""
    once, graph, vector = _student_bytes(flat, shape, classes, batch)
    fit = max(0, int((memory - once - steps * vector) // graph))
    return fit if fit < steps - 1 else steps  # the last one's is there anyway, where its way back begins


@lru_cache(maxsize=256)
def _student_bytes(flat: FlatNetwork, shape: Shape, classes: int, batch: int) -> tuple[int, int, int]:
    """Bytes of one step there and back, of a graph more, and of a vector (P,)."""
    dtype = next(flat.module.parameters()).dtype
    images = torch.empty(batch, *shape, device="meta", dtype=dtype, requires_grad=True)
    labels = torch.empty(batch, classes, device="meta", dtype=dtype, requires_grad=True)

    def back(count: int) -> int:
        def run() -> None:
            theta_P = start_P = flat.flatten().requires_grad_()
            for _ in range(count):
                loss = F.cross_entropy(flat(theta_P, images.clone()), labels.softmax(dim=1))
                theta_P = theta_P - 0.01 * torch.autograd.grad(loss, theta_P, create_graph=True)[0]
            torch.autograd.grad(theta_P @ torch.empty_like(theta_P), [images, labels, start_P])

        return peak_of(run)

    once = back(1)  # every further step's graph adds as much as the second one's
    return once, back(2) - once, flat.size * dtype.itemsize
