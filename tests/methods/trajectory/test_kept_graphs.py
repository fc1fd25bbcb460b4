"""Graphs that are kept for the way back: the same bytes however many they are, fewer of them made, within a budget."""

from dataclasses import replace

import pytest
import torch

from padray.config import NetworkSettings
from padray.draws import generator
from padray.methods.state import start as first_state
from padray.methods.trajectory import gradients, student
from padray.methods.trajectory.costs import kept_steps, student_peak
from padray.methods.trajectory.settings import TrajectorySettings
from padray.networks import factory, peak
from padray.networks.derivatives import Compiled, Derivatives, Execution, Slope
from padray.networks.flat import FlatNetwork
from padray.synthetic.set import Learned
from tests.methods.given import Given, trajectory

SHAPE, CLASSES, SAMPLES, STEPS = (1, 8, 8), 4, 8, 6
NETWORKS = {norm: NetworkSettings(width=8, depth=2, norm=norm) for norm in ("instance", "batch", "none")}
NETWORKS |= {"vit": NetworkSettings(name="vit", width=16, depth=1), "max": NetworkSettings(width=8, pooling="max")}


@pytest.fixture
def graphs(monkeypatch) -> list[FlatNetwork]:
    """The networks whose gradient was made with its graph, one for each time."""
    made: list[FlatNetwork] = []
    slope = Derivatives.slope

    def counted(self: Derivatives, *batch: torch.Tensor) -> Slope:
        made.append(self.network)
        return slope(self, *batch)

    monkeypatch.setattr(Derivatives, "slope", counted)
    return made


def flat(settings: NetworkSettings) -> FlatNetwork:
    """In float32, whose rounding shows every operation that another one stands in for."""
    return FlatNetwork(factory.build(settings, SHAPE, CLASSES, 1).train())


def learned_of(soft: bool) -> Learned:
    draw = generator(7, "test")
    labels = torch.randn(SAMPLES, CLASSES, generator=draw) if soft else torch.arange(SAMPLES) % CLASSES
    return Learned(torch.rand(SAMPLES, *SHAPE, generator=draw), labels, torch.tensor(0.05))


def contributed(network: FlatNetwork, memory: float, **changes) -> dict[str, torch.Tensor]:
    """A trajectory's contribution where it and its way back may take so many bytes."""
    asked = {
        "ipc": 2,
        "student_steps": STEPS,
        "batch": 5,
        "augment": "color_crop_cutout_flip_scale_rotate",
        "labels": {"kind": "soft"},
        **changes,
    }
    settings = TrajectorySettings.model_validate(asked)
    given = Given(network.module.blueprint[0], SHAPE, CLASSES, dtype=torch.float32, execution=Execution(memory=memory))
    method, draw = trajectory(settings, given, network), generator(5, "test")
    state = first_state(learned_of(settings.soft_labels))
    if method.importance is not None:
        weights = method.importance.start(torch.float32)
        weights = weights * (1 + 0.1 * torch.rand(weights.shape, generator=draw))
        state = replace(state, own={"weights": weights, "weights_momentum": torch.zeros_like(weights)})
    start_P = network.flatten()
    target_P = start_P + 0.05 * torch.randn(start_P.shape, generator=draw)
    return method.contribute(state, 0, (start_P, target_P))


def budgets(network: FlatNetwork) -> tuple[float, float, float]:
    """For no graph, for two, for all of them."""
    shaped = peak.shaped(network.module.blueprint[0], SHAPE, CLASSES, torch.float32)
    two, most = (student_peak(shaped, SHAPE, CLASSES, 5, STEPS, kept) for kept in (2, STEPS))
    return 0.0, float(two), float(most)


@pytest.mark.parametrize(
    ("network", "changes"),
    [
        *((name, {}) for name in NETWORKS),
        ("instance", {"labels": {"kind": "hard"}}),
        ("instance", {"importance": {"enabled": True, "granularity": "channel"}}),
        ("instance", {"selection": {"strategy": "loss", "alpha": 0.4}}),
        ("instance", {"student_length": "nearest", "student_lr": 0.5}),
    ],
)
def test_the_bytes_are_the_same_whatever_the_budget(network, changes, graphs):
    net = flat(NETWORKS[network])
    found, counts = [], []
    for memory in budgets(net):
        graphs.clear()
        found.append(contributed(net, memory, **changes))
        counts.append(len(graphs))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        assert all(torch.equal(other[name], found[0][name]) for name in other)
    back = int(found[0].get("steps", torch.tensor(STEPS)))
    assert counts == [STEPS + back, STEPS + back - min(2, back), STEPS]


def test_tesla_and_unroll_keep_what_they_kept(graphs):
    """The first makes no graph on the way forth, the second all of them in one piece."""
    net = flat(NETWORKS["instance"])
    for gradient, count in (("tesla", STEPS), ("unroll", 0)):
        graphs.clear()
        first, second = (contributed(net, memory, gradient=gradient) for memory in (0.0, 1e9))
        assert all(torch.equal(first[name], second[name]) for name in first)
        assert len(graphs) == 2 * count


@pytest.mark.parametrize("adaptive", [1, 3, 6])
def test_an_adaptive_length_lets_go_of_what_lies_behind_it(adaptive, graphs):
    net, learned = flat(NETWORKS["instance"]), learned_of(True)
    steps = student.draw_steps(SAMPLES, STEPS, 5, "color_crop", SHAPE, generator(3, "steps"))
    lambda_P = torch.randn(net.size, generator=generator(4, "end"))
    runs = [
        gradients.exact(Derivatives(net), net.flatten(), learned, steps, lambda _: adaptive, keep) for keep in (0, 4)
    ]
    graphs.clear()
    backs = [run.back(lambda_P) for run in runs]
    assert torch.equal(backs[0].images, backs[1].images) and torch.equal(backs[0].lr, backs[1].lr)
    assert len(graphs) == adaptive + max(0, adaptive - 4)
    assert torch.equal(runs[1].back(lambda_P).images, backs[1].images), "gone back again, without them"


def test_no_graph_is_kept_that_the_way_back_would_not_make():
    """Where it alone is in bf16, and where it is compiled."""
    net = flat(NETWORKS["instance"])
    assert Derivatives(net).keeps
    assert not Derivatives(net, ["curvature"]).keeps
    assert not Compiled(net, 8, Execution("on")).keeps


def test_what_fits_is_a_function_of_shapes_and_never_above_the_budget():
    shaped = peak.shaped(NetworkSettings(width=32), (3, 32, 32), 10, torch.float32)

    def fit(memory: float, steps: int = 20) -> int:
        return kept_steps(shaped, (3, 32, 32), 10, 100, steps, memory)

    def least(kept: int, steps: int = 20) -> int:
        return student_peak(shaped, (3, 32, 32), 10, 100, steps, kept)

    assert [fit(memory) for memory in (0, least(0), least(1) - 1, least(1), least(7), 1e12)] == [0, 0, 0, 1, 7, 20]
    assert fit(least(19)) == 20 and fit(least(19) - 1) == 18, "the last step's is there anyway"
    assert fit(least(0, 1), 1) == 1
    assert 70e6 < least(7) - least(6) < 80e6  # 75 MB a step were measured
