"""The baseline does padray's work: in float64, on the same batches, both give the same numbers."""

import ast
from pathlib import Path

import pytest
import torch

from padray.config import NetworkSettings
from padray.draws import generator
from padray.experts.training import Draws, Recipe, Samples, train
from padray.methods.distribution.matching import DistributionMatching
from padray.methods.distribution.settings import DistributionSettings
from padray.methods.gradient.matching import GradientMatching
from padray.methods.gradient.settings import GradientSettings
from padray.methods.state import start
from padray.methods.trajectory.gradients import unroll
from padray.methods.trajectory.objective import Metric, match
from padray.methods.trajectory.selection import select
from padray.methods.trajectory.settings import PruningSettings, SelectionSettings
from padray.methods.trajectory.student import draw_steps
from padray.networks import factory
from padray.networks.derivatives import Derivatives
from padray.networks.flat import FlatNetwork
from padray.synthetic.set import Learned
from tests.benchmarks import baseline, baseline_gradient
from tests.methods.given import Given

NETWORK, SHAPE, CLASSES, IPC = NetworkSettings(width=4, depth=2), (3, 8, 8), 3, 2
DRAW = generator(0, "baseline")
IMAGES = torch.rand(CLASSES * IPC, *SHAPE, generator=DRAW, dtype=torch.float64)
HARD = torch.arange(CLASSES).repeat_interleave(IPC)
SOFT = torch.randn(CLASSES * IPC, CLASSES, generator=DRAW, dtype=torch.float64)


def both(seed: int = 0) -> tuple[torch.nn.Module, baseline.ConvNet]:
    """padray's network and the baseline's with the same parameters, which lie in the same order."""
    ours = factory.build(NETWORK, SHAPE, CLASSES, seed).double()
    theirs = baseline.ConvNet(3, 8, CLASSES, width=4, depth=2).double()
    torch.nn.utils.vector_to_parameters(FlatNetwork(ours).flatten(), theirs.parameters())
    return ours, theirs


