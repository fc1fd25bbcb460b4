"""Differentiable augmentation (DSA, Zhao & Bilen 2021), drawn first and applied second.

Legend: N samples, C channels, H rows, W columns. One call uses one operation, drawn uniformly, for the whole
batch; each sample has parameters of its own, or all share one draw (Siamese). A strategy may have several such steps,
one after the other. A drawn `Augmentation` can be applied again to the same batch, or to another, with the same result.

Differs from MTT's code: 1. parameters come from an explicit generator, not from a reseeded global one;
2. they are drawn in float64 on the CPU, so every dtype and device sees the same numbers.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from padray.errors import InputError

BRIGHTNESS, SATURATION, CONTRAST = 1.0, 2.0, 0.5
CROP, CUTOUT = 0.125, 0.5  # shares of the image's side
FLIP_PROBABILITY = 0.5
SCALE = 1.2  # zoom factors lie in (1/1.2, 1.2)
ROTATE_DEGREES = 15.0

Shape = tuple[int, int, int]  # C, H, W


@dataclass(frozen=True, eq=False)
class Augmentation:
    """One drawn operation. `values` maps a parameter's name to its (N,) or, shared by all samples, (1,) tensor.

    `then`: what follows it, where a strategy has several steps.
    """

    op: str
    values: dict[str, Tensor] = field(default_factory=dict)
    then: "Augmentation | None" = None


def draw(strategy: str, samples: int, shape: Shape, generator: torch.Generator) -> Augmentation:
    """One operation of each step of `strategy` and its parameters for `samples` samples.

    A step is names joined by `_`, steps are joined by `+`; `none` alone draws nothing from the generator. With
    `samples` = 1 the parameters fit a batch of any size. Raises InputError for unknown names, and for samples of one
    row (tables and series), which are no images.
    """
    step, plus, later = strategy.partition("+")
    drawn = _draw_step(step, samples, shape, generator)
    return replace(drawn, then=draw(later, samples, shape, generator)) if plus else drawn


def _draw_step(strategy: str, samples: int, shape: Shape, generator: torch.Generator) -> Augmentation:
    if strategy == "none":
        return Augmentation("none")
    if shape[1] == 1:
        raise InputError(f"augmentation {strategy!r} is for images, and these samples are {shape}; set it to none")
    names = strategy.split("_")
    unknown = [name for name in names if name not in _OPS]
    if unknown:
        raise InputError(
            f"augmentation {unknown[0]!r} in {strategy!r} is unknown; use {', '.join(_OPS)}, or none alone"
        )
    name = names[int(torch.randint(len(names), (), generator=generator))]
    return Augmentation(name, _OPS[name][0](samples, shape, generator))


def apply(augmentation: Augmentation, images_NCHW: Tensor) -> Tensor:
    """The augmented images: same shape, dtype and device; differentiable with respect to the images."""
    images_NCHW = _apply_step(augmentation, images_NCHW)
    return images_NCHW if augmentation.then is None else apply(augmentation.then, images_NCHW)


def _apply_step(augmentation: Augmentation, images_NCHW: Tensor) -> Tensor:
    if augmentation.op == "none":
        return images_NCHW
    samples = images_NCHW.shape[0]
    for name, value in augmentation.values.items():
        if value.shape[0] not in (1, samples):
            raise ValueError(f"{name} was drawn for {value.shape[0]} samples, the batch has {samples}")
    return _OPS[augmentation.op][1](images_NCHW, augmentation.values)


def _uniform(samples: int, generator: torch.Generator, low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.rand(samples, dtype=torch.float64, generator=generator) * (high - low) + low


def _like(value: Tensor, images: Tensor, axes: int = 3) -> Tensor:
    """The parameter (N,) on the images' device, with `axes` axes of length 1 behind; floats take their dtype."""
    dtype = images.dtype if value.is_floating_point() else value.dtype
    return value.to(device=images.device, dtype=dtype).view(-1, *(1,) * axes)


# -- color: brightness, then saturation, then contrast


