"""An expert's shard: its snapshots in one safetensors object, any row of which can be read by range.

Tensor `theta` has shape (R, P), float32 or float64: a row holds the flattened parameters after an epoch. Without
`kept_epochs` in the header, row t is that of epoch t; with it, row r is that of epoch kept_epochs[r]. Of a network
with buffers (a batch norm's running statistics) the tensors `buffers.<name>`, (R, ...), hold those of the same
epochs. Every row has a CRC-32, and one more for its buffers, kept in the shard's header and in the manifest; a row
that does not match is never used. Layout 1 knows only whole shards without buffers, which are still written so.
"""

import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import safetensors
import safetensors.torch
import torch

from padray.errors import InputError
from padray.store.artifacts import Folder, StoredObject
from padray.store.cache import Bytes, CachedLocation
from padray.store.headers import parse_header, read_start
from padray.store.location import LocalLocation
from padray.store.untrusted import parse_json

LAYOUT = 2
_THETA = ("F32", "F64")
_DTYPES = {"F32": (4, torch.float32), "F64": (8, torch.float64), "I64": (8, torch.int64)}  # bytes and type of a number
_PREFIX = "buffers."
_GAP = 2 << 20  # a request to an object store takes longer than so many bytes do
_FOLDER_GAP = 1 << 16  # and in a folder


@dataclass(frozen=True)
class BufferRows:
    """How to find a buffer's rows: `shape` is that of one row."""

    name: str
    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * _DTYPES[self.dtype][0]


@dataclass(frozen=True)
class Rows:
    """How to find a row of a shard: what the manifest keeps for each shard.

    Attributes:
        epochs: those of the rows, where not every epoch was kept.
        buffers: the buffers in the order of their names; `buffer_checksums`: one for all buffers of a row.
    """

    offset: int
    count: int
    size: int
    dtype: str
    checksums: tuple[int, ...]
    epochs: tuple[int, ...] | None = None
    buffers: tuple[BufferRows, ...] = ()
    buffer_checksums: tuple[int, ...] = ()
    layout: int = 1

    @property
    def row_bytes(self) -> int:
        return self.size * _DTYPES[self.dtype][0]


def encode(
    theta_RP: torch.Tensor,
    facts: dict[str, Any],
    epochs: Sequence[int] | None = None,
    buffers: Mapping[str, torch.Tensor] | None = None,
) -> tuple[bytes, dict[str, Any]]:
    """A shard's bytes and the row index for the manifest.

    Args:
        theta_RP: the snapshots, (R, P), float32 or float64, on the CPU.
        facts: JSON-able facts about the expert (network, seed, accuracies), kept in the header.
        epochs: the epochs of the rows, rising; left out where row t is that of epoch t.
        buffers: the network's buffers at the same epochs, (R, ...) each, by name, on the CPU.
    """
    named = {name: tensor.contiguous() for name, tensor in sorted((buffers or {}).items())}
    about: dict[str, Any] = {"row_crc32": [_checksum([row]) for row in theta_RP]}
    if epochs is not None and list(epochs) != list(range(len(theta_RP))):
        about["kept_epochs"] = list(epochs)
    if named:
        about["buffer_crc32"] = [_checksum(rows) for rows in zip(*named.values(), strict=True)]
    if len(about) > 1:
        about["layout"] = LAYOUT
    metadata = {"padray": json.dumps({**facts, **about}, sort_keys=True)}
    tensors = {"theta": theta_RP.contiguous(), **{f"{_PREFIX}{name}": tensor for name, tensor in named.items()}}
    content = safetensors.torch.save(tensors, metadata=metadata)
    return content, describe(content)["rows"]


def _checksum(parts: Sequence[torch.Tensor]) -> int:
    return zlib.crc32(b"".join(part.numpy().tobytes() for part in parts))