def test_nothing_of_padray_is_in_it():
    tree = ast.parse(Path(baseline.__file__).read_text())
    roots = {
        getattr(node, "module", None) or node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert {name.split(".")[0] for name in roots} <= {"torch", "math", "random", "collections"}


@pytest.mark.parametrize("labels", [HARD, SOFT], ids=["hard", "soft"])
def test_the_gradient_of_a_distil_iteration_is_unrolls(labels):
    ours, theirs = both()
    network = FlatNetwork(ours.train())
    begin = network.flatten()
    target = begin + 0.1 * torch.randn(network.size, generator=generator(0, "target"), dtype=torch.float64)
    steps = draw_steps(len(IMAGES), 5, 4, "none", SHAPE, generator(0, "steps"))
    learned = Learned(IMAGES, labels, torch.tensor(0.05, dtype=torch.float64))
    keep = select(SelectionSettings(strategy="none"), PruningSettings(), network.spans, begin.device)
    ran = unroll(Derivatives(network), begin, learned, steps)
    matched = match(ran.end, begin, target, Metric(keep, network.spans))
    expected = ran.back(matched.grad_theta)

    method = baseline.TrajectoryMatching(IMAGES, labels, 0.05, "none")
    loss = method.loss(theirs, begin, target, [step.indices for step in steps], 5)
    loss.backward()
    torch.testing.assert_close(loss.detach(), matched.loss, rtol=1e-10, atol=0)
    torch.testing.assert_close(method.images.grad, expected.images, rtol=1e-9, atol=1e-14)
    torch.testing.assert_close(method.lr.grad, expected.lr, rtol=1e-9, atol=1e-14)
    assert (expected.labels is None) == (method.labels.grad is None)
    if expected.labels is not None:
        torch.testing.assert_close(method.labels.grad, expected.labels, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("labels", [HARD, SOFT], ids=["hard", "soft"])
def test_an_iteration_moves_all_that_is_learned(labels):
    _, theirs = both()
    method = baseline.TrajectoryMatching(IMAGES, labels, 0.05)
    begin = baseline.flatten(theirs)
    assert method.iterate(theirs, begin, begin + 0.01, batch=4, steps=3) > 0
    assert not torch.equal(method.images, IMAGES) and method.lr.item() != 0.05
    assert torch.equal(method.labels, labels) != method.soft


def test_an_experts_steps_are_padrays():
    ours, theirs = both()
    samples, draws = Samples(IMAGES, HARD), Draws(0, "experts", "expert-0000")
    recipe = Recipe(epochs=2, batch=4, lr=0.1, momentum=0.0, weight_decay=0.0, augment="none")
    list(train(ours, samples, recipe, draws))
    optimiser = torch.optim.SGD(theirs.parameters(), lr=0.1)
    for epoch in range(2):
        order = torch.randperm(len(IMAGES), generator=generator(0, "experts", "expert-0000", epoch))
        baseline.train_epoch(theirs, [(IMAGES[ids], HARD[ids]) for ids in order.split(4)], optimiser, "none")
    torch.testing.assert_close(baseline.flatten(theirs), FlatNetwork(ours).flatten(), rtol=1e-10, atol=1e-14)


def test_an_expert_is_trained_by_its_loader():
    _, theirs = both()
    snapshots = list(baseline.train_expert(theirs, baseline.loader(IMAGES, HARD, 4), epochs=3, lr=0.1))
    assert len(snapshots) == 3 and not torch.equal(snapshots[0][0], snapshots[2][0])


@pytest.mark.parametrize("epochs", [1, 7, 8])
def test_the_protocol_of_an_evaluation_is_padrays(epochs):
    """All samples in one batch, so that their order does not matter."""
    from padray.config import EvaluationSettings
    from padray.evaluation.protocol import recipe_for

    ours, theirs = both()
    shares = SOFT.softmax(dim=1)
    recipe = recipe_for(EvaluationSettings(augment="none").judging, epochs, 0.05)
    list(train(ours, Samples(IMAGES, shares), recipe, Draws(0, "evaluation", "cell")))
    baseline.train_on_set(theirs, IMAGES, shares, 0.05, epochs, "none")
    torch.testing.assert_close(baseline.flatten(theirs), FlatNetwork(ours).flatten(), rtol=1e-9, atol=1e-13)


def test_accuracy_counts_what_is_right():
    _, theirs = both()
    said = theirs(IMAGES).argmax(dim=1)
    labels = torch.cat([said[:4], (said[4:] + 1) % CLASSES])
    assert baseline.accuracy(theirs, baseline.loader(IMAGES, labels, 4, shuffle=False)) == pytest.approx(4 / 6)


def test_the_gradient_of_distribution_matching_is_padrays():
    """All real samples in every batch, so that their order does not matter."""
    real = torch.rand(CLASSES * 5, *SHAPE, generator=generator(0, "real"), dtype=torch.float64)
    of_class = torch.arange(CLASSES).repeat_interleave(5)
    settings = DistributionSettings(family="distribution", ipc=IPC, real_batch=5, augment="none")
    method = DistributionMatching(settings, Given(NETWORK, SHAPE, CLASSES, images=real, labels=of_class))
    state = start(Learned(IMAGES, HARD))
    made = [method.contribute(state, number, ()) for number in range(method.count)]

    theirs = baseline.ConvNet(3, 8, CLASSES, width=4, depth=2).double()
    vector = FlatNetwork(method._network(0)).flatten()
    torch.nn.utils.vector_to_parameters(vector, theirs.parameters())
    images = IMAGES.clone().requires_grad_()
    loss = baseline.distribution_loss(theirs, real.split(5), images.split(IPC), "none")
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.cat([one["loss"] for one in made]).sum(), rtol=1e-10, atol=0)
    torch.testing.assert_close(images.grad, torch.cat([one["grad_images"] for one in made]), rtol=1e-9, atol=1e-14)


def test_gradient_matching_and_the_training_between_its_iterations_are_padrays():
    """Two iterations in one network, all samples in every batch and none augmented, so that no order matters."""
    real = torch.rand(CLASSES * 5, *SHAPE, generator=generator(0, "real"), dtype=torch.float64)
    of_class = torch.arange(CLASSES).repeat_interleave(5)
    inner = {"outer_steps": 9, "inner": {"epochs": 3}, "augment": "none", "momentum_images": 0.5}
    settings = GradientSettings.model_validate({"family": "gradient", "ipc": IPC, "real_batch": 5, **inner})
    method = GradientMatching(settings, Given(NETWORK, SHAPE, CLASSES, images=real, labels=of_class))
    theirs = baseline.ConvNet(3, 8, CLASSES, width=4, depth=2).double()
    torch.nn.utils.vector_to_parameters(FlatNetwork(method._network(0)).flatten(), theirs.parameters())
    usual = baseline_gradient.GradientMatching(IMAGES, HARD, list(real.split(5)), IPC)
    state = start(Learned(IMAGES, HARD))
    for _ in range(2):
        state, metrics = method.step(state, [method.contribute(state, number, ()) for number in range(method.count)])
        assert usual.iterate(theirs, epochs=3, strategy="none") == pytest.approx(metrics["loss"], rel=1e-9)
    torch.testing.assert_close(usual.images.detach(), state.learned.images, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("name", baseline.OPERATIONS)
def test_every_operation_changes_images_and_siblings_alike(name):
    images = torch.rand(16, *SHAPE, generator=generator(0, name))
    pair = [baseline.augment(part, name, siamese=3) for part in (images, images[:4])]
    drawn = [baseline.augment(images, name) for _ in range(4)]
    assert all(one.shape == images.shape and bool(one.isfinite().all()) for one in drawn)
    assert any(not torch.equal(one, images) for one in drawn)
    torch.testing.assert_close(pair[0][:4], pair[1])
