"""Every family at every size: it runs, it learns down to its first layer, and its two parts make the whole."""

from typing import Any

import pytest
import torch
from torch import nn

from padray.config import NetworkSettings
from padray.networks.factory import build
from padray.networks.families import FAMILIES

NARROW: dict[str, dict[str, Any]] = {
    "convnet": {"width": 16},
    "vgg11": {"width": 8},
    "resnet18": {"width": 8},
    "resnet34": {"width": 4},
    "vit": {"width": 32, "depth": 2},
}
OF_IMAGES = [name for name in FAMILIES if name != "convnet1d"]


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


@pytest.mark.parametrize("name", OF_IMAGES)
@pytest.mark.parametrize("pixels", [4, 5, 8, 28, 32, 64, 112])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_family_at_every_size(name: str, pixels: int, channels: int) -> None:
    assert_runs_and_learns({"name": name, **NARROW.get(name, {})}, (channels, pixels, pixels))


@pytest.mark.parametrize("name", OF_IMAGES)
def test_images_need_not_be_square(name: str) -> None:
    assert_runs_and_learns({"name": name, **NARROW.get(name, {})}, (3, 24, 40))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_every_depth_on_the_digits(depth: int, pooling: str) -> None:
    assert_runs_and_learns({"width": 8, "depth": depth, "pooling": pooling}, (1, 8, 8))


@pytest.mark.parametrize("shape", [(13, 1, 1), (1, 1, 1), (1, 1, 13), (3, 1, 64), (2, 3, 3)])
def test_the_mlp_takes_rows_of_a_table_and_all_else(shape: tuple[int, int, int]) -> None:
    assert_runs_and_learns({"name": "mlp"}, shape)


@pytest.mark.parametrize("length", [4, 5, 7, 16, 100])
@pytest.mark.parametrize("channels", [1, 9])
def test_the_convnet1d_takes_series_of_every_length(length: int, channels: int) -> None:
    assert_runs_and_learns({"name": "convnet1d"}, (channels, 1, length))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("pooling", ["avg", "max", "none"])
def test_every_depth_on_short_series(depth: int, pooling: str) -> None:
    assert_runs_and_learns({"name": "convnet1d", "width": 8, "depth": depth, "pooling": pooling}, (1, 1, 12))


def test_the_convnet1d_sees_neighbours_in_time_alone() -> None:
    network = build(NetworkSettings(name="convnet1d", depth=1, norm="none", pooling="none"), (2, 1, 9), 10, seed=0)
    series = torch.zeros(1, 2, 1, 9)
    moved = series.clone()
    moved[..., 4] = 1
    differs_T = (network.features(moved) != network.features(series)).view(32, 9).any(dim=0)
    assert differs_T.nonzero().flatten().tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("chosen", "features"),
    [
        ({"depth": 3, "width": 8}, 8 * 14 * 14),
        ({"depth": 4, "width": 8}, 8 * 7 * 7),
        ({"depth": 5, "width": 8}, 8 * 9),
        ({"name": "resnet18", "width": 8}, 64),
        ({"name": "resnet34", "width": 8}, 64),
        ({"name": "alexnet"}, 192 * 49),
        ({"name": "vgg11", "width": 8}, 64 * 2 * 2),
        ({"name": "vit"}, 64),
    ],
)
def test_x_rays(chosen: dict[str, Any], features: int) -> None:
    network = build(NetworkSettings(**chosen), (1, 112, 112), 2, seed=0)
    assert network.classifier.in_features == features
    assert network(images((1, 112, 112))).shape == (3, 2)


@pytest.mark.parametrize("name", ["convnet", "vgg11", "resnet18", "resnet34"])
@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 5, 4), (1, 8, 8), (3, 32, 32), (1, 64, 64)])
def test_a_batch_norm_in_train_mode_takes_a_single_sample(name: str, shape: tuple[int, int, int]) -> None:
    """Each channel's map keeps more than one pixel up to the last norm, so PyTorch has a variance to divide by."""
    for depth in [1, 3, 5] if name == "convnet" else [None]:
        network = build(NetworkSettings(name=name, norm="batch", width=4, depth=depth), shape, 3, seed=0)  # type: ignore[arg-type]
        assert network(images(shape)[:1]).isfinite().all()


@pytest.mark.parametrize("length", [4, 5, 64])
def test_a_batch_norm_takes_a_single_series(length: int) -> None:
    network = build(NetworkSettings(name="convnet1d", norm="batch", depth=6), (1, 1, length), 3, seed=0)
    assert network(images((1, 1, length))[:1]).isfinite().all()


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
