"""What a safetensors object says before its tensors: where they lie, and padray's own JSON."""

from dataclasses import dataclass
from typing import Any

from padray.store.artifacts import Folder, StoredObject
from padray.store.untrusted import parse_json

_MOST = 100 << 20  # bytes; no header of safetensors is longer


@dataclass(frozen=True)
class Part:
    """Where a tensor of an object lies: its shape, and its bytes from `begin` to `end`."""

    shape: tuple[int, ...]
    begin: int
    end: int


def parse_header(content: bytes) -> tuple[dict[str, Any], int]:
    """A safetensors header and where the tensors begin. Raises ValueError if there is none."""
    length = int.from_bytes(content[:8], "little")
    if not 0 < length <= len(content) - 8:
        raise ValueError("the header's length is not one")
    header: dict[str, Any] = parse_json(content[8 : 8 + length])
    return header, 8 + length


def metadata_of(content: bytes) -> dict[str, Any]:
    """The JSON that padray keeps in a safetensors header. Raises ValueError, KeyError or TypeError if there is none."""
    facts: dict[str, Any] = parse_json(parse_header(content)[0]["__metadata__"]["padray"])
    return facts


def read_start(folder: Folder, item: StoredObject) -> bytes:
    """A safetensors object's bytes up to its tensors, by two small reads."""
    length = int.from_bytes(folder.get_range(item, 0, 8), "little")
    return bytes(folder.get_range(item, 0, 8 + min(length, item.size, _MOST)))


def read_outline(folder: Folder, item: StoredObject) -> tuple[dict[str, Part], dict[str, Any]]:
    """The tensors of an object by name, and padray's JSON; none of the tensors is read.

    Raises ValueError, LookupError or TypeError if it is no safetensors object of padray's.
    """
    start = read_start(folder, item)
    header, at = parse_header(start)
    parts = {
        name: Part(tuple(about["shape"]), at + about["data_offsets"][0], at + about["data_offsets"][1])
        for name, about in header.items()
        if name != "__metadata__"
    }
    return parts, metadata_of(start)


def read_part(folder: Folder, item: StoredObject, part: Part) -> bytearray:
    """The bytes of one tensor."""
    return bytearray(folder.get_range(item, part.begin, part.end - part.begin))
