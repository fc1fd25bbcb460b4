"""Frames: what a set looks like after a few of its iterations, kept beside its history for the report.

A frame holds the first sample of the first classes, in the space in which they are distilled. Which iterations have one
depends on their numbers alone, so a run that goes on, or is taken up again, leaves the same ones. Legend: R classes
shown, C H W of a sample.
"""

import re

import safetensors
import safetensors.torch
import torch

from padray.errors import InputError
from padray.networks.layers import Shape
from padray.store.artifacts import Folder, StoredObject
from padray.synthetic.set import Learned

_MOST_CLASSES, _MOST_BYTES = 10, 1 << 19
_STEM = "frame-"
_NAME = re.compile(r"frame-([0-9]+)")


def is_shown(iteration: int) -> bool:
    """0, 10, 30, 100, 300, …: the images change most at first."""
    leading = iteration
    while leading >= 10 and leading % 10 == 0:
        leading //= 10
    return iteration == 0 or (iteration >= 10 and leading in (1, 3))


def encode(learned: Learned, ipc: int) -> bytes:
    """The frame of an iterate: a function of its images alone."""
    firsts = learned.images[::ipc]
    shown = max(1, min(_MOST_CLASSES, _MOST_BYTES // (4 * firsts[0].numel())))
    return safetensors.torch.save({"images": firsts[:shown].detach().float().cpu().contiguous()})


def put(folder: Folder, iteration: int, content: bytes) -> StoredObject:
    """Store the frame of an iteration."""
    return folder.put(f"{_STEM}{iteration:06d}", "safetensors", content)


def stored(folder: Folder, until: int) -> list[StoredObject]:
    """The frames up to an iteration, whether the manifest lists them yet or not."""
    return [item for item in folder.loose(_STEM) if 0 <= _iteration(item) <= until]


def _iteration(item: StoredObject) -> int:
    match = _NAME.fullmatch(item.stem)
    return int(match[1]) if match else -1


def load(folder: Folder, until: int, shape: Shape) -> list[tuple[int, torch.Tensor]]:
    """The frames that the manifest lists, up to an iteration: each (R, C, H, W) float32. None of older distillations.

    Raises:
        InputError: an object has a frame's name and is none of samples of this shape.
    """
    listed = [item for item in folder.require().objects if 0 <= _iteration(item) <= until]
    return [(_iteration(item), _decode(item, folder.get(item), shape)) for item in listed]


def _decode(item: StoredObject, content: bytes, shape: Shape) -> torch.Tensor:
    try:
        images = safetensors.torch.load(content)["images"]
        if images.shape[1:] != shape or not len(images) or images.dtype != torch.float32:
            raise ValueError
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError):
        raise InputError(f"{item.key} is no frame that padray wrote") from None
    return images
