"""The adjoint gradient against full unrolling by autograd, in float64, which is the independent truth here."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from padray import networks
from padray.config import NetworkSettings
from padray.data import augment
from padray.draws import generator
from padray.matching import student
from padray.matching.objective import Metric, match
from padray.matching.selection import SELECTIONS
from padray.matching.student import Learned
from padray.networks.flat import FlatNetwork

SHAPE, CLASSES, SAMPLES = (1, 8, 8), 4, 12


@pytest.fixture(scope="module")
def network() -> FlatNetwork:
    module = networks.build(NetworkSettings(name="convnet", width=6, depth=2), SHAPE, CLASSES, seed=1)
    return FlatNetwork(module.double().train())


def problem(network: FlatNetwork, soft: bool) -> tuple[Learned, torch.Tensor, torch.Tensor]:
    draw = generator(7, "test")
    images = torch.rand(SAMPLES, *SHAPE, generator=draw, dtype=torch.float64)
    hard = torch.arange(CLASSES).repeat_interleave(SAMPLES // CLASSES)
    logits = torch.randn(SAMPLES, CLASSES, generator=draw, dtype=torch.float64)
    start = network.flatten()
    target = start + 0.05 * torch.randn(network.size, generator=draw, dtype=torch.float64)
    lr = torch.tensor(0.05, dtype=torch.float64)
    return Learned(images, logits if soft else hard, lr), start, target


def unrolled(network, learned, steps, start, target, mask, weights):
    """The loss with the whole graph kept, differentiated in one go: written without padray's loss or objective."""
    images, lr = learned.images.clone().requires_grad_(), learned.lr.clone().requires_grad_()
    labels = learned.labels.clone().requires_grad_() if learned.soft else learned.labels
    w = None if weights is None else weights.clone().requires_grad_()
    theta = start.clone().requires_grad_()
    for step in steps:
        logits = network(theta, augment.apply(step.augmentation, images[step.indices]))
        if learned.soft:
            probabilities = F.softmax(labels[step.indices], dim=1)
            loss = -(probabilities * F.log_softmax(logits, dim=1)).sum() / len(logits)
        else:
            loss = F.nll_loss(F.log_softmax(logits, dim=1), labels[step.indices])
        theta = theta - lr * torch.autograd.grad(loss, theta, create_graph=True)[0]
    keep = mask.double()
    distance = keep * (theta - target) if w is None else keep * w * (theta - target)
    loss = distance.pow(2).sum() / (keep * (start - target)).pow(2).sum()
    wanted = {"images": images, "lr": lr}
    wanted |= {"labels": labels} if learned.soft else {}
    wanted |= {"weights": w} if w is not None else {}
    return loss.detach(), dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values())), strict=True))


def relative(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize(
    ("soft", "ratio", "weighted"), list(itertools.product((True, False), (0.0, 0.6), (True, False)))
)
@pytest.mark.parametrize("augmentation", ["none", "color_crop_cutout_flip_scale_rotate"])
def test_adjoint_equals_full_unrolling(network, soft, ratio, weighted, augmentation):
    learned, start, target = problem(network, soft)
    steps = student.draw_steps(SAMPLES, 9, 5, augmentation, SHAPE, generator(3, "steps"))
    mask = SELECTIONS["depth"](network.size, ratio)
    weights = 0.5 + torch.rand(network.size, generator=generator(5, "w"), dtype=torch.float64) if weighted else None
    truth_loss, truth = unrolled(network, learned, steps, start, target, mask, weights)

    trajectory = student.train_student(network, start, learned, steps)
    found = match(trajectory[-1], start, target, Metric(mask, weights, network.spans))
    gradient = student.adjoint(network, trajectory, learned, steps, found.end)

    assert relative(found.loss, truth_loss) < 1e-12
    assert relative(gradient.images, truth["images"]) < 1e-10
    assert relative(gradient.lr, truth["lr"]) < 1e-10
    if soft:
        assert relative(gradient.labels, truth["labels"]) < 1e-10
    if weighted:
        assert relative(found.weights, truth["weights"]) < 1e-10


def test_every_operation_of_the_augmentation_took_part():
    steps = student.draw_steps(SAMPLES, 9, 5, "color_crop_cutout_flip_scale_rotate", SHAPE, generator(3, "steps"))
    assert len({step.augmentation.op for step in steps}) >= 4


def test_steps_use_every_sample_once_before_any_again():
    steps = student.draw_steps(10, 6, 4, "none", SHAPE, generator(0, "x"))
    assert [len(step.indices) for step in steps] == [4, 4, 2, 4, 4, 2]
    for first in (0, 3):
        seen = torch.cat([step.indices for step in steps[first : first + 3]])
        assert seen.sort().values.tolist() == list(range(10))


def test_a_batch_above_the_set_is_the_whole_set():
    steps = student.draw_steps(3, 2, 100, "none", SHAPE, generator(0, "x"))
    assert [sorted(step.indices.tolist()) for step in steps] == [[0, 1, 2]] * 2
