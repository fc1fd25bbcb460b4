"""The flat view: order, offsets, values, both derivatives, and that it changes nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from padray.config import NetworkSettings
from padray.networks.factory import build
from padray.networks.flat import FlatNetwork

SHAPE = (3, 16, 16)
FAMILIES: list[dict[str, Any]] = [
    {"width": 8},
    {"width": 8, "norm": "batch"},
    {"width": 8, "norm": "layer", "pooling": "max"},
    {"name": "lenet"},
    {"name": "mlp", "width": 16},
    {"name": "alexnet"},
    {"name": "vgg11", "width": 4},
    {"name": "resnet18", "width": 4, "norm": "batch"},
    {"name": "vit", "width": 16, "depth": 2},
    {"name": "convnet1d", "width": 8},
]


def shape_for(chosen: dict[str, Any]) -> tuple[int, int, int]:
    return (3, 1, 16) if chosen.get("name") == "convnet1d" else SHAPE


def flat_network(chosen: dict[str, Any], shape: tuple[int, int, int] = SHAPE) -> FlatNetwork:
    return FlatNetwork(build(NetworkSettings(**chosen), shape, 5, seed=0))


def images(shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randn(4, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("chosen", FAMILIES)
def test_the_vector_is_the_parameters_end_to_end(chosen: dict[str, Any]) -> None:
    flat = flat_network(chosen, shape_for(chosen))
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
        (
            3,
            32,
            10,
            320_010,
            {"conv0": (0, 0.0), "conv1": (3_840, 1.2), "conv2": (151_680, 47.4), "classifier": (299_520, 93.6)},
        ),
        (3, 32, 100, 504_420, {"conv1": (3_840, 0.8), "conv2": (151_680, 30.1), "classifier": (299_520, 59.4)}),
        (
            4,
            64,
            200,
            857_160,
            {"conv1": (3_840, 0.4), "conv2": (151_680, 17.7), "conv3": (299_520, 34.9), "classifier": (447_360, 52.2)},
        ),
    ],
)
def test_offsets_of_the_convnet(
    depth: int, pixels: int, classes: int, size: int, starts: dict[str, tuple[int, float]]
) -> None:
    """Where each tensor starts, in parameters and in % of them: where FIEM's share of shallow parameters cuts."""
    flat = FlatNetwork(build(NetworkSettings(depth=depth), (3, pixels, pixels), classes, seed=0))
    found = {span.name.split(".")[-2]: span.start for span in flat.spans if span.name.endswith(".weight")}
    assert {name: (found[name], round(100 * found[name] / flat.size, 1)) for name in starts} == starts
    assert flat.size == size


@pytest.mark.parametrize("chosen", FAMILIES)
@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_those_of_the_module(chosen: dict[str, Any], training: bool) -> None:
    shape = shape_for(chosen)
    flat = flat_network(chosen, shape).to(torch.float64)
    flat.module.train(training)
    theta_P = flat.flatten().requires_grad_()
    ours_NCHW, theirs_NCHW = images(shape).double().requires_grad_(), images(shape).double().requires_grad_()
    ours_NK, theirs_NK = flat(theta_P, ours_NCHW), flat.module(theirs_NCHW)
    assert torch.equal(ours_NK, theirs_NK)
    ours = torch.autograd.grad(cross_entropy(ours_NK, torch.arange(4)), [theta_P, ours_NCHW])
    theirs = torch.autograd.grad(cross_entropy(theirs_NK, torch.arange(4)), [*flat.module.parameters(), theirs_NCHW])
    torch.testing.assert_close(ours[0], torch.cat([gradient.flatten() for gradient in theirs[:-1]]))
    torch.testing.assert_close(ours[1], theirs[-1])


@pytest.mark.parametrize(
    ("chosen", "shape"),
    [
        ({"width": 4, "depth": 2, "norm": "instance"}, (1, 8, 8)),
        ({"width": 4, "depth": 2, "norm": "batch"}, (1, 8, 8)),
        ({"width": 4, "depth": 2, "norm": "layer"}, (1, 8, 8)),
        ({"name": "vit", "width": 32, "depth": 2}, (1, 5, 4)),
        ({"name": "convnet1d", "width": 4, "depth": 2}, (2, 1, 9)),
        ({"name": "mlp", "width": 4}, (3, 1, 1)),
        ({"name": "resnet34", "width": 4}, (1, 4, 4)),
    ],
)
def test_second_derivatives(chosen: dict[str, Any], shape: tuple[int, int, int]) -> None:
    flat = flat_network(chosen, shape).to(torch.float64)
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


def test_buffers_that_are_given_stand_in_for_the_modules_own() -> None:
    flat, other = flat_network({"width": 8, "norm": "batch"}), flat_network({"width": 8, "norm": "batch"})
    other.module(images())  # in train mode: its statistics move
    moved = other.buffers()
    flat.module.eval()
    other.module.eval()
    theta_P, kept = flat.flatten(), flat.buffers()
    assert torch.equal(flat(theta_P, images(), moved), other.module(images()))
    assert not torch.equal(flat(theta_P, images()), flat(theta_P, images(), moved))
    flat.module.train()
    flat(theta_P, images(), moved)
    for buffers, before in ((moved, other.buffers()), (flat.buffers(), kept)):
        assert all(torch.equal(buffers[name], value) for name, value in before.items())


def test_gradients_lie_in_the_order_of_the_parameters() -> None:
    flat = flat_network({"width": 8})
    theta_P = flat.flatten().requires_grad_()
    flat.module(images()).square().sum().backward()
    (expected_P,) = torch.autograd.grad(flat(theta_P, images()).square().sum(), theta_P)
    torch.testing.assert_close(flat.gradient(), expected_P)
    flat.set_gradient(torch.arange(flat.size, dtype=torch.float32))
    assert torch.equal(flat.gradient(), torch.arange(flat.size, dtype=torch.float32))


def test_a_wrong_length_is_refused() -> None:
    flat = flat_network({"width": 8})
    with pytest.raises(RuntimeError):
        flat(torch.zeros(flat.size + 1), images())
