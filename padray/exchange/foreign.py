"""Files of others: found by their names, known by their digests, and read as tensors alone; no code in them runs.

Distilled sets lie in `images_{best|iteration}.pt`, `labels_….pt` and, from some methods, `lr_….pt` (MTT, FTD, TESLA,
DATM, PAD; FTD's averaged images begin with `ema_`), or with their labels in one `res_….pt` (DC, DSA, DM); experts in
`replay_buffer_{n}.pt`. None says what it is of.
Reading takes no more memory than a file has bytes: `torch.save` compresses nothing, and what is compressed is refused.
"""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from padray.errors import InputError
from padray.machine.files import expanded, open_regular, reason, shown
from padray.machine.memory import check_memory

_IMAGES = re.compile(r"^(?P<lead>(?:ema_)?)images_(?P<which>best|\d+)\.pt$")
_RUNS = re.compile(r"^res_.+_\d+ipc\.pt$")
_BUFFER = re.compile(r"^replay_buffer_\d+\.pt$")


@dataclass(frozen=True)
class SetFiles:
    """Where a distilled set lies; `lr` is None where it was never saved, `labels` where they lie with the images."""

    images: Path
    labels: Path | None
    lr: Path | None


def find_set(source: str) -> SetFiles:
    """The files of the set that a folder, or an `images_….pt` or `res_….pt`, means. In a folder the best one is taken.

    Raises:
        InputError: there is none, there are several of which none is the best, or its labels are missing.
    """
    folder, names = _look(source)
    matches = [match for match in map(_IMAGES.match, names) if match]
    runs = [name for name in names if _RUNS.match(name)]
    if len(runs) == 1 and not matches:
        return SetFiles(folder / runs[0], None, None)
    best = [match for match in matches if match["which"] == "best"] or matches
    if len(best) != 1:
        several = sorted([*(match[0] for match in best), *runs])
        held = f"several ({', '.join(several[:4])}): name one of them" if several else "none"
        raise InputError(
            f"{shown(source)} must hold images_best.pt, images_NUMBER.pt or res_NAME_NUMBERipc.pt; it holds {held}"
        )
    lead, which = best[0]["lead"], best[0]["which"]
    labels, lr = folder / f"{lead}labels_{which}.pt", folder / f"lr_{which}.pt"
    if not labels.exists():
        raise InputError(f"{labels.name} must lie beside {best[0][0]} in {folder}, but it is not there")
    return SetFiles(folder / best[0][0], labels, lr if lr.exists() else None)


def find_buffers(source: str) -> list[Path]:
    """The `replay_buffer_{n}.pt` of a folder, or the one file. Raises InputError if there is none."""
    folder, names = _look(source)
    paths = [folder / name for name in names if _BUFFER.match(name)]
    if not paths:
        raise InputError(f"{shown(source)} holds no replay_buffer_NUMBER.pt")
    return paths


def _look(source: str) -> tuple[Path, list[str]]:
    """A folder and the names in it, or one file's folder and its name. Raises InputError if neither is there."""
    if not source:
        raise InputError("SRC is empty; name a folder, or a .pt file in it")
    path = expanded(source, "SRC")
    try:
        return path, os.listdir(path)
    except NotADirectoryError:
        return path.parent, [path.name]
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise InputError(f"cannot read the folder {shown(path)}: {why}") from None


def digest(path: Path) -> str:
    """SHA-256 of a file that memory can hold. Raises InfrastructureError for a larger one."""
    with open_regular(path, "the file") as file:
        _checked_size(path, file)
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"cannot read the file {shown(path)}: {reason(error)}") from None


class _Unread:
    """In the place of NumPy's numbers, which DC saves beside its sets: nothing of NumPy runs.

    With NumPy's own, a few bytes may ask for a number of gigabytes.
    """

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


_NUMPY: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_Unread, f"numpy.{name}") for name in ("dtype", "core.multiarray.scalar", "_core.multiarray.scalar")
]


def last_run(path: Path) -> tuple[Any, Any, int]:
    """The images and labels of the last run in a `res_….pt`, and how many runs it holds. Raises as `load` does."""
    with torch.serialization.safe_globals(_NUMPY):
        content = load(path)
    runs = content.get("data") if isinstance(content, dict) else None
    if not isinstance(runs, list) or not runs or not isinstance(runs[-1], list | tuple) or len(runs[-1]) != 2:
        raise InputError(f"{shown(path)} must hold a dictionary whose `data` is a list of [images, labels]")
    return runs[-1][0], runs[-1][1], len(runs)


def load(path: Path) -> Any:
    """What a `.pt` file holds: tensors, numbers, lists and dictionaries.

    Raises:
        InputError: the file cannot be read, is damaged or compressed, or holds anything that only code could make.
        InfrastructureError: it is larger than this machine's memory.
    """
    with open_regular(path, "the file") as file:
        size = _checked_size(path, file)
        try:
            packed = _is_packed(file, size)
            content = None if packed else torch.load(file, map_location="cpu", weights_only=True)
        except Exception:  # whatever a damaged or hostile file makes the reader raise
            raise InputError(
                f"{shown(path)} is not a file of tensors alone: it is damaged, or it holds code, which padray never "
                f"runs"
            ) from None
    if packed:
        raise InputError(
            f"{shown(path)} promises more bytes than it has: it is compressed, which torch.save never does; load it "
            f"with PyTorch and save it again"
        )
    return content


def _checked_size(path: Path, file: BinaryIO) -> int:
    """A file's bytes. Raises InfrastructureError if it is larger than the memory that is free."""
    size = os.fstat(file.fileno()).st_size
    check_memory(size, f"the file {shown(path)}", "import it on a machine with more memory")
    return size


def _is_packed(file: BinaryIO, size: int) -> bool:
    """Whether an archive would grow when it is read: its records are compressed, or several are the same bytes."""
    if file.read(4) != b"PK\3\4":  # PyTorch's layout before archives, which compresses nothing
        file.seek(0)
        return False
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
    file.seek(0)
    stored = all(record.compress_type == zipfile.ZIP_STORED for record in records)
    return not stored or sum(record.file_size for record in records) > size


def tensor(content: Any, place: str) -> torch.Tensor:
    """A plain tensor with bytes of its own for every number. Raises InputError for anything else."""
    if not isinstance(content, torch.Tensor):
        raise InputError(f"{place} must be a tensor (got {type(content).__name__})")
    plain = content.layout == torch.strided and not content.is_quantized and content.device.type == "cpu"
    if not plain or content.is_nested:
        raise InputError(f"{place} is not a plain tensor")
    if content.untyped_storage().nbytes() < content.numel() * content.element_size():
        raise InputError(f"{place} is not a plain tensor: its bytes do not fill its shape {list(content.shape)}")
    return content.detach().resolve_neg()


def converted(content: torch.Tensor, dtype: torch.dtype, place: str) -> torch.Tensor:
    """A tensor's numbers as another type's. Raises InputError for types that PyTorch itself cannot convert."""
    try:
        return content.to(dtype)
    except RuntimeError:  # NotImplementedError is one
        raise InputError(
            f"{place} has numbers of the type {type_name(content)}, which PyTorch does not convert; save it as float32"
        ) from None


def type_name(content: torch.Tensor) -> str:
    """`float32`."""
    return str(content.dtype).removeprefix("torch.")
