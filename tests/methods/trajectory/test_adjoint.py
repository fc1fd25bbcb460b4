"""The adjoint gradient against full unrolling by autograd, in float64, which is the independent truth here."""

import copy
import itertools

import pytest
import torch
from torch.nn import functional as F

from padray.config import NetworkSettings
from padray.data import augment
from padray.draws import generator
from padray.methods.trajectory import gradients, student
from padray.methods.trajectory.length import nearest, whole
from padray.methods.trajectory.objective import Metric, match
from padray.methods.trajectory.selection import Selection, select
from padray.methods.trajectory.settings import PruningSettings, SelectionSettings
from padray.networks import factory, programs
from padray.networks.derivatives import Compiled, Derivatives, Execution
from padray.networks.flat import FlatNetwork
from padray.networks.programs import Call, Program, compiler
from padray.synthetic.set import Learned

SHAPE, CLASSES, SAMPLES = (1, 8, 8), 4, 12


@pytest.fixture(scope="module")
def network() -> FlatNetwork:
    module = factory.build(NetworkSettings(name="convnet", width=6, depth=2), SHAPE, CLASSES, seed=1)
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


def deep(network: FlatNetwork, alpha: float) -> Selection:
    settings = SelectionSettings(strategy="depth", alpha=alpha)
    return select(settings, PruningSettings(), network.spans, torch.device("cpu"))


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
    ("soft", "alpha", "weighted"), list(itertools.product((True, False), (0.0, 0.6), (True, False)))
)
@pytest.mark.parametrize("augmentation", ["none", "color_crop_cutout_flip_scale_rotate"])
def test_adjoint_equals_full_unrolling(network, soft, alpha, weighted, augmentation):
    learned, start, target = problem(network, soft)
    steps = student.draw_steps(SAMPLES, 9, 5, augmentation, SHAPE, generator(3, "steps"))
    selection = deep(network, alpha)
    weights = 0.5 + torch.rand(network.size, generator=generator(5, "w"), dtype=torch.float64) if weighted else None
    truth_loss, truth = unrolled(network, learned, steps, start, target, selection.fixed, weights)

    derivatives = Derivatives(network)
    trajectory = student.train_student(lambda *batch: derivatives.gradient(*batch)[1], start, learned, steps)
    found = match(trajectory[-1], start, target, Metric(selection, network.spans, weights))
    gradient = gradients.adjoint(derivatives, trajectory, learned, steps, found.grad_theta)

    assert relative(found.loss, truth_loss) < 1e-12
    assert relative(gradient.images, truth["images"]) < 1e-10
    assert relative(gradient.lr, truth["lr"]) < 1e-10
    if soft:
        assert relative(gradient.labels, truth["labels"]) < 1e-10
    if weighted:
        assert relative(found.grad_weights, truth["weights"]) < 1e-10


