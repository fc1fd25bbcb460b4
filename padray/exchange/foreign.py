"""Files of others: found by their names, known by their digests, and read as tensors alone; no code in them runs.

Distilled sets lie in `images_{best|iteration}.pt`, `labels_….pt` and, from some methods, `lr_….pt` (MTT, FTD, TESLA,
DATM, PAD; FTD's averaged images begin with `ema_`); experts in `replay_buffer_{n}.pt`. None says what it is of.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from padray.errors import InputError

_IMAGES = re.compile(r"^(?P<lead>(?:ema_)?)images_(?P<which>best|\d+)\.pt$")
_BUFFER = re.compile(r"^replay_buffer_\d+\.pt$")


@dataclass(frozen=True)
class SetFiles:
    """Where a distilled set lies; `lr` is None where it was never saved."""

    images: Path
    labels: Path
    lr: Path | None


def find_set(source: str) -> SetFiles:
    """The files of the set that a folder, or an `images_….pt`, means. In a folder the best one is taken.

    Raises:
        InputError: there is none, there are several of which none is the best, or its labels are missing.
    """
    path = Path(source).expanduser()
    names = [path.name] if path.is_file() else _names(path)
    found = [match for match in map(_IMAGES.match, names) if match]
    best = [match for match in found if match["which"] == "best"] or found
    if len(best) != 1:
        several = f"several ({', '.join(sorted(match[0] for match in best)[:4])}): name one of them"
        raise InputError(
            f"{source} must hold images_best.pt or images_NUMBER.pt; it holds {several if best else 'none'}"
        )
    folder, lead, which = path.parent if path.is_file() else path, best[0]["lead"], best[0]["which"]
    labels, lr = folder / f"{lead}labels_{which}.pt", folder / f"lr_{which}.pt"
    if not labels.is_file():
        raise InputError(f"{labels.name} must lie beside {best[0][0]} in {folder}, but it is not there")
    return SetFiles(folder / best[0][0], labels, lr if lr.is_file() else None)


def find_buffers(source: str) -> list[Path]:
    """The `replay_buffer_{n}.pt` of a folder, or the one file. Raises InputError if there is none."""
    path = Path(source).expanduser()
    if path.is_file() and _BUFFER.match(path.name):
        return [path]
    found = [path / name for name in _names(path) if _BUFFER.match(name)]
    if not found:
        raise InputError(f"{source} holds no replay_buffer_NUMBER.pt")
    return found


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from None


def digest(path: Path) -> str:
    """SHA-256 of a file of any size."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def load(path: Path) -> Any:
    """What a `.pt` file holds: tensors, numbers, lists and dictionaries.

    Raises:
        InputError: the file cannot be read, is damaged, or holds anything that only code could make.
    """
    try:
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'it ends too early'}") from None
    except Exception:  # whatever a damaged or hostile file makes the reader raise
        raise InputError(
            f"{path} is not a file of tensors alone: it is damaged, or it holds code, which padray never runs"
        ) from None


def tensor(content: Any, place: str) -> torch.Tensor:
    """A plain tensor with bytes of its own for every number. Raises InputError for anything else."""
    if not isinstance(content, torch.Tensor):
        raise InputError(f"{place} must be a tensor (got {type(content).__name__})")
    plain = content.layout == torch.strided and not content.is_quantized and content.device.type == "cpu"
    if not plain or content.untyped_storage().nbytes() < content.numel() * content.element_size():
        raise InputError(f"{place} is not a plain tensor: its bytes do not fill its shape {list(content.shape)}")
    return content.detach()
