"""The network families, by name. How each is fitted to the size of its images: layers.py."""

from collections.abc import Callable

from padray.draws import torch_seed
from padray.errors import InputError
from padray.networks.alexnet import alexnet
from padray.networks.convnet import convnet
from padray.networks.layers import Network, Shape
from padray.networks.lenet import lenet
from padray.networks.mlp import mlp
from padray.networks.resnet import resnet18
from padray.networks.vgg import vgg11
from padray.sections import NetworkSettings

FAMILIES: dict[str, Callable[[NetworkSettings, Shape, int], Network]] = {
    "convnet": convnet,
    "resnet18": resnet18,
    "vgg11": vgg11,
    "alexnet": alexnet,
    "lenet": lenet,
    "mlp": mlp,
}
CHOICES = {"convnet": ("norm", "pooling"), "resnet18": ("norm",), "vgg11": ("norm",)}
MIN_PIXELS = 4


def build(settings: NetworkSettings, shape: Shape, classes: int, seed: int) -> Network:
    """A fresh network for images of `shape` (C, H, W) on the CPU, by PyTorch's own initialisers from `seed`."""
    check(settings, shape)
    with torch_seed(seed):
        return FAMILIES[settings.name](settings, shape, classes)


def check(settings: NetworkSettings, shape: Shape) -> None:
    """Refuse what would be ignored and images that are too small."""
    for key in ("norm", "pooling"):
        value = getattr(settings, key)
        if value != NetworkSettings.model_fields[key].default and key not in CHOICES.get(settings.name, ()):
            raise InputError(f"{settings.name} has no {key} to choose (got {value!r}); leave it out")
    _, height, width = shape
    if settings.name != "mlp" and min(height, width) < MIN_PIXELS:
        raise InputError(
            f"{settings.name} needs images of at least {MIN_PIXELS}x{MIN_PIXELS} pixels (got {height}x{width})"
        )
