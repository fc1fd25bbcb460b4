"""The network families, by name. How each is fitted to the size of its images: layers.py."""

from collections.abc import Callable

from padray.draws import torch_seed
from padray.errors import InputError
from padray.networks.alexnet import alexnet
from padray.networks.convnet import convnet
from padray.networks.convnet1d import convnet1d
from padray.networks.layers import GROUPS, Network, Shape
from padray.networks.lenet import lenet
from padray.networks.mlp import mlp
from padray.networks.resnet import resnet18, resnet34
from padray.networks.vgg import vgg11
from padray.networks.vit import vit
from padray.sections import NetworkSettings

FAMILIES: dict[str, Callable[[NetworkSettings, Shape, int], Network]] = {
    "convnet": convnet,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "vgg11": vgg11,
    "alexnet": alexnet,
    "lenet": lenet,
    "mlp": mlp,
    "vit": vit,
    "convnet1d": convnet1d,
}
CHOICES = {
    "convnet": ("norm", "pooling"),
    "convnet1d": ("norm", "pooling"),
    "resnet18": ("norm",),
    "resnet34": ("norm",),
    "vgg11": ("norm",),
}
MIN_PIXELS = 4  # of an image's smaller side, and of a series' length


def build(settings: NetworkSettings, shape: Shape, classes: int, seed: int) -> Network:
    """A fresh network for samples of `shape` (C, H, W) on the CPU, by PyTorch's own initialisers from `seed`.

    A series of T steps is (C, 1, T), a row of a table with F columns (F, 1, 1). Raises InputError as `check` does.
    """
    check(settings, shape)
    with torch_seed(seed):
        return FAMILIES[settings.name](settings, shape, classes)


def check(settings: NetworkSettings, shape: Shape) -> None:
    """Refuse what would be ignored, and samples that the family cannot read. Raises InputError."""
    for key in ("norm", "pooling"):
        value = getattr(settings, key)
        if value != NetworkSettings.model_fields[key].default and key not in CHOICES.get(settings.name, ()):
            raise InputError(f"{settings.name} has no {key} to choose (got {value!r}); leave it out")
    if settings.norm == "group" and settings.width is not None and settings.width % GROUPS:
        raise InputError(f"norm: group needs a width divisible by {GROUPS} (got {settings.width})")
    if settings.name == "convnet1d":
        _check_series(shape)
    elif settings.name != "mlp":
        _check_images(settings.name, shape)


def _check_series(shape: Shape) -> None:
    channels, height, length = shape
    if height != 1:
        raise InputError(f"convnet1d needs series of shape (C, 1, T) (got {shape}); convnet reads images")
    if length == 1:
        raise InputError(f"convnet1d needs series, and these are rows of {channels} numbers; mlp reads them")
    if length < MIN_PIXELS:
        raise InputError(f"convnet1d needs series of at least {MIN_PIXELS} steps (got {length}); mlp reads any")


def _check_images(name: str, shape: Shape) -> None:
    channels, height, width = shape
    if min(height, width) >= MIN_PIXELS:
        return
    if (height, width) == (1, 1):
        hint = f", and these are rows of {channels} numbers; mlp reads them"
    elif height == 1:
        hint = f", and these are series of {width} steps; {'convnet1d or ' * (width >= MIN_PIXELS)}mlp reads them"
    else:
        hint = f" (got {height}x{width}); mlp reads any size"
    raise InputError(f"{name} needs images of at least {MIN_PIXELS}x{MIN_PIXELS} pixels{hint}")
