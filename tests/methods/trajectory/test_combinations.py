"""Every filter with every kind of weight: one trajectory's gradients against a loss that is unrolled here.

The truth below shares the augmentation with padray and nothing else: the network is called through PyTorch, masks
come from sorted lists, weights are expanded tensor by tensor, and autograd differentiates the whole in one go.
"""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from padray.config import NetworkSettings
from padray.data import augment
from padray.draws import generator
from padray.methods.state import start as first_state
from padray.methods.trajectory import student
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks import factory
from padray.networks.flat import FlatNetwork
from padray.synthetic.set import Learned
from tests.methods.given import Given, trajectory

SHAPE, CLASSES, SAMPLES, SEED = (1, 8, 8), 4, 8, 3
ALPHA = 0.45  # inside a tensor
STRATEGIES = ("none", "depth", "layer", "deep", "loss")
CONSTRAINTS = ("mean1", "none", "l2", "softmax", "clamp")


@pytest.fixture(scope="module")
def network() -> FlatNetwork:
    module = factory.build(NetworkSettings(name="convnet", width=4, depth=2), SHAPE, CLASSES, seed=1)
    return FlatNetwork(module.double().train())


def draw(*shape: int, what: str) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(SEED, what), dtype=torch.float64)


def settings(strategy: str = "none", soft: bool = True, **changes) -> TrajectorySettings:
    given = {
        "ipc": 2,
        "student_steps": 3,
        "batch": 5,
        "augment": "color_crop_flip_rotate",
        "student_lr": 0.1,
        "selection": {"strategy": strategy, "alpha": 0.0 if strategy == "none" else ALPHA},
        "labels": {"kind": "soft" if soft else "hard"},
        **changes,
    }
    return TrajectorySettings.model_validate(given)


def expanded(values: torch.Tensor, granularity: str, shapes: list[torch.Size]) -> torch.Tensor:
    parts, used = [], 0
    for shape in shapes:
        own = {"scalar": shape, "channel": (shape[0], *[1] * (len(shape) - 1)), "tensor": [1] * len(shape)}[granularity]
        count = torch.Size(own).numel()
        parts.append(values[used : used + count].view(own).expand(shape).reshape(-1))
        used += count
    assert used == len(values)
    return torch.cat(parts)


def fixed_mask(strategy: str, shapes: list[torch.Size]) -> list[bool]:
    ends = list(itertools.accumulate(shape.numel() for shape in shapes))
    size = ends[-1]
    cut = int(ALPHA * size)
    if strategy == "layer":
        return [
            end - shape.numel() >= cut for shape, end in zip(shapes, ends, strict=True) for _ in range(shape.numel())
        ]
    return {"depth": [j >= cut for j in range(size)], "deep": [j < size - cut for j in range(size)]}.get(
        strategy, [True] * size
    )


def mask_of(chosen: TrajectorySettings, shapes: list[torch.Size], end: list[float], target: list[float]) -> list[bool]:
    keep, size = fixed_mask(chosen.selection.strategy, shapes), len(end)
    errors = [abs(a - b) for a, b in zip(end, target, strict=True)]
    rising = sorted(range(size), key=lambda j: errors[j])
    out = set(rising[: int(ALPHA * size)]) if chosen.selection.strategy == "loss" else set()
    if chosen.pruning.rule == "abs_error_quantile":
        out |= set(rising[size - int(chosen.pruning.threshold * size) :])
    if chosen.pruning.rule == "magnitude_ratio":
        for j, (a, b) in enumerate(zip(end, target, strict=True)):
            alike = min(abs(a), abs(b)) / max(abs(a), abs(b)) if a * b > 0 else float(a == b)
            out |= {j} if alike < chosen.pruning.threshold else set()
    return [kept and j not in out for j, kept in enumerate(keep)]


