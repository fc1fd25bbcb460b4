"""Units that were begun: while one is trained its position is stored beside the finished ones, and goes with its end.

So whoever makes a unit again, after Ctrl-C or the loss of a machine, goes on from where it was some seconds before, and
stores the same bytes. A position counts only where it was kept by the same numerics; elsewhere the unit begins anew.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch

from padray.experts.positions import Position, Tensors
from padray.machine.numerics import Numerics
from padray.stages.checkpoints import Rhythm
from padray.store.artifacts import Folder, StoredObject, split_key
from padray.store.headers import metadata_of
from padray.store.roots import POSITION, UNFINISHED

FIRST_S, EVERY_S = 5.0, 20.0  # until the first, and from then on as far as storing takes no more than 2 % of the time
_EPOCHS = "epochs."


@dataclass(frozen=True)
class Kept:
    """A stored position, what was known of the epochs before, its object; `order`: how many positions came before."""

    position: Position
    epochs: dict[str, torch.Tensor]
    item: StoredObject
    order: int


class UnitKeeper:
    """Keeps the positions of one unit; `folder`: of the finished ones."""

    def __init__(self, folder: Folder, unit: str, numerics: Numerics) -> None:
        self.folder, self.unit, self.numerics = _place(folder), unit, numerics.record()
        self.epochs: Callable[[], Tensors] = dict
        self.begun = self._newest()
        self.last, self.order = (self.begun.item.key, self.begun.order + 1) if self.begun else ("", 0)
        self.rhythm = Rhythm(EVERY_S, time.monotonic())
        self.rhythm.pause = min(FIRST_S, EVERY_S)

    def left(self) -> Position | None:
        return self.begun.position if self.begun else None

    def remember(self, epochs: Callable[[], Tensors]) -> Tensors:
        self.epochs = epochs
        return self.begun.epochs if self.begun else {}

    def is_due(self) -> bool:
        return self.rhythm.is_due(time.monotonic())

    def keep(self, position: Position) -> None:
        began = time.monotonic()
        about = {
            "fingerprint": self.folder.fingerprint,
            "numerics": self.numerics,
            "training": position.training,
            "epoch": position.epoch,
            "batch": position.batch,
            "order": self.order,
        }
        tensors = position.tensors | {f"{_EPOCHS}{name}": value.contiguous() for name, value in self.epochs().items()}
        content = safetensors.torch.save(tensors, metadata={"padray": json.dumps(about, sort_keys=True)})
        item = self.folder.put(f"{POSITION}{self.unit}", "safetensors", content)
        if self.last and self.last != item.key:
            self.folder.location.delete(self.last)
        self.last, self.order = item.key, self.order + 1
        self.rhythm.taken = now = time.monotonic()
        self.rhythm.took(now - began, (now - began) * self.rhythm.cores)  # the work waits for it, all cores with it

    def over(self) -> None:
        """The unit is finished, and its positions go."""
        if self.last:
            for key in self._keys():
                self.folder.location.delete(key)

    def _keys(self) -> list[str]:
        return [key for key in self.folder.keys(POSITION) if split_key(key)[0] == f"{POSITION}{self.unit}"]

    def _newest(self) -> Kept | None:
        """The last position of this unit that these numerics kept: there may be two where a kill came between."""
        positions = [kept for key in self._keys() if (kept := _read(self.folder, key, self.numerics))]
        return max(positions, key=lambda kept: kept.order, default=None)


def _place(folder: Folder) -> Folder:
    return Folder(folder.location, f"{folder.path}/{UNFINISHED}", folder.fingerprint)


def _read(folder: Folder, key: str, numerics: dict[str, Any]) -> Kept | None:
    """A stored position; None if it is torn, gone, of other numerics, or none."""
    try:
        taken = folder.take(key)
        if taken is None:
            return None
        item, content = taken
        about = metadata_of(content)
        if (about["fingerprint"], about["numerics"]) != (folder.fingerprint, numerics):
            return None
        tensors = safetensors.torch.load(content)
        position = Position(str(about["training"]), int(about["epoch"]), int(about["batch"]), {})
        order = int(about["order"])
    except (safetensors.SafetensorError, LookupError, ValueError, TypeError):
        return None
    epochs = {name.removeprefix(_EPOCHS): value for name, value in tensors.items() if name.startswith(_EPOCHS)}
    own = {name: value for name, value in tensors.items() if not name.startswith(_EPOCHS)}
    return Kept(Position(position.training, position.epoch, position.batch, own), epochs, item, order)


def sweep(folder: Folder, units: set[str]) -> None:
    """Remove the positions of units that are finished: a kill may have come before they went."""
    place = _place(folder)
    for key in place.keys(POSITION):
        if split_key(key)[0].removeprefix(POSITION) in units:
            folder.location.delete(key)
