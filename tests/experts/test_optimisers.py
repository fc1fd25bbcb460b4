"""SGD and AdamW against torch.optim's: the same bytes after every step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from padray.draws import generator
from padray.experts.optimisers import SGD, AdamW
from padray.networks import factory
from padray.networks.settings import NetworkSettings

CONVNET = NetworkSettings(name="convnet", width=4, depth=2)
NETWORKS = [CONVNET, NetworkSettings(name="resnet18", width=4), NetworkSettings(name="vit", width=16, depth=2)]
EACH = pytest.mark.parametrize("settings", NETWORKS, ids=lambda settings: settings.name)
Make = Callable[[nn.Module], Any]


def after_each_step(settings: NetworkSettings, make: Make, dtype: torch.dtype = torch.float32) -> list[bytes]:
    """The parameters after each of eight steps; the lr falls, and one has no gradient at first and once again."""
    network, draw, found = factory.build(settings, (1, 16, 16), 4, seed=3).to(dtype), generator(5, "steps"), []
    optimiser, seldom = make(network), list(network.parameters())[1]
    for step in range(8):
        if step == 5:
            set_lr(optimiser, 0.003)
        optimiser.zero_grad()
        images = torch.randn(6, 1, 16, 16, generator=draw).to(dtype)
        F.cross_entropy(network(images), torch.randint(0, 4, (6,), generator=draw)).backward()
        if step in (0, 3):
            seldom.grad = None
        optimiser.step()
        found.append(b"".join(parameter.detach().numpy().tobytes() for parameter in network.parameters()))
    assert len(set(found)) == 8
    return found


def set_lr(optimiser: Any, lr: float) -> None:
    optimiser.lr = lr
    for group in getattr(optimiser, "param_groups", ()):
        group["lr"] = lr


def torch_sgd(momentum: float, decay: float, nesterov: bool = False) -> Make:
    own = {"momentum": momentum, "weight_decay": decay, "nesterov": nesterov}
    return lambda network: torch.optim.SGD(network.parameters(), 0.05, **own)


def torch_adamw(decay: float) -> Make:
    """Decay is a group's: biases and norms have one without."""

    def make(network: nn.Module) -> torch.optim.Optimizer:
        several, one = ([p for p in network.parameters() if (p.ndim > 1) is more] for more in (True, False))
        return torch.optim.AdamW([{"params": several}, {"params": one, "weight_decay": 0.0}], 0.02, weight_decay=decay)

    return make


@EACH
@pytest.mark.parametrize("decay", [0.0, 5e-4])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_has_the_bytes_of_torch_s(settings, momentum, decay):
    ours = after_each_step(settings, lambda network: SGD(network.parameters(), 0.05, momentum, decay))
    assert ours == after_each_step(settings, torch_sgd(momentum, decay))


@EACH
@pytest.mark.parametrize("decay", [0.0, 5e-4])
def test_nesterov_s_momentum_looks_ahead_as_torch_s_does(settings, decay):
    def theirs(network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=decay, nesterov=True)

    ours = after_each_step(settings, lambda network: SGD(network.parameters(), 0.05, 0.9, decay, nesterov=True))
    assert ours == after_each_step(settings, theirs) != after_each_step(settings, torch_sgd(0.9, decay))


@EACH
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_has_the_bytes_of_torch_s_and_spares_biases_and_norms(settings, decay):
    ours = after_each_step(settings, lambda network: AdamW(network.parameters(), 0.02, decay))
    assert ours == after_each_step(settings, torch_adamw(decay))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda network: SGD(network.parameters(), 0.05, 0.9, 5e-4), torch_sgd(0.9, 5e-4)),
        (lambda network: AdamW(network.parameters(), 0.02, 0.1), torch_adamw(0.1)),
    ],
)
def test_in_float64_too(ours: Make, theirs: Make):
    wide = after_each_step(CONVNET, ours, torch.float64)
    assert wide == after_each_step(CONVNET, theirs, torch.float64)


def test_without_gradients_nothing_moves():
    parameter = nn.Parameter(torch.ones(2, 2))
    for optimiser in (SGD([parameter], 1.0, 0.9, 0.1), AdamW([parameter], 1.0, 0.1), SGD([], 1.0, 0.9, 0.1)):
        optimiser.step()
    assert torch.equal(parameter, torch.ones(2, 2))