def describe(content: bytes) -> dict[str, Any]:
    """The row index and the facts of a shard from its own header. Raises InputError if it is no shard."""
    try:
        header, begin = parse_header(content)
        tensor, facts = header["theta"], parse_json(header["__metadata__"]["padray"])
        count, size = tensor["shape"]
        rows: dict[str, Any] = {
            "offset": begin + tensor["data_offsets"][0],
            "count": count,
            "size": size,
            "dtype": tensor["dtype"],
            "checksums": facts.pop("row_crc32"),
        }
        if "layout" in facts:
            rows |= {"layout": facts.pop("layout"), "epochs": facts.pop("kept_epochs", None)}
            rows |= {"buffers": _described_buffers(header, begin), "buffer_checksums": facts.pop("buffer_crc32", [])}
        _parse(rows, "this shard")
        return {"rows": rows, "facts": facts}
    except (ValueError, LookupError, TypeError, AttributeError):
        raise InputError("these bytes are not a shard that padray wrote") from None


def _described_buffers(header: dict[str, Any], begin: int) -> list[dict[str, Any]]:
    buffers = []
    for key in sorted(key for key in header if key.startswith(_PREFIX)):
        offset, shape = begin + header[key]["data_offsets"][0], header[key]["shape"][1:]
        name, dtype = key.removeprefix(_PREFIX), header[key]["dtype"]
        buffers.append({"name": name, "offset": offset, "shape": shape, "dtype": dtype})
    return buffers


def _parse(index: dict[str, Any], what: str) -> Rows:
    """A row index that makes sense. Raises ValueError, TypeError or KeyError, or InputError if it is a newer one."""
    layout = index.get("layout", 1)
    if layout > LAYOUT:
        raise InputError(f"{what} has layout {layout}; this padray reads up to {LAYOUT}: update it")
    buffers = [BufferRows(**{**buffer, "shape": tuple(buffer["shape"])}) for buffer in index.get("buffers", ())]
    checksums, vouched = tuple(index["checksums"]), tuple(index.get("buffer_checksums", ()))
    epochs = None if index.get("epochs") is None else tuple(index["epochs"])
    parsed = {"checksums": checksums, "epochs": epochs, "buffers": tuple(buffers), "buffer_checksums": vouched}
    rows = Rows(**{**index, **parsed})
    numbers = [rows.offset, rows.count, rows.size, *checksums, *vouched, *(epochs or ())]
    numbers += [number for buffer in buffers for number in (buffer.offset, *buffer.shape)]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("numbers")
    if rows.dtype not in _THETA or not rows.size or not 0 < rows.count == len(rows.checksums):
        raise ValueError("rows")
    if epochs is not None and (len(epochs) != rows.count or any(a >= b for a, b in pairwise(epochs))):
        raise ValueError("epochs")
    if len(vouched) != (rows.count if buffers else 0):
        raise ValueError("buffers")
    if not all(buffer.dtype in _DTYPES and isinstance(buffer.name, str) for buffer in buffers):
        raise ValueError("buffers")
    return rows


def rows_of(item: StoredObject) -> Rows:
    """Where a shard's rows lie, as its manifest says. Raises InputError if that is no row index, or a newer one."""
    try:
        rows = _parse(item.extra["rows"], item.key)
        parts: list[Rows | BufferRows] = [rows, *rows.buffers]
        ends = [part.offset + rows.count * part.row_bytes for part in parts]
        if max(ends) > item.size:
            raise ValueError("rows beyond the end")
        return rows
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(f"the manifest does not say where the rows of {item.key} lie: run the experts again") from None


def row_of(item: StoredObject, epoch: int) -> int:
    """The row that holds the snapshot after `epoch` epochs; -1 is the last one. Raises InputError if none does."""
    rows = rows_of(item)
    epochs = range(rows.count) if rows.epochs is None else rows.epochs
    if epoch == -1:
        return rows.count - 1
    if epoch > epochs[-1]:
        raise InputError(f"{item.key} ends with epoch {epochs[-1]}, so it has no epoch {epoch}: raise experts.epochs")
    if epoch not in epochs:
        raise InputError(f"{item.key} does not keep the snapshot of epoch {epoch}: change experts.keep_epochs")
    return epochs.index(epoch)


