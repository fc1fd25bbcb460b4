"""Mixed batches: CutMix (Yun et al. 2019) and mixup (Zhang et al. 2018), with one draw for the whole batch.

Legend: N samples, C channels, H rows, W columns. No labels are mixed: whoever labels the batch sees it mixed.
"""

import math
from typing import NamedTuple

import torch

CUTMIX_BETA, MIXUP_BETA = 1.0, 0.8


class Box(NamedTuple):
    """Rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


def mix(kind: str, images_NCHW: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """The batch mixed with a shuffled copy of itself, a new tensor; `none` draws nothing and gives the batch."""
    if kind == "none":
        return images_NCHW
    share = draw_beta(CUTMIX_BETA if kind == "cutmix" else MIXUP_BETA, draw)
    others = images_NCHW[torch.randperm(len(images_NCHW), generator=draw)]
    if kind == "mixup":
        return share * images_NCHW + (1 - share) * others
    box = draw_box(images_NCHW.shape[2], images_NCHW.shape[3], share, draw)
    mixed = images_NCHW.clone()
    mixed[:, :, box.top : box.bottom, box.left : box.right] = others[:, :, box.top : box.bottom, box.left : box.right]
    return mixed


def draw_beta(shape: float, draw: torch.Generator) -> float:
    """One draw from Beta(shape, shape), by Jöhnk's rejection, which is exact and quick for shapes up to 1."""
    while True:
        x, y = (torch.rand(2, dtype=torch.float64, generator=draw) ** (1 / shape)).tolist()
        if 0 < x + y <= 1:
            return float(x / (x + y))


def draw_box(height: int, width: int, share: float, draw: torch.Generator) -> Box:
    """Where CutMix pastes: a box of `1 - share` of the area around a uniform centre, clipped at the borders."""
    side = math.sqrt(1 - share)
    row, column = (int(torch.randint(size, (), generator=draw)) for size in (height, width))
    tall, wide = int(height * side) // 2, int(width * side) // 2
    return Box(max(row - tall, 0), min(row + tall, height), max(column - wide, 0), min(column + wide, width))
