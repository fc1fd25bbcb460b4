"""Mixed batches: CutMix (Yun et al. 2019) and mixup (Zhang et al. 2018), with one draw for the whole batch.

Legend: N samples, C channels, H rows, W columns, K classes.
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
    """The batch mixed with a shuffled copy of itself, a new tensor; `none` draws nothing and gives the batch.

    No labels are mixed: it is for whoever labels the batch when it is mixed.
    """
    if kind == "none":
        return images_NCHW
    if kind == "cutmix":
        return _pasted(images_NCHW, draw)[0]
    share = draw_beta(MIXUP_BETA, draw)
    others = images_NCHW[torch.randperm(len(images_NCHW), generator=draw)]
    return share * images_NCHW + (1 - share) * others


def cutmix(
    images_NCHW: torch.Tensor, labels_NK: torch.Tensor, draw: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch and its labels, which are probabilities, mixed by CutMix: labels by the area that each image has."""
    mixed, order_N, box = _pasted(images_NCHW, draw)
    height, width = images_NCHW.shape[2:]
    kept = 1 - (box.bottom - box.top) * (box.right - box.left) / (height * width)
    return mixed, kept * labels_NK + (1 - kept) * labels_NK[order_N]


def _pasted(images_NCHW: torch.Tensor, draw: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, Box]:
    """A box of another image in each; whose (N,), and where."""
    share = draw_beta(CUTMIX_BETA, draw)
    order_N = torch.randperm(len(images_NCHW), generator=draw)
    others = images_NCHW[order_N]
    box = draw_box(images_NCHW.shape[2], images_NCHW.shape[3], share, draw)
    mixed = images_NCHW.clone()
    mixed[:, :, box.top : box.bottom, box.left : box.right] = others[:, :, box.top : box.bottom, box.left : box.right]
    return mixed, order_N, box


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