def read_header(folder: Folder, item: StoredObject) -> dict[str, Any]:
    """`describe` by two small reads: shards are large, headers are not."""
    return describe(read_start(folder, item))


def read_row(folder: Folder, item: StoredObject, row: int) -> torch.Tensor:
    """Row `row` of a shard, (P,), by one ranged read; as `read_rows`."""
    return read_rows(folder, item, [row])[0]


def read_rows(folder: Folder, item: StoredObject, wanted: Sequence[int]) -> list[torch.Tensor]:
    """Rows of a shard, (P,) each; those that lie close together come by one read. Negative ones count from the end.

    Raises:
        InputError: the shard has no such row.
        LostObjectError: a row's bytes are not those that the manifest vouches for, or the shard is gone.
    """
    rows = rows_of(item)
    for row in wanted:
        if not -rows.count <= row < rows.count:
            raise InputError(f"{item.key} has {rows.count} rows, so no row {row}; train the experts for longer")
    numbers = [row % rows.count for row in wanted]
    places = [(rows.offset + row * rows.row_bytes, rows.row_bytes) for row in numbers]
    checks = [partial(_is_right, checksum=rows.checksums[row]) for row in numbers]
    tensors = []
    for row, part in zip(numbers, _read_checked(folder, item, places, checks), strict=True):
        if part is None:
            raise folder.lost(f"row {row} of {item.key}", "is damaged")
        own = isinstance(part, memoryview) and not part.readonly  # read for us alone, so there is nothing to copy
        tensors.append(torch.frombuffer(part if own else bytearray(part), dtype=_DTYPES[rows.dtype][1]))
    return tensors


def _is_right(part: Bytes | memoryview, checksum: int) -> bool:
    return zlib.crc32(part) == checksum


def _read_checked(
    folder: Folder, item: StoredObject, places: list[tuple[int, int]], checks: list[partial[bool]]
) -> Iterator[Bytes | memoryview | None]:
    """The bytes of each (offset, length); None where they do not pass their check."""
    if isinstance(folder.location, CachedLocation):  # it keeps every row for itself
        for place, check in zip(places, checks, strict=True):
            yield folder.checked(item, *place, check)
        return
    for part, check in zip(_read_ranges(folder, item, places), checks, strict=True):
        yield part if check(part) else None


def read_buffers(folder: Folder, item: StoredObject, epoch: int) -> dict[str, torch.Tensor]:
    """The network's buffers after `epoch` epochs (-1: the last one) by name; empty where the shard holds none.

    Raises:
        InputError: that epoch was not kept.
        LostObjectError: the bytes are not those that the manifest vouches for, or the shard is gone.
    """
    rows, row = rows_of(item), row_of(item, epoch)
    wanted = [(buffer.offset + row * buffer.row_bytes, buffer.row_bytes) for buffer in rows.buffers]
    parts = _read_ranges(folder, item, wanted)
    if rows.buffers and zlib.crc32(b"".join(parts)) != rows.buffer_checksums[row]:
        raise folder.lost(f"row {row} of the buffers of {item.key}", "is damaged")
    return {
        buffer.name: torch.frombuffer(bytearray(part), dtype=_DTYPES[buffer.dtype][1]).view(buffer.shape)
        for buffer, part in zip(rows.buffers, parts, strict=True)
    }


def _read_ranges(folder: Folder, item: StoredObject, wanted: list[tuple[int, int]]) -> list[memoryview]:
    """The bytes of each (offset, length); those that lie close together come by one request."""
    gap = _FOLDER_GAP if isinstance(folder.location, LocalLocation) else _GAP
    parts: dict[tuple[int, int], memoryview] = {}
    close: list[tuple[int, int]] = []
    for place in [*sorted(wanted), None]:
        if close and (place is None or place[0] - sum(close[-1]) > gap):
            begin, end = close[0][0], sum(close[-1])
            content = memoryview(folder.get_range(item, begin, end - begin))
            parts |= {(at, size): content[at - begin : at - begin + size] for at, size in close}
            close = []
        if place is not None:
            close.append(place)
    return [parts[place] for place in wanted]
