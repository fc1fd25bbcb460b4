"""The flat view: order, offsets, values, both derivatives, and that it changes nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from padray.config import NetworkSettings
from padray.networks import build
from padray.networks.flat import FlatNetwork

SHAPE = (3, 16, 16)
FAMILIES: list[dict[str, Any]] = [
    {"width": 8}, {"width": 8, "norm": "batch"}, {"width": 8, "norm": "layer", "pooling": "max"}, {"name": "lenet"},
    {"name": "mlp", "width": 16}, {"name": "alexnet"}, {"name": "vgg11", "width": 4},
    {"name": "resnet18", "width": 4, "norm": "batch"},
]  # fmt: skip


def flat_network(chosen: dict[str, Any], shape: tuple[int, int, int] = SHAPE) -> FlatNetwork:
    return FlatNetwork(build(NetworkSettings(**chosen), shape, 5, seed=0))


def images(shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("chosen", FAMILIES)
def test_the_vector_is_the_parameters_end_to_end(chosen: dict[str, Any]) -> None:
    flat = flat_network(chosen)
    theta_P = flat.flatten()
    stop = 0
    for span, (name, parameter) in zip(flat.spans, flat.module.named_parameters(), strict=True):
        assert (span.name, span.shape, span.start) == (name, tuple(parameter.shape), stop)
        assert torch.equal(theta_P[span.start : span.stop].view(span.shape), parameter)
        stop = span.stop
    assert theta_P.shape == (flat.size,) == (stop,)


@pytest.mark.parametrize(
    ("depth", "pixels", "classes", "size", "starts"),
    [
        (3, 32, 10, 320_010, {"conv0": 0, "conv1": 3_840, "conv2": 151_680, "classifier": 299_520}),
        (3, 32, 100, 504_420, {"conv1": 3_840, "conv2": 151_680, "classifier": 299_520}),
        (4, 64, 200, 857_160, {"conv1": 3_840, "conv2": 151_680, "conv3": 299_520, "classifier": 447_360}),
    ],
)
def test_offsets_of_the_convnet(depth: int, pixels: int, classes: int, size: int, starts: dict[str, int]) -> None:
    flat = FlatNetwork(build(NetworkSettings(depth=depth), (3, pixels, pixels), classes, seed=0))
    found = {span.name.split(".")[-2]: span.start for span in flat.spans if span.name.endswith(".weight")}
    assert {name: found[name] for name in starts} == starts
    assert flat.size == size


@pytest.mark.parametrize("chosen", FAMILIES)
@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_those_of_the_module(chosen: dict[str, Any], training: bool) -> None:
    flat = flat_network(chosen).to(torch.float64)
    flat.module.train(training)
    theta_P = flat.flatten().requires_grad_()
    ours_NCHW, theirs_NCHW = images().double().requires_grad_(), images().double().requires_grad_()
    ours_NK, theirs_NK = flat(theta_P, ours_NCHW), flat.module(theirs_NCHW)
    assert torch.equal(ours_NK, theirs_NK)
    ours = torch.autograd.grad(cross_entropy(ours_NK, torch.arange(4)), [theta_P, ours_NCHW])
    theirs = torch.autograd.grad(cross_entropy(theirs_NK, torch.arange(4)), [*flat.module.parameters(), theirs_NCHW])
    torch.testing.assert_close(ours[0], torch.cat([gradient.flatten() for gradient in theirs[:-1]]))
    torch.testing.assert_close(ours[1], theirs[-1])


@pytest.mark.parametrize("norm", ["instance", "batch", "layer"])
def test_second_derivatives(norm: str) -> None:
    shape = (1, 8, 8)
    flat = flat_network({"width": 4, "depth": 2, "norm": norm}, shape).to(torch.float64)
    theta_P, images_NCHW = flat.flatten().requires_grad_(), images(shape).double().requires_grad_()
    weights_NK = torch.linspace(-1, 1, 20, dtype=torch.float64).view(4, 5).requires_grad_()
    assert torch.autograd.gradgradcheck(flat, (theta_P, images_NCHW), weights_NK, fast_mode=True)


def test_other_parameters_than_the_modules_own_count() -> None:
    flat, other = flat_network({"width": 8}), build(NetworkSettings(width=8), SHAPE, 5, seed=9)
    logits_NK = flat(FlatNetwork(other).flatten(), images())
    assert torch.equal(logits_NK, other(images()))
    assert not torch.equal(logits_NK, flat.module(images()))


def test_the_backward_is_one_cat() -> None:
    flat = flat_network({"width": 8})
    theta_P = flat.flatten().requires_grad_()
    nodes, seen = [flat(theta_P, images()).grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes.extend(parent for parent, _ in node.next_functions)
    names = [node.name() for node in seen]
    assert sum("Split" in name for name in names) == 1
    assert not any("Slice" in name or "Narrow" in name or "Select" in name for name in names)
    assert sum("AccumulateGrad" in name for name in names) == 1


def test_flatten_does_not_alias_even_a_single_parameter() -> None:
    for module in (nn.Linear(3, 2), nn.Linear(3, 2, bias=False)):
        flat = FlatNetwork(module)
        theta_P = flat.flatten()
        assert not theta_P.requires_grad
        kept = theta_P.clone()
        with torch.no_grad():
            module.weight.add_(1)
        assert torch.equal(theta_P, kept)


def test_load_copies_in_place_and_does_not_alias() -> None:
    flat = flat_network({"width": 8})
    before = list(flat.module.parameters())
    theta_P = torch.arange(flat.size, dtype=torch.float32)
    flat.load(theta_P)
    assert all(a is b for a, b in zip(flat.module.parameters(), before, strict=True))
    assert torch.equal(flat.flatten(), theta_P)
    kept = theta_P.clone()
    theta_P.zero_()
    assert torch.equal(flat.flatten(), kept)
    with pytest.raises(RuntimeError):
        flat.load(theta_P[1:])


@pytest.mark.parametrize("chosen", [{"width": 8, "norm": "batch"}, {"name": "resnet18", "width": 4, "norm": "batch"}])
def test_a_call_changes_nothing_of_the_module(chosen: dict[str, Any]) -> None:
    flat = flat_network(chosen)
    state = {name: tensor.clone() for name, tensor in flat.module.state_dict().items()}
    kept = {name: id(tensor) for name, tensor in flat.module.state_dict(keep_vars=True).items()}
    torch.autograd.backward(flat(flat.flatten().requires_grad_(), images()).sum())
    assert all(torch.equal(state[name], tensor) for name, tensor in flat.module.state_dict().items())
    assert {name: id(tensor) for name, tensor in flat.module.state_dict(keep_vars=True).items()} == kept
    assert all(parameter.grad is None for parameter in flat.module.parameters())
    flat.module(images())  # whereas the module's own call does move them: the test above is not idle
    assert not all(torch.equal(state[name], tensor) for name, tensor in flat.module.state_dict().items())


def test_tied_weights_are_both_replaced() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    flat = FlatNetwork(nn.Sequential(first, second))
    assert flat.size == 9
    assert torch.equal(flat(2 * torch.eye(3).flatten(), torch.ones(1, 3)), torch.full((1, 3), 4.0))


def test_a_wrong_length_is_refused() -> None:
    flat = flat_network({"width": 8})
    with pytest.raises(RuntimeError):
        flat(torch.zeros(flat.size + 1), images())
