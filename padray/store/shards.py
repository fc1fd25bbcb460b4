"""An expert's shard: all its snapshots in one safetensors object, any row of which can be read by range.

Tensor `theta` has shape (E+1, P), float32 or float64: row t holds the flattened parameters after epoch t. Every
row has a CRC-32, kept in the shard's header and in the manifest; a row that does not match it is never used.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any

import safetensors
import safetensors.torch
import torch

from padray.errors import InputError, WorkError
from padray.store.artifacts import Folder, StoredObject

_DTYPES = {"F32": (4, torch.float32), "F64": (8, torch.float64)}  # bytes and type of a number


@dataclass(frozen=True)
class Rows:
    """How to find row t of a shard: what the manifest keeps for each shard."""

    offset: int
    count: int
    size: int
    dtype: str
    checksums: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return self.size * _DTYPES[self.dtype][0]


def encode(theta_EP: torch.Tensor, facts: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """A shard's bytes and the row index for the manifest.

    Args:
        theta_EP: the snapshots, (E+1, P), float32 or float64, on the CPU.
        facts: JSON-able facts about the expert (network, seed, accuracies), kept in the header.
    """
    checksums = [zlib.crc32(row.numpy().tobytes()) for row in theta_EP]
    metadata = {"padray": json.dumps({**facts, "row_crc32": checksums}, sort_keys=True)}
    content = safetensors.torch.save({"theta": theta_EP.contiguous()}, metadata=metadata)
    return content, describe(content)["rows"]


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """A safetensors header and where the tensors begin. Raises ValueError if there is none."""
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= len(content) - 8:
        raise ValueError("the header's length is not one")
    return json.loads(content[8 : 8 + length]), 8 + length


def metadata_of(content: bytes) -> dict[str, Any]:
    """The JSON that padray keeps in a safetensors header. Raises ValueError or KeyError if there is none."""
    facts: dict[str, Any] = json.loads(_header(content)[0]["__metadata__"]["padray"])
    return facts


def describe(content: bytes) -> dict[str, Any]:
    """The row index and the facts of a shard from its own header. Raises InputError if it is no shard."""
    try:
        header, begin = _header(content)
        tensor, facts = header["theta"], json.loads(header["__metadata__"]["padray"])
        count, size = tensor["shape"]
        rows = {
            "offset": begin + tensor["data_offsets"][0], "count": count, "size": size,
            "dtype": tensor["dtype"], "checksums": facts.pop("row_crc32"),
        }  # fmt: skip
        if rows["dtype"] not in _DTYPES or len(rows["checksums"]) != count:
            raise ValueError("row index")
        return {"rows": rows, "facts": facts}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError("these bytes are not a shard that padray wrote") from None


def rows_of(item: StoredObject) -> Rows:
    """Where a shard's rows lie, as its manifest says. Raises InputError if that is no row index."""
    try:
        index = item.extra["rows"]
        rows = Rows(**{**index, "checksums": tuple(index["checksums"])})
        if rows.dtype not in _DTYPES or not 0 < rows.count == len(rows.checksums):
            raise ValueError("row index")
    except (KeyError, TypeError, ValueError):
        raise InputError(f"the manifest does not say where the rows of {item.key} lie: run the experts again") from None
    return rows


def read_row(folder: Folder, item: StoredObject, row: int) -> torch.Tensor:
    """Snapshot `row` of a shard, (P,), by one ranged read. Negative rows count from the end.

    Raises:
        InputError: the shard has no such row.
        WorkError: the row's bytes are not those that the manifest vouches for.
    """
    rows = rows_of(item)
    if not -rows.count <= row < rows.count:
        raise InputError(f"{item.key} has {rows.count} rows, so no row {row}; train the experts for longer")
    row = row % rows.count
    content = folder.location.get_range(item.key, rows.offset + row * rows.row_bytes, rows.row_bytes)
    if zlib.crc32(content) != rows.checksums[row]:
        raise WorkError(
            f"row {row} of {item.key} in {folder.location.uri} is damaged: delete that object and run the experts again"
        )
    return torch.frombuffer(bytearray(content), dtype=_DTYPES[rows.dtype][1])
