"""ATT's adaptive length: where a student is compared, and the gradient through the steps up to there alone.

The truth below shares the augmentation with padray and nothing else: the network is called through PyTorch, i* is found
by loops over numbers, and autograd differentiates the whole in one go.
"""

from dataclasses import replace

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from padray.config import NetworkSettings
from padray.data import augment
from padray.draws import generator
from padray.methods.method import Contribution
from padray.methods.state import start as first_state
from padray.methods.trajectory import gradients, length, report, student
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks import factory
from padray.networks.derivatives import Derivatives
from padray.networks.flat import FlatNetwork
from padray.synthetic.set import Learned
from tests.methods.given import Given, trajectory

SHAPE, CLASSES, SAMPLES, SEED, STEPS = (1, 8, 8), 4, 8, 3, 7


@pytest.fixture(scope="module")
def network() -> FlatNetwork:
    module = factory.build(NetworkSettings(name="convnet", width=4, depth=2), SHAPE, CLASSES, seed=1)
    return FlatNetwork(module.double().train())


def draw(*shape: int, what: str) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(SEED, what), dtype=torch.float64)


def settings(**changes) -> TrajectorySettings:
    given = {
        "ipc": 2,
        "student_steps": STEPS,
        "student_length": "nearest",
        "batch": 5,
        "augment": "color_crop_flip_rotate",
        "student_lr": 0.1,
        **changes,
    }
    return TrajectorySettings.model_validate(given)


def learned_of(chosen: TrajectorySettings) -> Learned:
    labels = draw(SAMPLES, CLASSES, what="labels") if chosen.labels.kind == "soft" else torch.arange(8) // 2
    lr = torch.tensor(chosen.student_lr, dtype=torch.float64)
    return Learned(draw(SAMPLES, *SHAPE, what="images"), labels, lr)


def steps_of(chosen: TrajectorySettings) -> list[student.Step]:
    drawn = generator(SEED, "distill", "student-0", 0)
    return student.draw_steps(SAMPLES, chosen.student_steps, chosen.batch, chosen.augment, SHAPE, drawn)


def passed(network: FlatNetwork, chosen: TrajectorySettings) -> list[torch.Tensor]:
    """Where the student comes by."""

    def slope(*batch: torch.Tensor) -> torch.Tensor:
        return Derivatives(network).gradient(*batch)[1]

    return student.train_student(slope, network.flatten(), learned_of(chosen), steps_of(chosen))


def contribution(network: FlatNetwork, chosen: TrajectorySettings, target: torch.Tensor) -> Contribution:
    matching = trajectory(chosen, Given(NetworkSettings(), SHAPE, CLASSES, SEED), network)
    own = {}
    if matching.importance is not None:
        values = matching.importance.start(torch.float64)
        own = {"weights": values + 0.3 * draw(len(values), what="weights").clamp(-2, 2)}
    return matching.contribute(first_state(learned_of(chosen), own), 0, (network.flatten(), target))


def truth(network: FlatNetwork, chosen: TrajectorySettings, target: torch.Tensor, *, weighted: bool, alpha: float):
    """i*, the loss and its gradients."""
    learned, start = learned_of(chosen), network.flatten()
    images, lr = learned.images.clone().requires_grad_(), learned.lr.clone().requires_grad_()
    labels = learned.labels.clone().requires_grad_(learned.soft)
    names = [name for name, _ in network.module.named_parameters()]
    shapes = [parameter.shape for parameter in network.module.parameters()]
    thetas = [start.clone().requires_grad_()]
    for step in steps_of(chosen):
        parts = thetas[-1].split([shape.numel() for shape in shapes])
        named = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        seen = augment.apply(step.augmentation, images[step.indices])
        log_p = F.log_softmax(functional_call(network.module, named, (seen,)), dim=1)
        wanted = F.softmax(labels[step.indices], 1) if learned.soft else F.one_hot(labels[step.indices], CLASSES)
        loss = -(wanted * log_p).sum(1).mean()
        thetas.append(thetas[-1] - lr * torch.autograd.grad(loss, thetas[-1], create_graph=True)[0])
    found, least = 0, float("inf")
    for i, theta in enumerate(thetas[1:], start=1):
        distance = sum(abs(a - b) for a, b in zip(theta.tolist(), target.tolist(), strict=True))
        if distance <= least:
            found, least = i, distance
    keep = torch.arange(network.size) >= int(alpha * network.size)
    w = torch.ones(network.size, dtype=torch.float64)
    if weighted:
        w = w + 0.3 * draw(network.size, what="weights").clamp(-2, 2)
    loss = (keep * w * (thetas[found] - target)).pow(2).sum() / (keep * (start - target)).pow(2).sum()
    leaves = {"images": images, "lr": lr} | ({"labels": labels} if learned.soft else {})
    return found, loss.detach(), dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


