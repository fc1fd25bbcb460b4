"""Parameter counts against published ones and closed forms, and what `build` promises and refuses."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from padray.config import NetworkSettings
from padray.errors import InputError
from padray.networks.factory import build, check
from padray.networks.families import FAMILIES

CIFAR, MNIST, TINY = (3, 32, 32), (1, 28, 28), (3, 64, 64)
SERIES, TABLE = (3, 1, 64), (13, 1, 1)

COUNTS: list[tuple[dict[str, Any], tuple[int, int, int], int, int]] = [
    ({}, CIFAR, 10, 320_010),
    ({}, CIFAR, 100, 504_420),
    ({"norm": "batch"}, CIFAR, 10, 320_010),
    ({"norm": "batch"}, CIFAR, 100, 504_420),
    ({"norm": "none"}, CIFAR, 10, 319_242),
    ({"norm": "layer"}, CIFAR, 10, 663_306),
    ({"norm": "group"}, CIFAR, 10, 320_010),
    ({"depth": 1}, CIFAR, 10, 331_530),
    ({"depth": 2}, CIFAR, 10, 233_610),
    ({"depth": 4}, CIFAR, 10, 452_490),
    ({"depth": 5}, CIFAR, 10, 596_490),
    ({"depth": 4}, TINY, 200, 857_160),
    ({"depth": 4, "norm": "batch"}, TINY, 200, 857_160),
    ({"width": 32}, CIFAR, 10, 24_714),
    ({"width": 64}, CIFAR, 10, 86_282),
    ({"width": 256}, CIFAR, 10, 1_229_834),
    ({"width": 512}, CIFAR, 10, 4_818_954),
    ({"width": 1024}, CIFAR, 10, 19_075_082),
    ({"pooling": "none"}, CIFAR, 10, 1_610_250),
    ({"pooling": "max"}, CIFAR, 10, 320_010),
    ({}, MNIST, 10, 317_706),
    ({"name": "mlp"}, CIFAR, 10, 411_146),
    ({"name": "mlp"}, CIFAR, 100, 422_756),
    ({"name": "mlp", "depth": 1}, CIFAR, 10, 394_634),
    ({"name": "mlp", "depth": 1}, CIFAR, 100, 406_244),
    ({"name": "mlp"}, MNIST, 10, 118_282),
    ({"name": "mlp"}, TINY, 200, 1_615_304),
    ({"name": "lenet"}, CIFAR, 10, 62_006),
    ({"name": "lenet"}, CIFAR, 100, 69_656),
    ({"name": "lenet"}, MNIST, 10, 61_706),
    ({"name": "lenet"}, TINY, 200, 78_156),
    ({"name": "alexnet"}, CIFAR, 10, 1_872_202),
    ({"name": "alexnet"}, CIFAR, 100, 2_148_772),
    ({"name": "alexnet"}, MNIST, 10, 1_865_802),
    ({"name": "alexnet"}, TINY, 200, 2_456_072),
    ({"name": "vgg11"}, CIFAR, 10, 9_231_114),
    ({"name": "vgg11"}, CIFAR, 100, 9_277_284),
    ({"name": "vgg11", "norm": "batch"}, CIFAR, 10, 9_231_114),
    ({"name": "vgg11", "norm": "batch"}, CIFAR, 100, 9_277_284),
    ({"name": "vgg11"}, MNIST, 10, 9_229_962),
    ({"name": "vgg11"}, TINY, 200, 9_328_584),
    ({"name": "resnet18"}, CIFAR, 10, 11_173_962),
    ({"name": "resnet18"}, CIFAR, 100, 11_220_132),
    ({"name": "resnet18", "norm": "batch"}, CIFAR, 10, 11_173_962),
    ({"name": "resnet18", "norm": "batch"}, CIFAR, 100, 11_220_132),
    ({"name": "resnet18"}, MNIST, 10, 11_172_810),
    ({"name": "resnet18"}, TINY, 200, 11_271_432),
    ({"name": "resnet34"}, CIFAR, 10, 21_282_122),
    ({"name": "resnet34"}, CIFAR, 100, 21_328_292),
    ({"name": "resnet34", "norm": "batch"}, CIFAR, 10, 21_282_122),
]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def flat_bytes(network: nn.Module) -> bytes:
    return b"".join(parameter.detach().numpy().tobytes() for parameter in network.parameters())


@pytest.mark.parametrize(("chosen", "shape", "classes", "expected"), COUNTS)
def test_count(chosen: dict[str, Any], shape: tuple[int, int, int], classes: int, expected: int) -> None:
    assert count(build(NetworkSettings(**chosen), shape, classes, seed=0)) == expected


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("shape", "inputs"), [(CIFAR, 3072), (TABLE, 13), (SERIES, 192)])
def test_the_depth_of_an_mlp_is_its_number_of_hidden_layers(
    depth: int, shape: tuple[int, int, int], inputs: int
) -> None:
    network = build(NetworkSettings(name="mlp", depth=depth, width=32), shape, 10, seed=0)
    assert count(network) == (inputs + 1) * 32 + (depth - 1) * 33 * 32 + 33 * 10


@pytest.mark.parametrize(
    ("chosen", "shape", "tokens", "patch"),
    [
        ({}, CIFAR, 8 * 8, 4),
        ({"width": 32, "depth": 2}, TINY, 8 * 8, 8),
        ({"depth": 12}, MNIST, 7 * 7, 4),
        ({"width": 16, "depth": 1}, (1, 8, 8), 8 * 8, 1),
        ({}, (1, 112, 112), 8 * 8, 14),
        ({}, (3, 24, 40), 8 * 14, 3),
        ({}, (3, 33, 30), 9 * 8, 4),
    ],
)
def test_count_of_the_vit(chosen: dict[str, int], shape: tuple[int, int, int], tokens: int, patch: int) -> None:
    width, depth = chosen.get("width", 64), chosen.get("depth", 4)
    embedding = shape[0] * patch**2 * width + width + tokens * width
    attention = 3 * width * (width + 1) + width * (width + 1)
    perceptron = 4 * width * (width + 1) + width * (4 * width + 1)
    head = 2 * width + (width + 1) * 10
    expected = embedding + depth * (4 * width + attention + perceptron) + head
    assert count(build(NetworkSettings(name="vit", **chosen), shape, 10, seed=0)) == expected


@pytest.mark.parametrize(
    ("chosen", "shape", "left"),
    [
        ({}, SERIES, 8),
        ({"depth": 1}, SERIES, 32),
        ({"depth": 6}, SERIES, 1),
        ({"depth": 6}, (1, 1, 8), 1),  # pools that would leave a single step are left out until the last
        ({"width": 16, "pooling": "none"}, (1, 1, 100), 100),
        ({"norm": "none", "pooling": "max"}, (9, 1, 5), 1),
    ],
)
def test_count_of_the_convnet1d(chosen: dict[str, Any], shape: tuple[int, int, int], left: int) -> None:
    width, depth = chosen.get("width", 32), chosen.get("depth", 3)
    convolutions = (3 * shape[0] + 1) * width + (depth - 1) * (3 * width + 1) * width
    norms = 0 if chosen.get("norm") == "none" else 2 * width * depth
    expected = convolutions + norms + (width * left + 1) * 10
    assert count(build(NetworkSettings(name="convnet1d", **chosen), shape, 10, seed=0)) == expected


@pytest.mark.parametrize(
    ("chosen", "features"),
    [
        ({}, 2048),
        ({"name": "lenet"}, 84),
        ({"name": "alexnet"}, 3072),
        ({"name": "vgg11"}, 512),
        ({"name": "mlp"}, 128),
        ({"name": "resnet18"}, 512),
        ({"name": "vgg11", "width": 16}, 128),
        ({"name": "resnet18", "width": 16}, 128),
        ({"name": "resnet34"}, 512),
        ({"name": "vit"}, 64),
        ({"name": "vit", "width": 32, "depth": 1}, 32),
    ],
)
def test_width_of_the_features(chosen: dict[str, Any], features: int) -> None:
    assert build(NetworkSettings(**chosen), CIFAR, 10, seed=0).classifier.in_features == features


@pytest.mark.parametrize("norm", ["instance", "group", "batch", "layer", "none"])
def test_instance_and_group_norms_are_what_their_names_say(norm: str) -> None:
    network = build(NetworkSettings(norm=norm, width=8), CIFAR, 10, seed=0)  # type: ignore[arg-type]
    norms = [layer for layer in network.modules() if "Norm" in type(layer).__name__]
    groups = [layer.num_groups for layer in norms if isinstance(layer, nn.GroupNorm)]
    assert groups == {"instance": [8] * 3, "group": [4] * 3}.get(norm, [])
    assert [type(layer) for layer in norms] == {
        "batch": [nn.BatchNorm2d] * 3,
        "layer": [nn.LayerNorm] * 3,
        "none": [],
    }.get(norm, [nn.GroupNorm] * 3)
    assert (len(list(network.buffers())) > 0) == (norm == "batch")


@pytest.mark.parametrize("name", ["convnet", "vgg11", "resnet18", "resnet34", "convnet1d"])
@pytest.mark.parametrize("norm", ["instance", "batch", "group", "layer", "none"])
def test_every_norm_of_every_family_runs_and_learns(name: str, norm: str) -> None:
    shape = SERIES if name == "convnet1d" else CIFAR
    network = build(NetworkSettings(name=name, norm=norm, width=8), shape, 10, seed=0)  # type: ignore[arg-type]
    kinds = {type(layer).__name__ for layer in network.modules() if "Norm" in type(layer).__name__}
    assert kinds == {"batch": {"BatchNorm2d"}, "layer": {"LayerNorm"}, "none": set()}.get(norm, {"GroupNorm"})
    network(torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    first = next(network.parameters()).grad
    assert first is not None and first.isfinite().all() and first.abs().max() > 0


@pytest.mark.parametrize("name", list(FAMILIES))
def test_same_seed_same_bytes_and_the_global_generator_is_untouched(name: str) -> None:
    settings = NetworkSettings(name=name)  # type: ignore[arg-type]
    shape = (1, 1, 8) if name == "convnet1d" else (1, 8, 8)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = flat_bytes(build(settings, shape, 10, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert flat_bytes(build(settings, shape, 10, seed=1)) == first
    assert flat_bytes(build(settings, shape, 10, seed=2)) != first


def test_the_initialisation_is_pytorchs_default() -> None:
    network = build(NetworkSettings(), CIFAR, 10, seed=3)
    torch.manual_seed(3)
    reference = [nn.Conv2d(3, 128, 3), nn.Conv2d(128, 128, 3), nn.Conv2d(128, 128, 3), nn.Linear(2048, 10)]
    ours = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    for layer, expected in zip(ours, reference, strict=True):
        torch.testing.assert_close(layer.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_the_dry_run_leaves_no_trace() -> None:
    network = build(NetworkSettings(norm="batch"), CIFAR, 10, seed=0)
    assert all(module.training for module in network.modules())
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, torch.full_like(buffer, 1 if name.endswith("running_var") else 0))
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("chosen", "shape", "sentence"),
    [
        ({"name": "lenet", "norm": "batch"}, CIFAR, "lenet has no norm to choose"),
        ({"name": "alexnet", "norm": "none"}, CIFAR, "alexnet has no norm to choose"),
        ({"name": "mlp", "norm": "layer"}, CIFAR, "mlp has no norm to choose"),
        ({"name": "mlp", "pooling": "max"}, CIFAR, "mlp has no pooling to choose"),
        ({"name": "vgg11", "pooling": "max"}, CIFAR, "vgg11 has no pooling to choose"),
        ({"name": "resnet18", "pooling": "none"}, CIFAR, "resnet18 has no pooling to choose"),
        ({"name": "resnet34", "pooling": "max"}, CIFAR, "resnet34 has no pooling to choose"),
        ({"name": "vit", "norm": "batch"}, CIFAR, "vit has no norm to choose"),
        ({"name": "vit", "pooling": "max"}, CIFAR, "vit has no pooling to choose"),
        ({"norm": "group", "width": 10}, CIFAR, r"width divisible by 4 \(got 10\)"),
        ({"name": "convnet1d", "norm": "group", "width": 6}, SERIES, r"width divisible by 4 \(got 6\)"),
        ({}, (3, 3, 3), r"convnet needs images of at least 4x4 pixels \(got 3x3\); mlp reads any size"),
        ({"name": "resnet18"}, (3, 32, 2), r"at least 4x4 pixels \(got 32x2\)"),
        ({}, TABLE, "convnet needs images of at least 4x4 pixels, and these are rows of 13 numbers; mlp reads them"),
        ({"name": "vit"}, SERIES, "and these are series of 64 steps; convnet1d or mlp reads them"),
        ({"name": "lenet"}, (1, 1, 3), "and these are series of 3 steps; mlp reads them"),
        ({"name": "convnet1d"}, CIFAR, r"series of shape \(C, 1, T\) \(got \(3, 32, 32\)\); convnet reads images"),
        ({"name": "convnet1d"}, (1, 64, 1), r"series of shape \(C, 1, T\) \(got \(1, 64, 1\)\)"),
        ({"name": "convnet1d"}, TABLE, "convnet1d needs series, and these are rows of 13 numbers; mlp reads them"),
        ({"name": "convnet1d"}, (2, 1, 3), r"series of at least 4 steps \(got 3\)"),
    ],
)
def test_refusals(chosen: dict[str, Any], shape: tuple[int, int, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        check(NetworkSettings(**chosen), shape)
    with pytest.raises(InputError, match=sentence):
        build(NetworkSettings(**chosen), shape, 10, seed=0)


@pytest.mark.parametrize(("name", "most"), [("convnet", 5), ("mlp", 5), ("vit", 12), ("convnet1d", 6)])
def test_the_depths_of_a_family_end_somewhere(name: str, most: int) -> None:
    assert NetworkSettings.model_validate({"name": name, "depth": most}).depth == most
    with pytest.raises(ValidationError, match=rf"{name} has a depth of 1 to {most} \(got {most + 1}\)"):
        NetworkSettings.model_validate({"name": name, "depth": most + 1})
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        NetworkSettings.model_validate({"name": name, "depth": 0})


def test_the_width_of_a_vit_is_so_many_heads() -> None:
    with pytest.raises(ValidationError, match=r"multiple of 16, such as 64 \(got 40\)"):
        NetworkSettings(name="vit", width=40)
    with pytest.raises(ValidationError, match="resnet34 has no depth to choose"):
        NetworkSettings(name="resnet34", depth=3)


@pytest.mark.parametrize(
    ("chosen", "label"),
    [
        ({"name": "resnet34"}, "resnet34"),
        ({"name": "resnet34", "width": 16, "norm": "batch"}, "resnet34w16-batch"),
        ({"name": "vit"}, "vit4w64"),
        ({"name": "vit", "width": 16, "depth": 12}, "vit12w16"),
        ({"name": "convnet1d"}, "convnet1d3w32"),
        ({"name": "convnet1d", "pooling": "max"}, "convnet1d3w32-maxpool"),
    ],
)
def test_labels(chosen: dict[str, Any], label: str) -> None:
    assert NetworkSettings(**chosen).label == label