def _draw_color(samples: int, shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    return {name: _uniform(samples, generator) for name in ("brightness", "saturation", "contrast")}


def _color(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    images = images + (_like(values["brightness"], images) - 0.5) * BRIGHTNESS
    grey = images.mean(dim=1, keepdim=True)
    images = torch.lerp(grey, images, _like(values["saturation"], images) * SATURATION)
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    return torch.lerp(level, images, _like(values["contrast"], images) + CONTRAST)


# -- crop: whole-pixel shift, zeros move in


def _reach(side: int) -> int:
    """The largest shift of an image with this side, in pixels."""
    return int(side * CROP + 0.5)


def _draw_crop(samples: int, shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    def shifts(reach: int) -> Tensor:
        return torch.randint(-reach, reach + 1, (samples,), generator=generator)

    return {"rows": shifts(_reach(shape[1])), "columns": shifts(_reach(shape[2]))}


def _crop(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    """out[n, c, h, w] = images[n, c, h + rows[n], w + columns[n]], zero where that lies outside."""
    rows, columns = (values[k].to(images.device).expand(images.shape[0]) for k in ("rows", "columns"))
    shifted: Tensor = _Shift.apply(images, rows, columns)
    return shifted


def _reflect_crop(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    """The same shift, but what lies beyond a border is the image again, reflected there."""
    rows, columns = (values[k].to(images.device).expand(images.shape[0]) for k in ("rows", "columns"))
    return _windows(images, rows, columns, "reflect")


def _windows(images: Tensor, rows: Tensor, columns: Tensor, beyond: str = "constant") -> Tensor:
    """One window of each padded image, copied row-wise from a strided view of all windows."""
    height, width = images.shape[2:]
    up, left = _reach(height), _reach(width)
    padded = F.pad(images, (left, left, up, up), beyond)
    views = padded.unfold(2, height, 1).unfold(3, width, 1)  # N C 2up+1 2left+1 H W
    return views[torch.arange(images.shape[0], device=images.device), :, rows + up, columns + left]


class _Shift(torch.autograd.Function):
    """The crop and its adjoint, the opposite shift. Autograd's own adjoint of the indexing is about 10 times slower."""

    @staticmethod
    def forward(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return _windows(images, rows, columns)

    @staticmethod
    def setup_context(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = ctx.saved_tensors  # type: ignore[attr-defined]
        return _Shift.apply(grads[0], -rows, -columns), None, None


# -- cutout: a zero square, clipped at the borders


def _cutout_side(side: int) -> int:
    return int(side * CUTOUT + 0.5)


def _draw_cutout(samples: int, shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    """Centres; an even square may also be centred on the far border, so that both borders are alike."""

    def centres(side: int) -> Tensor:
        return torch.randint(side + 1 - _cutout_side(side) % 2, (samples,), generator=generator)

    return {"rows": centres(shape[1]), "columns": centres(shape[2])}


def _cutout(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    def inside(centre: Tensor, side: int) -> Tensor:  # (N, side) bool
        size = _cutout_side(side)
        first = _like(centre, images, axes=1) - size // 2
        place = torch.arange(side, device=images.device)
        return (place >= first) & (place < first + size)

    rows, columns = inside(values["rows"], images.shape[2]), inside(values["columns"], images.shape[3])
    kept = ~(rows[:, None, :, None] & columns[:, None, None, :])
    return images * kept.to(images.dtype)


# -- flip: left and right


def _draw_flip(samples: int, shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    return {"flipped": _uniform(samples, generator) < FLIP_PROBABILITY}


def _flip(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    return torch.where(_like(values["flipped"], images), images.flip(3), images)


# -- scale and rotate: bilinear resampling, zeros outside


def _draw_scale(samples: int, shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    return {name: _uniform(samples, generator, 1 / SCALE, SCALE) for name in ("x", "y")}


def _scale(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    zero = torch.zeros_like(values["x"])
    return _resample(images, [values["x"], zero, zero, zero, values["y"], zero])


def _draw_rotate(samples: int, shape: Shape, generator: torch.Generator) -> dict[str, Tensor]:
    return {"radians": _uniform(samples, generator, -math.radians(ROTATE_DEGREES), math.radians(ROTATE_DEGREES))}


def _rotate(images: Tensor, values: dict[str, Tensor]) -> Tensor:
    cos, sin, zero = values["radians"].cos(), values["radians"].sin(), torch.zeros_like(values["radians"])
    return _resample(images, [cos, -sin, zero, sin, cos, zero])


def _resample(images: Tensor, theta: list[Tensor]) -> Tensor:
    """Sample each image through its 2x3 matrix, given as six (N,) or (1,) tensors, row by row."""
    matrices = torch.stack(theta, dim=1).view(-1, 2, 3).to(images).expand(images.shape[0], 2, 3)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=True)
    if _must_repeat(images):
        return _look_up(images, grid)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _must_repeat(images: Tensor) -> bool:
    """Whether gradients are to have the same bytes every time, as grid_sample's on a GPU have not."""
    return images.is_cuda and torch.are_deterministic_algorithms_enabled()


def _look_up(images: Tensor, grid_NHW2: Tensor) -> Tensor:
    """grid_sample from four look-ups; a gather's gradient can be deterministic."""
    samples, channels, height, width = images.shape
    x, y = ((grid_NHW2[..., axis] + 1) / 2 * (side - 1) for axis, side in enumerate((width, height)))
    total = torch.zeros_like(images)
    for column, row in itertools.product((x.floor(), x.floor() + 1), (y.floor(), y.floor() + 1)):
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        shares = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
        places = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
        seen = images.flatten(2).gather(2, places.view(samples, 1, -1).expand(-1, channels, -1))
        total = total + seen.view_as(images) * shares[:, None]
    return total


_Draw = Callable[[int, Shape, torch.Generator], dict[str, Tensor]]
_Apply = Callable[[Tensor, dict[str, Tensor]], Tensor]
_OPS: dict[str, tuple[_Draw, _Apply]] = {
    "color": (_draw_color, _color),
    "crop": (_draw_crop, _crop),
    "cutout": (_draw_cutout, _cutout),
    "flip": (_draw_flip, _flip),
    "scale": (_draw_scale, _scale),
    "rotate": (_draw_rotate, _rotate),
    "reflectcrop": (_draw_crop, _reflect_crop),
}
