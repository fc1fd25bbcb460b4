"""Safetensors objects and their tensors: large ones are mapped, so that a machine holds them once."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from padray.machine.files import open_file
from padray.store import shelf
from padray.store.artifacts import Folder, StoredObject
from padray.store.headers import metadata_of
from padray.store.location import LocalLocation, check_key
from padray.store.pieces import Pieces

_NAMES = {torch.int64: "I64", torch.float64: "F64", torch.float32: "F32"}  # in the order in which they are stored


class Opened(NamedTuple):
    """An object's tensors, and the JSON that padray keeps in its header."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def opened(folder: Folder, item: StoredObject) -> Opened:
    """An object whose bytes are those that the manifest vouches for.

    Raises:
        InputError: as `Folder.get`.
        SafetensorError, LookupError, ValueError, TypeError: the bytes are not what padray writes.
    """
    path = _file(folder, item) if item.size >= shelf.LEAST else None
    if path is None:
        content = folder.get(item)
        return Opened(safetensors.torch.load(content), metadata_of(content))
    with open_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        file.seek(0)
        facts = metadata_of(file.read(8 + length))
    with safetensors.safe_open(path, "pt") as mapped:
        return Opened({name: mapped.get_tensor(name) for name in mapped.keys()}, facts)  # noqa: SIM118  # no mapping


def _file(folder: Folder, item: StoredObject) -> Path | None:
    """A file of this machine that holds the object: in the storage itself, or in the cache of one that is elsewhere."""
    if isinstance(folder.location, LocalLocation):
        path = folder.location.root / check_key(item.key)
        return path if _holds(path, item) else None
    cache = shelf.cache_of(folder.location)
    if cache is None:
        return None
    entry = cache.entry(item.key, 0, item.size + 1)  # as `Folder.get` asks for it
    kept = cache.entries.use(entry)
    if kept is None or not _holds(kept, item):
        Folder(cache, folder.path, folder.fingerprint).get(item)
        kept = cache.entries.use(entry)
    return kept if kept is not None and _holds(kept, item) else None


def _holds(path: Path, item: StoredObject) -> bool:
    """Whether a file has the bytes of an object."""
    try:
        with open_file(path) as file:
            if os.fstat(file.fileno()).st_size != item.size:
                return False
            return hashlib.file_digest(file, "sha256").hexdigest() == item.sha256
    except OSError:
        return False


def of_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Pieces:
    """A safetensors object whose pieces are the memory of the tensors themselves, which must not change.

    The bytes are those that the library writes. It puts them together in memory of its own, and of Python's, and much
    of that keeps every other thread of the process waiting.

    Args:
        tensors: of float32, float64 or int64, in any memory.
    """
    ranks = list(_NAMES)
    order = sorted(tensors, key=lambda name: (ranks.index(tensors[name].dtype), name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    pieces, at = [], 0
    for name in order:
        tensor = tensors[name].detach().cpu().contiguous()
        pieces.append(tensor.reshape(-1).view(torch.uint8).numpy().data)
        end = at + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    said = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    said += b" " * (-len(said) % 8)
    return memoryview(len(said).to_bytes(8, "little") + said), *pieces
