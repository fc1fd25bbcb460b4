"""What is wrong in a storage root: every object is read and held against the manifest that vouches for it.

Nothing is changed here. An orphan is an object that a present manifest of its folder does not list; a folder without
a manifest is unfinished work. Files without a hash in their names are copies to be opened, or somebody else's: neither
is looked at. A stranger stands where an object would and is none: a FIFO, say, or a folder.
"""

import hashlib
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from padray.errors import InputError
from padray.store.artifacts import (
    MANIFEST,
    Folder,
    LostObjectError,
    Manifest,
    NotAManifestError,
    StoredObject,
    read_manifest,
    split_key,
)
from padray.store.location import Location, MissingError, Stranger, UnreadableError, chunks
from padray.store.shards import Rows, read_buffers, read_header, rows_of

Kind = Literal["damaged", "missing", "orphan", "leftover", "stranger", "broken", "foreign", "unreadable", "unfinished"]
Standing = Literal["orphan", "unfinished", "kept"]

FAULTS: frozenset[Kind] = frozenset(
    {"damaged", "missing", "orphan", "leftover", "stranger", "broken", "foreign", "unreadable"}
)


@dataclass(frozen=True)
class Judge:
    """What only the stages know of an artefact.

    Attributes:
        standing: what an object is that is valid, but that the manifest does not list: of a manifest and its name.
        wrong: why what a manifest says cannot be true, empty if it can; and whether all its objects are right.
    """

    standing: Callable[[Manifest, str], Standing]
    wrong: Callable[[Folder, Manifest, bool], str]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, or not finished.

    Attributes:
        folder: the artefact's; empty for what belongs to none.
        key: the object, or the folder itself where that is unfinished.
        removable: whether it is in the way and nothing is lost with it.
    """

    folder: str
    key: str
    kind: Kind
    problem: str
    removable: bool = True


@dataclass(frozen=True)
class Audit:
    """An artefact's manifest, if it can be read, and what is wrong with its objects."""

    path: str
    manifest: Manifest | None
    findings: tuple[Finding, ...]


def audit(location: Location, path: str, keys: Collection[str], judge: Judge) -> Audit:
    """Check an artefact: all objects that its manifest lists, and all others in its folder.

    Args:
        keys: those of the folder.
    """
    key = f"{path}/{MANIFEST}"
    strange = {each.key: each for each in location.strangers(path) if split_key(each.key)[1] or each.key == key}
    strangers = tuple(_strange(path, each, "stranger") for each in strange.values())
    if key in strange:
        return Audit(path, None, strangers)
    try:
        manifest = read_manifest(location, key)
    except MissingError:
        unfinished = Finding(path, path, "unfinished", f"no manifest yet; {len(keys)} objects")
        return Audit(path, None, (*strangers, unfinished))
    except InputError as error:
        kind: Kind = "broken" if isinstance(error, NotAManifestError) else "foreign"
        return Audit(path, None, (*strangers, Finding(path, key, kind, str(error))))
    folder = Folder(location, path, manifest.fingerprint)
    listed = tuple(finding for item in manifest.objects if (finding := _listed(folder, item, strange.get(item.key))))
    if wrong := judge.wrong(folder, manifest, not listed):
        return Audit(path, None, (*strangers, Finding(path, key, "broken", wrong)))
    known = {item.key for item in manifest.objects}
    others = [_unlisted(folder, manifest, key, judge) for key in keys if key not in known and split_key(key)[1]]
    lost = {finding.key for finding in listed}
    apart = tuple(finding for finding in strangers if finding.key not in lost)
    return Audit(path, manifest, (*apart, *listed, *(finding for finding in others if finding)))


def _strange(path: str, stranger: Stranger, kind: Kind) -> Finding:
    return Finding(path, stranger.key, kind, f"is {stranger.what}, no file", stranger.removable)


def _listed(folder: Folder, item: StoredObject, strange: Stranger | None) -> Finding | None:
    """What is wrong with an object that the manifest lists."""
    if strange:
        return _strange(folder.path, strange, "missing" if strange.removable else "stranger")
    try:
        size = folder.location.size(item.key)
        if size is None:
            return Finding(folder.path, item.key, "missing", "is not there")
        problem = _damage(folder, item, size)
    except (InputError, UnreadableError) as error:
        return Finding(folder.path, item.key, "unreadable", str(error))
    return Finding(folder.path, item.key, "damaged", problem) if problem else None


def _damage(folder: Folder, item: StoredObject, size: int) -> str:
    """What is wrong with an object's bytes, row by row for a shard; empty if nothing is."""
    if size != item.size:
        return f"has {size} bytes instead of {item.size}"
    index = None
    if "rows" in item.extra:
        try:
            index = rows_of(item)
        except InputError:
            return "the manifest does not say where its rows lie"
    sha256, wrong = _read(folder.location, item.key, size, index)
    rows = f"; rows {', '.join(map(str, wrong[:5]))}{' …' if wrong[5:] else ''} of {index.count}" if index else ""
    if sha256 != item.sha256:
        return f"its bytes are not those that the manifest vouches for{rows if wrong else ''}"
    if index and (wrong or not _same_index(folder, item, index)):
        return f"the manifest's checksums are not those of its rows{rows if wrong else ''}"
    return ""


def _read(location: Location, key: str, size: int, index: Rows | None) -> tuple[str, list[int]]:
    """An object's SHA-256, and which rows of a shard do not have their checksums, by reading it once."""
    starts = [index.offset + row * index.row_bytes for row in range(index.count + 1)] if index else []
    cuts = sorted({0, size, *(start for start in starts if start < size)})
    digest, checksums, at = hashlib.sha256(), dict.fromkeys(cuts, 0), 0
    for part in chunks(location, key, size):
        digest.update(part)
        for begin, end in pairwise(cuts):
            if begin < at + len(part) and end > at:
                checksums[begin] = zlib.crc32(part[max(begin - at, 0) : end - at], checksums[begin])
        at += len(part)
    expected = zip(starts, index.checksums if index else (), strict=False)
    return digest.hexdigest(), [row for row, (at, value) in enumerate(expected) if checksums.get(at) != value]


def _same_index(folder: Folder, item: StoredObject, index: Rows) -> bool:
    """Whether the manifest says of a shard's rows what its header does, and its buffers have their checksums."""
    try:
        described: dict[str, Any] = read_header(folder, item)["rows"]
        if described != item.extra["rows"]:
            return False
        for epoch in index.epochs or range(index.count) if index.buffers else ():
            read_buffers(folder, item, epoch)
    except (InputError, LostObjectError):  # it is no shard, or its buffers are not those of their checksums
        return False
    return True


def _unlisted(folder: Folder, manifest: Manifest, key: str, judge: Judge) -> Finding | None:
    stem, claimed = split_key(key)
    try:
        sha256, _ = _read(folder.location, key, folder.location.size(key) or 0, None)
    except (InputError, UnreadableError) as error:
        return Finding(folder.path, key, "unreadable", str(error))
    if not sha256.startswith(claimed):
        return Finding(folder.path, key, "orphan", "no manifest lists it, and its bytes are not those of its name")
    standing = judge.standing(manifest, stem)
    if standing == "kept":
        return None
    if standing == "unfinished":
        return Finding(folder.path, key, "unfinished", "whole, but no manifest lists it yet")
    return Finding(folder.path, key, "orphan", "no manifest lists it")