def interpreted(program: Program) -> Call:
    """The function that would be compiled, as it stands."""
    function, _ = programs._function(program)
    return lambda *tensors: list(function(*tensors))


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("load", [interpreted, pytest.param(Program.load, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("gradient", ["exact", "tesla"])
def test_compiled_steps_give_the_same(gradient, load, monkeypatch):
    """With augmentation, soft labels, filtered parameters and weights; batches of 6 in parts of 3, and one of 3."""
    monkeypatch.setattr(Program, "load", load)
    module = factory.build(NetworkSettings(name="convnet", width=6, depth=1), SHAPE, CLASSES, seed=1)
    network = FlatNetwork(module.double().train())
    monkeypatch.setattr("padray.networks.derivatives.LEAST_SAMPLES", 3)
    monkeypatch.setattr("padray.networks.derivatives.CACHED_BYTES", 1)
    learned, start, target = problem(network, True)
    few = Learned(learned.images[:9], learned.labels[:9], learned.lr)
    steps = student.draw_steps(9, 9, 6, "color_crop_cutout_flip_scale_rotate", SHAPE, generator(3, "steps"))
    weights = 0.5 + torch.rand(network.size, generator=generator(5, "w"), dtype=torch.float64)
    metric = Metric(deep(network, 0.6), network.spans, weights)
    compiled = Compiled(network, 6, Execution("on"))
    assert compiled.part == 3
    passed = gradients.exact(Derivatives(network), start, few, steps[:5]).end  # where an adaptive length ends
    for length, count in ((whole, 9), (nearest(passed), 5)):
        found = []
        for derivatives in (Derivatives(network), compiled):
            run = gradients.GRADIENTS[gradient](derivatives, start, few, steps, length)
            matched = match(run.end, start, target, metric)
            found.append((run.end, matched.loss, run.back(matched.grad_theta), run.steps))
        (end, loss, truth, _), (compiled_end, compiled_loss, back, steps_taken) = found
        assert steps_taken == count
        assert relative(compiled_end, end) < 1e-12
        assert relative(compiled_loss, loss) < 1e-12
        assert relative(back.images, truth.images) < 1e-10
        assert relative(back.labels, truth.labels) < 1e-10
        assert relative(back.lr, truth.lr) < 1e-10


def way_back(derivatives: Derivatives, number: int) -> list[torch.Tensor]:
    """Of a problem of that number: the student's end, and the gradients of images, labels and lr."""
    network, draw = derivatives.network, generator(number, "problems")
    dtype = network.flatten().dtype
    images, labels = torch.rand(40, *SHAPE, generator=draw), torch.randn(40, CLASSES, generator=draw)
    learned = Learned(images.to(dtype), labels.to(dtype), torch.tensor(0.05, dtype=dtype))
    built = factory.build(NetworkSettings(name="convnet", width=8, depth=2), SHAPE, CLASSES, number)
    start_P = FlatNetwork(built).flatten()
    target_P = start_P + 0.05 * torch.randn(start_P.shape, generator=draw)
    weights_P = 0.5 + torch.rand(start_P.shape, generator=draw)
    steps = student.draw_steps(40, 10, 32, "color_crop_cutout_flip_scale_rotate", SHAPE, draw)
    run = gradients.GRADIENTS["exact"](derivatives, start_P.to(dtype), learned, steps)
    metric = Metric(deep(network, 0.3), network.spans, weights_P.to(dtype))
    matched = match(run.end, start_P.to(dtype), target_P.to(dtype), metric)
    back = run.back(matched.grad_theta)
    return [part.double() for part in (run.end, back.images, back.labels, back.lr)]


@pytest.mark.chaos
@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_in_float32_compiled_steps_round_at_most_twice_as_far():
    """Against float64, in the median over ten problems; augmented, with soft labels, a mask, weights, parts of 16."""
    single = FlatNetwork(factory.build(NetworkSettings(name="convnet", width=8, depth=2), SHAPE, CLASSES, 1).train())
    double = FlatNetwork(copy.deepcopy(single.module).double())
    compiled = Compiled(single, 32, Execution("on"))
    compiled.part = 16
    ratios: list[list[float]] = []
    for number in range(10):
        truth, eager, fast = (way_back(one, number) for one in (Derivatives(double), Derivatives(single), compiled))
        ratios.append([relative(b, t) / relative(a, t) for a, b, t in zip(eager, fast, truth, strict=True)])
    medians = torch.tensor(ratios, dtype=torch.float64).median(dim=0).values
    assert (medians < 2).all(), medians


@pytest.mark.parametrize("soft", [True, False])
def test_keeping_all_graphs_gives_the_same(network, soft):
    learned, start, target = problem(network, soft)
    steps = student.draw_steps(SAMPLES, 5, 5, "color_crop_flip", SHAPE, generator(3, "steps"))
    exact, unroll = (
        gradients.GRADIENTS[name](Derivatives(network), start, learned, steps) for name in ("exact", "unroll")
    )
    assert relative(unroll.end, exact.end) < 1e-14
    assert not unroll.end.requires_grad
    end = 2 * (exact.end - target)
    found, truth = unroll.back(end), exact.back(end)
    assert relative(found.images, truth.images) < 1e-12
    assert relative(found.lr, truth.lr) < 1e-12
    assert relative(found.labels, truth.labels) < 1e-12 if soft else found.labels is None


def loss_of_step(network, theta, learned, step):
    images, targets = student.batch_of(learned.images[step.indices], learned.labels[step.indices], step)
    return torch.nn.functional.cross_entropy(network(theta, images), targets)


def published_tesla(network, learned, steps, start, target, factor):
    """TESLA's two passes as its formulas stand: every theta_i a constant, G the sum of all gradients."""
    lr, theta, visited, total = learned.lr, start.clone(), [], torch.zeros_like(start)
    for step in steps:
        at = theta.clone().requires_grad_()
        gradient = torch.autograd.grad(loss_of_step(network, at, learned, step), at)[0]
        visited.append(theta)
        total, theta = total + gradient, theta - lr * gradient
    distance, residual = ((start - target) ** 2).sum(), start - lr * total - target
    images = learned.images.clone().requires_grad_()
    labels = learned.labels.clone().requires_grad_()
    towards = lr * (target - start) + lr**2 * total  # -lr times the residual
    inner = 0.0
    for theta, step in zip(visited, steps, strict=True):
        at = theta.clone().requires_grad_()
        loss = loss_of_step(network, at, Learned(images, labels, lr), step)
        gradient = torch.autograd.grad(loss, at, create_graph=True)[0]
        inner = inner + 2 / distance * ((factor * towards) @ gradient)
    found = torch.autograd.grad(inner, [images, labels])
    return *found, -(2 / distance) * ((factor * residual) @ total)


@pytest.mark.parametrize("filtered", [False, True], ids=["plain", "masked-and-weighted"])
def test_tesla_is_the_published_formula(network, filtered):
    learned, start, target = problem(network, True)
    steps = student.draw_steps(SAMPLES, 6, 5, "color_crop_flip", SHAPE, generator(3, "steps"))
    selection = deep(network, 0.6 if filtered else 0.0)
    weights = 0.5 + torch.rand(network.size, generator=generator(5, "w"), dtype=torch.float64) if filtered else None
    run = gradients.tesla(Derivatives(network), start, learned, steps)
    found = run.back(match(run.end, start, target, Metric(selection, network.spans, weights)).grad_theta)
    mask = selection.fixed.double()
    scale = ((start - target) ** 2).sum() / (mask * (start - target) ** 2).sum()  # the denominator is masked too
    factor = scale * mask * (weights**2 if filtered else 1)
    images, labels, lr = published_tesla(network, learned, steps, start, target, factor)
    assert relative(found.images, images) < 1e-12
    assert relative(found.labels, labels) < 1e-12
    assert relative(found.lr, lr) < 1e-12


def test_tesla_is_exact_for_one_step_and_for_no_more(network):
    learned, start, target = problem(network, True)
    slopes = Derivatives(network)
    for count in (1, 2):
        steps = student.draw_steps(SAMPLES, count, SAMPLES, "none", SHAPE, generator(3, "steps"))
        tesla, exact = (gradients.GRADIENTS[name](slopes, start, learned, steps) for name in ("tesla", "exact"))
        end = 2 * (exact.end - target)
        assert (relative(tesla.back(end).images, exact.back(end).images) < 1e-12) == (count == 1)


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
