"""Parameter counts of METHOD.md section 2, and what `build` promises and refuses."""

from typing import Any

import pytest
import torch
from torch import nn

from padray.config import NetworkSettings
from padray.errors import InputError
from padray.networks import FAMILIES, build

CIFAR, MNIST, TINY = (3, 32, 32), (1, 28, 28), (3, 64, 64)

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
    ({"name": "vgg11"}, MNIST, 10, 9_229_962),
    ({"name": "vgg11"}, TINY, 200, 9_328_584),
    ({"name": "resnet18"}, CIFAR, 10, 11_173_962),
    ({"name": "resnet18"}, CIFAR, 100, 11_220_132),
    ({"name": "resnet18", "norm": "batch"}, CIFAR, 10, 11_173_962),
    ({"name": "resnet18"}, MNIST, 10, 11_172_810),
    ({"name": "resnet18"}, TINY, 200, 11_271_432),
]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def flat_bytes(network: nn.Module) -> bytes:
    return b"".join(parameter.detach().numpy().tobytes() for parameter in network.parameters())


@pytest.mark.parametrize(("chosen", "shape", "classes", "expected"), COUNTS)
def test_count(chosen: dict[str, Any], shape: tuple[int, int, int], classes: int, expected: int) -> None:
    assert count(build(NetworkSettings(**chosen), shape, classes, seed=0)) == expected


@pytest.mark.parametrize(
    ("chosen", "features"),
    [({}, 2048), ({"name": "lenet"}, 84), ({"name": "alexnet"}, 3072), ({"name": "vgg11"}, 512), ({"name": "mlp"}, 128),
     ({"name": "resnet18"}, 512), ({"name": "vgg11", "width": 16}, 128), ({"name": "resnet18", "width": 16}, 128)],
)  # fmt: skip
def test_width_of_the_features(chosen: dict[str, Any], features: int) -> None:
    assert build(NetworkSettings(**chosen), CIFAR, 10, seed=0).classifier.in_features == features


@pytest.mark.parametrize("norm", ["instance", "group", "batch", "layer", "none"])
def test_instance_and_group_norms_are_what_their_names_say(norm: str) -> None:
    network = build(NetworkSettings(norm=norm, width=8), CIFAR, 10, seed=0)  # type: ignore[arg-type]
    norms = [layer for layer in network.modules() if "Norm" in type(layer).__name__]
    groups = [layer.num_groups for layer in norms if isinstance(layer, nn.GroupNorm)]
    assert groups == {"instance": [8] * 3, "group": [4] * 3}.get(norm, [])
    assert [type(layer) for layer in norms] == {
        "batch": [nn.BatchNorm2d] * 3, "layer": [nn.LayerNorm] * 3, "none": [],
    }.get(norm, [nn.GroupNorm] * 3)  # fmt: skip
    assert (len(list(network.buffers())) > 0) == (norm == "batch")


@pytest.mark.parametrize("name", ["convnet", "vgg11", "resnet18"])
@pytest.mark.parametrize("norm", ["instance", "batch", "group", "layer", "none"])
def test_every_norm_of_every_family_runs_and_learns(name: str, norm: str) -> None:
    network = build(NetworkSettings(name=name, norm=norm, width=8), CIFAR, 10, seed=0)  # type: ignore[arg-type]
    network(torch.randn(2, *CIFAR, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    first = next(network.parameters()).grad
    assert first is not None and first.isfinite().all() and first.abs().max() > 0


@pytest.mark.parametrize("name", list(FAMILIES))
def test_same_seed_same_bytes_and_the_global_generator_is_untouched(name: str) -> None:
    settings = NetworkSettings(name=name)  # type: ignore[arg-type]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = flat_bytes(build(settings, (1, 8, 8), 10, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert flat_bytes(build(settings, (1, 8, 8), 10, seed=1)) == first
    assert flat_bytes(build(settings, (1, 8, 8), 10, seed=2)) != first


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
        ({"norm": "group", "width": 10}, CIFAR, "width divisible by 4"),
        ({}, (3, 3, 3), "at least 4x4 pixels"),
        ({"name": "resnet18"}, (3, 32, 2), "at least 4x4 pixels"),
    ],
)
def test_refusals(chosen: dict[str, Any], shape: tuple[int, int, int], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        build(NetworkSettings(**chosen), shape, 10, seed=0)