def unrolled(network, chosen, learned, steps, start, target, values):
    """The loss and its gradients, all graphs kept."""
    shapes = [p.shape for p in network.module.parameters()]
    names = [name for name, _ in network.module.named_parameters()]
    images, lr = learned.images.clone().requires_grad_(), learned.lr.clone().requires_grad_()
    labels = learned.labels.clone().requires_grad_(learned.soft)
    values = values.clone().requires_grad_()
    theta = start.clone().requires_grad_()
    for step in steps:
        parts = dict(
            zip(
                names,
                (p.view(s) for p, s in zip(theta.split([s.numel() for s in shapes]), shapes, strict=True)),
                strict=True,
            )
        )
        seen = augment.apply(step.augmentation, images[step.indices])
        log_p = F.log_softmax(functional_call(network.module, parts, (seen,)), dim=1)
        wanted = F.softmax(labels[step.indices], 1) if learned.soft else F.one_hot(labels[step.indices], CLASSES)
        theta = theta - lr * torch.autograd.grad(-(wanted * log_p).sum(1).mean(), theta, create_graph=True)[0]
    mask = torch.tensor(mask_of(chosen, shapes, theta.tolist(), target.tolist()))
    assert int(mask.sum()) > 0 and (chosen.selection.strategy == "none" or int(mask.sum()) < len(mask))
    w = expanded(values, chosen.importance.granularity, shapes)
    if chosen.importance.constraint == "softmax":
        fixed = torch.tensor(fixed_mask(chosen.selection.strategy, shapes))
        w = fixed.sum() * torch.exp(w - torch.logsumexp(w[fixed], 0))
    below = w if chosen.importance.weighted_denominator else 1
    loss = (mask * w * (theta - target)).pow(2).sum() / (mask * below * (start - target)).pow(2).sum()
    leaves = {"images": images, "lr": lr, "weights": values} | ({"labels": labels} if learned.soft else {})
    return loss.detach(), dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def check(network, chosen: TrajectorySettings, iteration: int = 0) -> None:
    problem = trajectory(chosen, Given(NetworkSettings(), SHAPE, CLASSES, SEED), network)
    labels = draw(SAMPLES, CLASSES, what="labels") if chosen.labels.kind == "soft" else torch.arange(8) // 2
    lr = torch.tensor(chosen.student_lr, dtype=torch.float64)
    learned = Learned(draw(SAMPLES, *SHAPE, what="images"), labels, lr)
    start = network.flatten()
    target = start + 0.05 * draw(network.size, what="target")
    values = problem.importance.start(torch.float64)
    values = values + 0.3 * draw(len(values), what="weights").clamp(-2, 2)
    state = replace(first_state(learned, {"weights": values}), iteration=iteration)
    drawn = generator(SEED, "distill", "student-0", iteration)
    steps = student.draw_steps(SAMPLES, chosen.student_steps, chosen.batch, chosen.augment, SHAPE, drawn)
    truth_loss, truth = unrolled(network, chosen, learned, steps, start, target, values)

    found = problem.contribute(state, 0, (start, target))

    assert found["loss"] == pytest.approx(float(truth_loss), rel=1e-12)
    for name, gradient in truth.items():
        assert float((found[f"grad_{name}"] - gradient).norm() / gradient.norm()) < 1e-10, name


def weighting(granularity: str = "scalar", constraint: str = "mean1", **more) -> dict:
    return {"enabled": True, "granularity": granularity, "constraint": constraint, **more}


@pytest.mark.parametrize("constraint", CONSTRAINTS)
@pytest.mark.parametrize("granularity", ["scalar", "channel", "tensor"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_filter_with_every_weighting(network, strategy, granularity, constraint):
    check(network, settings(strategy, importance=weighting(granularity, constraint)))


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("pruning", [("none", 0.1), ("magnitude_ratio", 0.8), ("abs_error_quantile", 0.3)])
@pytest.mark.parametrize("strategy", ["none", "depth", "loss"])
def test_pruning_and_a_weighted_denominator(network, strategy, pruning, weighted):
    rule, threshold = pruning
    for soft, granularity, constraint in [(True, "scalar", "mean1"), (False, "channel", "softmax")]:
        importance = weighting(granularity, constraint, weighted_denominator=weighted)
        chosen = settings(
            strategy, soft, pruning={"rule": rule, "threshold": threshold}, importance=importance, gradient="exact"
        )
        check(network, chosen)


@pytest.mark.parametrize("constraint", ["none", "softmax"])
def test_unroll_is_the_same_gradient(network, constraint):
    for soft in (True, False):
        check(network, settings("loss", soft, gradient="unroll", importance=weighting("channel", constraint)))


def test_in_turns_the_set_s_gradient_is_whole_in_even_iterations(network):
    check(network, settings("depth", importance=weighting(order="alternate")), iteration=2)