@pytest.mark.parametrize("gradient", ["exact", "unroll"])
@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("filtered", [False, True], ids=["plain", "masked-and-weighted"])
def test_loss_and_gradient_are_those_of_the_steps_up_to_the_nearest_place(network, gradient, kind, filtered):
    alpha = 0.45 if filtered else 0.0
    own = {"selection": {"alpha": alpha}, "importance": {"enabled": True}} if filtered else {}
    chosen = settings(gradient=gradient, labels={"kind": kind}, **own)
    target = passed(network, chosen)[4] + 0.01 * draw(network.size, what="target")
    steps, loss, parts = truth(network, chosen, target, weighted=filtered, alpha=alpha)
    found = contribution(network, chosen, target)
    assert int(found["steps"]) == steps == 4 < STEPS
    assert found["loss"] == pytest.approx(float(loss), rel=1e-12)
    for name, part in parts.items():
        assert float((found[f"grad_{name}"] - part).norm() / part.norm()) < 1e-9, name


def test_teslas_approximation_too_has_the_steps_up_to_there_and_no_more(network):
    chosen = settings(gradient="tesla")
    target = passed(network, chosen)[3] + 0.001 * draw(network.size, what="target")
    found = contribution(network, chosen, target)
    learned, start = learned_of(chosen), network.flatten()
    short = gradients.tesla(Derivatives(network), start, learned, steps_of(chosen)[:3])
    back = short.back(2 * (short.end - target) / ((start - target) ** 2).sum())
    assert int(found["steps"]) == 3
    for name, part in {"images": back.images, "labels": back.labels, "lr": back.lr}.items():
        assert torch.allclose(found[f"grad_{name}"], part, rtol=1e-12, atol=0), name


@pytest.mark.parametrize("gradient", ["exact", "unroll", "tesla"])
def test_where_the_last_place_is_the_nearest_all_is_as_with_a_fixed_length(network, gradient):
    chosen = settings(gradient=gradient)
    places = passed(network, chosen)
    target = places[-1] + 5 * (places[-1] - places[0])
    adaptive = contribution(network, chosen, target)
    fixed = contribution(network, settings(gradient=gradient, student_length="fixed"), target)
    assert int(adaptive.pop("steps")) == STEPS and "steps" not in fixed
    assert adaptive.keys() == fixed.keys()
    assert all(torch.equal(adaptive[name], fixed[name]) for name in fixed), "bit for bit"


def places(*rows: list[float]) -> list[torch.Tensor]:
    return [torch.tensor(row) for row in rows]


@pytest.mark.parametrize(
    ("trajectory_P", "steps"),
    [
        (places([0, 0], [1, 0], [0, 1], [3, 3]), 2),  # of equals the last
        (places([0, 0], [5, 5], [4, 4], [6, 6]), 2),
        (places([0, 0], [2, 2], [3, 3]), 1),  # the start is nearest, and does not count
        (places([9, 9], [0, 3], [2, 2], [9, 9]), 1),  # 3 < 4 in L1, where in L2 it is the second
        (places([0, 0], [2e4, 0], [3e4, 0]), 1),  # however far
        (places([0, 0], [7, 7], [float("nan"), 0], [float("inf"), 0]), 1),
        (places([0, 0], [float("nan"), 0], [float("nan"), 0]), 2),  # the loss then says so
    ],
)
def test_the_nearest_place_is_in_l1_and_of_equals_the_last(trajectory_P, steps):
    assert length.nearest(torch.zeros(2))(trajectory_P) == steps
    assert length.whole(trajectory_P) == len(trajectory_P) - 1


def test_the_search_looks_at_all_parameters_whatever_is_compared(network):
    """The left out first half decides: there the second place is the target, in the other half the fifth is."""
    chosen = settings(selection={"strategy": "depth", "alpha": 0.6})
    by = passed(network, chosen)
    cut = int(0.6 * network.size)
    target = torch.cat([by[2][:cut], by[5][cut:]])
    distances = [float((theta - target).abs().sum()) for theta in by[1:]]
    seen = [float((theta - target)[cut:].abs().sum()) for theta in by[1:]]
    found = int(contribution(network, chosen, target)["steps"])
    assert found == distances.index(min(distances)) + 1 != seen.index(min(seen)) + 1 == 5


def test_an_iteration_tells_every_students_steps_and_the_report_counts_them(network):
    chosen = settings()
    matching = trajectory(chosen, Given(NetworkSettings(), SHAPE, CLASSES, SEED), network)
    one = contribution(network, chosen, passed(network, chosen)[4])
    lost = {**one, "loss": one["loss"] * torch.inf, "steps": one["steps"] - 3}
    state = first_state(learned_of(chosen))
    _, metrics = matching.step(state, [one, lost, {**one, "steps": one["steps"] + 1}])
    assert metrics["student_steps"] == [4, 5], "of those that are finite"
    info = report.lengths_info([metrics, metrics, {"student_steps": []}], chosen)
    assert info.values.tolist() == list(range(1, STEPS + 1)) and info.counts.tolist() == [0, 0, 0, 2, 2, 0, 0]
    assert "after 4.5 of them in the median, after 4.5 on average, and in 0 % of cases after the last" in info.caption
    assert report.lengths_info([replace_key(metrics)], settings(student_length="fixed")) is None
    fixed = trajectory(settings(student_length="fixed"), Given(NetworkSettings(), SHAPE, CLASSES, SEED), network)
    assert "student_steps" not in fixed.step(replace(state), [one])[1]


def replace_key(metrics):
    return {name: value for name, value in metrics.items() if name != "student_steps"}


def test_a_single_step_leaves_nothing_to_choose():
    with pytest.raises(ValueError, match=r"student_length: nearest chooses among student_steps, and there is 1"):
        settings(student_steps=1)
