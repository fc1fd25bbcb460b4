"""Every family at every size: it runs, it learns down to its first layer, and its two parts make the whole."""

from typing import Any

import pytest
import torch
from torch import nn

from padray.config import NetworkSettings
from padray.networks import FAMILIES, build

NARROW: dict[str, dict[str, Any]] = {"convnet": {"width": 16}, "vgg11": {"width": 8}, "resnet18": {"width": 8}}


def images(shape: tuple[int, int, int]) -> torch.Tensor:
    return torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))


def assert_runs_and_learns(chosen: dict[str, Any], shape: tuple[int, int, int]) -> None:
    network = build(NetworkSettings(**chosen), shape, 7, seed=0)
    images_NCHW = images(shape).requires_grad_()
    logits_NK = network(images_NCHW)
    assert logits_NK.shape == (3, 7)
    assert logits_NK.std(dim=0).min() > 0  # a dead network answers every image alike
    loss = torch.nn.functional.cross_entropy(logits_NK, torch.arange(3))
    torch.autograd.backward(loss)
    for tensor in [images_NCHW, *network.parameters()]:
        assert tensor.grad is not None and tensor.grad.isfinite().all()
    # Rounding alone leaves 1e-9 behind a norm of one pixel; a living network has far more.
    assert next(network.parameters()).grad.abs().max() > 1e-6  # type: ignore[union-attr]
    features_NF = network.features(images_NCHW)
    assert features_NF.ndim == 2
    assert torch.equal(network.classifier(features_NF), logits_NK)


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("pixels", [4, 5, 8, 28, 32, 64, 112])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_family_at_every_size(name: str, pixels: int, channels: int) -> None:
    assert_runs_and_learns({"name": name, **NARROW.get(name, {})}, (channels, pixels, pixels))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_images_need_not_be_square(name: str) -> None:
    assert_runs_and_learns({"name": name, **NARROW.get(name, {})}, (3, 24, 40))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_every_depth_on_the_digits(depth: int, pooling: str) -> None:
    assert_runs_and_learns({"width": 8, "depth": depth, "pooling": pooling}, (1, 8, 8))


def test_the_mlp_takes_rows_of_a_table() -> None:
    assert_runs_and_learns({"name": "mlp"}, (1, 1, 13))


def sides(chosen: dict[str, Any], shape: tuple[int, int, int]) -> list[int]:
    """The side of the map after each convolution (branches of a residual block included) and pool."""
    network = build(NetworkSettings(**chosen), shape, 10, seed=0)
    seen: list[int] = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.AvgPool2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output.shape[-1]))
    network(images(shape))
    return seen


@pytest.mark.parametrize(
    ("chosen", "shape", "expected"),
    [
        ({"depth": 4}, (1, 8, 8), [8, 4, 4, 2, 2, 2, 1]),  # no pool before the last block
        ({}, (1, 28, 28), [32, 16, 16, 8, 8, 4]),
        ({}, (3, 28, 28), [28, 14, 14, 7, 7, 3]),
        ({"name": "lenet"}, (1, 28, 28), [28, 14, 10, 5]),
        ({"name": "lenet"}, (1, 8, 8), [4, 2, 2, 1]),  # the second convolution is padded
        ({"name": "lenet"}, (3, 64, 64), [30, 15, 11, 5]),
        ({"name": "alexnet"}, (1, 28, 28), [32, 16, 16, 8, 8, 8, 8, 4]),
        ({"name": "alexnet"}, (3, 64, 64), [32, 16, 16, 8, 8, 8, 8, 4]),
        ({"name": "vgg11", "width": 8}, (3, 28, 28), [28, 14, 14, 7, 7, 7, 3, 3, 3, 3, 3, 1]),
        ({"name": "vgg11", "width": 8}, (3, 64, 64), [64, 32, 32, 16, 16, 16, 8, 8, 8, 4, 4, 4, 2, 1]),
        ({"name": "resnet18", "width": 8}, (1, 8, 8), [8] * 5 + [4] * 5 + [2] * 10),  # the last stride is left out
        ({"name": "resnet18", "width": 8}, (3, 63, 63), [63] * 5 + [32] * 5 + [16] * 5 + [8] * 5),
        ({"name": "resnet18", "width": 8}, (3, 64, 64), [32] * 5 + [16] * 5 + [8] * 5 + [4] * 5),
    ],
)
def test_sides_of_the_maps(chosen: dict[str, Any], shape: tuple[int, int, int], expected: list[int]) -> None:
    assert sides(chosen, shape) == expected
