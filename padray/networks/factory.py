"""Networks from their settings. How each family is fitted to the size of its samples: layers.py."""

from padray.draws import torch_seed
from padray.errors import InputError
from padray.networks.families import FAMILIES
from padray.networks.layers import GROUPS, Network, Shape
from padray.networks.settings import NetworkSettings

MIN_PIXELS = 4  # of an image's smaller side, and of a series' length


def build(settings: NetworkSettings, shape: Shape, classes: int, seed: int) -> Network:
    """A fresh network for samples of `shape` (C, H, W) on the CPU, by PyTorch's own initialisers from `seed`.

    A series of T steps is (C, 1, T), a row of a table with F columns (F, 1, 1). Raises InputError as `check` does.
    """
    check(settings, shape)
    with torch_seed(seed):
        built: Network = FAMILIES[settings.name].build(settings.name)(settings, shape, classes)
    built.blueprint = (settings, shape, classes)
    return built


def check(settings: NetworkSettings, shape: Shape) -> None:
    """Refuse what would be ignored, and samples that the family cannot read. Raises InputError."""
    for key in ("norm", "pooling"):
        value = getattr(settings, key)
        if value != NetworkSettings.model_fields[key].default and key not in FAMILIES[settings.name].choices:
            raise InputError(f"{settings.name} has no {key} to choose (got {value!r}); leave it out")
    if settings.norm == "group" and settings.width is not None and settings.width % GROUPS:
        raise InputError(f"norm: group needs a width divisible by {GROUPS} (got {settings.width})")
    reads = FAMILIES[settings.name].reads
    if reads == "series":
        _check_series(shape)
    elif reads == "images":
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
