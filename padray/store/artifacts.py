"""Artefacts: a folder of content-addressed objects and, written last, the manifest that lists them.

An object's key ends in the first 12 digits of its SHA-256 and is never overwritten. `manifest.json` is the only
key that is ever replaced. Without it a folder is unfinished work, whose objects the next run takes up. So it is where
the manifest lists what is gone: `Folder.present` does not tell of it, and the next run makes it again.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, get_origin, get_type_hints

from padray.errors import InfrastructureError, InputError
from padray.store.cache import Bytes, Check, read_checked
from padray.store.location import Location, MissingError, check_key, chunks
from padray.store.pieces import Content, pieces_of, size_of
from padray.store.untrusted import parse_json

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MOST_MANIFEST = 64 << 20  # bytes; the row checksums of some hundred thousand epochs
_KEY = re.compile(r"^(?P<stem>.+)-(?P<hash>[0-9a-f]{12})\.(?P<suffix>[a-z]+)$")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MADE_FROM = ("data", "scores", "keep", "experts", "set")  # the inputs that are artefacts, or sets of one


class LostObjectError(InfrastructureError):
    """An object that a manifest lists is gone or damaged."""


@dataclass(frozen=True)
class StoredObject:
    """One object of an artefact. `extra` holds facts that readers need first, e.g. a shard's row checksums."""

    key: str
    size: int
    sha256: str
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """The name without its hash: `expert-0007`."""
        return split_key(self.key)[0]


def split_key(key: str) -> tuple[str, str]:
    """`a/b/expert-0007-<hash>.safetensors` -> (`expert-0007`, `<hash>`); hash empty for other keys."""
    name = key.rsplit("/", 1)[-1]
    match = _KEY.match(name)
    return (match["stem"], match["hash"]) if match else (name, "")


@dataclass(frozen=True)
class Manifest:
    """What an artefact is made of and how it was made."""

    fingerprint: str
    stage: str
    settings: dict[str, Any]
    inputs: dict[str, Any]
    numerics: dict[str, Any]
    objects: tuple[StoredObject, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def object(self, stem: str) -> StoredObject:
        """The object of that name. Raises InputError if the manifest does not list it."""
        for item in self.objects:
            if item.stem == stem:
                return item
        raise InputError(f"the {self.stage} artefact {self.fingerprint[:12]} has no object called {stem}")

    def to_json(self) -> bytes:
        content = {"format_version": FORMAT_VERSION, **self.__dict__, "objects": [o.__dict__ for o in self.objects]}
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode()


class Folder:
    """An artefact's place in a storage."""

    def __init__(self, location: Location, path: str, fingerprint: str) -> None:
        self.location, self.path, self.fingerprint = location, check_key(path), fingerprint

    @property
    def uri(self) -> str:
        return f"{self.location.uri}/{self.path}"

    # -- objects

    def put(self, stem: str, suffix: str, content: Content, extra: dict[str, Any] | None = None) -> StoredObject:
        """Store an object under a key that carries its hash; the same content again is the same object."""
        digest, size = hashlib.sha256(), size_of(content)
        for piece in pieces_of(content):
            digest.update(piece)
        item = StoredObject(
            f"{self.path}/{stem}-{digest.hexdigest()[:12]}.{suffix}", size, digest.hexdigest(), extra or {}
        )
        if self.location.size(item.key) != size or self._digest(item.key, size) != item.sha256:
            self.location.put(item.key, content)
        return item

    def get(self, item: StoredObject) -> bytes:
        """Read an object whole. Raises LostObjectError if its bytes are not those that the manifest vouches for."""

        def is_right(content: Bytes) -> bool:
            return hashlib.sha256(content).hexdigest() == item.sha256

        content = self.checked(item, 0, item.size + 1, is_right)
        if content is None:
            raise self.lost(item.key, "is damaged")
        return bytes(content)  # no copy of what are bytes

    def checked(self, item: StoredObject, offset: int, length: int, is_right: Check) -> Bytes | None:
        """Part of an object, from the storage's cache if it has one; None if its bytes are not right.

        Raises LostObjectError if the object is gone.
        """
        try:
            return read_checked(self.location, item.key, offset, length, is_right)
        except MissingError:
            raise self.lost(item.key, "is gone") from None

    def get_range(self, item: StoredObject, offset: int, length: int) -> Bytes:
        """Part of an object; whether the bytes are right, only the caller can say. Raises LostObjectError."""
        try:
            return self.location.get_range(item.key, offset, length)
        except MissingError:
            raise self.lost(item.key, "is gone") from None

    def lost(self, what: str, how: str) -> LostObjectError:
        """What is said where something that a manifest lists cannot be used: what it is, and what to type."""
        command = shlex.join(["padray", "verify", self.path, "--repair", "--storage", self.location.uri])
        return LostObjectError(f"{what} {how}: type `{command}`; then the command that made it makes it again")

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of the objects here whose name starts with `prefix`, sorted."""
        return list(_named(self.location.sizes(self.path), prefix))

    def loose(self, prefix: str = "", among: Collection[str] | None = None) -> list[StoredObject]:
        """The valid objects here whose name starts with `prefix`, sorted: those to go on from.

        What the manifest lists is looked for, not read: whoever uses it checks it. Only what it does not list is held
        against the hash in its name, piece by piece; torn ones are left out, and those that are removed meanwhile.

        Args:
            among: the only names that are wanted.
        """
        sizes, manifest = self.location.sizes(self.path), self.manifest()
        gone = self.gone(manifest, sizes) if manifest else set()
        listed = [item for item in manifest.objects if item.key not in gone] if manifest else []
        objects = {item.key: item for item in listed if item.stem.startswith(prefix)}
        known = {item.stem for item in objects.values()}
        for key, size in _named(sizes, prefix).items():
            stem = split_key(key)[0]
            if stem not in known and (among is None or stem in among) and (item := self._proven(key, size)):
                objects[key] = item
        return [objects[key] for key in sorted(objects) if among is None or objects[key].stem in among]

    def _proven(self, key: str, size: int) -> StoredObject | None:
        """An object whose bytes are those of its name, without holding them; None for any other."""
        sha256 = self._digest(key, size)
        return StoredObject(key, size, sha256) if sha256 and sha256.startswith(split_key(key)[1]) else None

    def _digest(self, key: str, size: int) -> str | None:
        """The SHA-256 of an object, without holding it; None where another command has removed it meanwhile."""
        digest = hashlib.sha256()
        try:
            for part in chunks(self.location, key, size):
                digest.update(part)
        except MissingError:
            return None
        return digest.hexdigest()

    def take(self, key: str, most: int | None = None) -> tuple[StoredObject, bytes] | None:
        """An object and its bytes, proven by its name alone; None if they are others, or it is gone.

        Args:
            most: bytes of the largest that anybody writes there; a larger one is none.
        """
        try:
            content = self.location.get(key, None if most is None else most + 1)
        except MissingError:
            return None
        sha256 = hashlib.sha256(content).hexdigest()
        return (StoredObject(key, len(content), sha256), content) if sha256.startswith(split_key(key)[1]) else None

    # -- the manifest

    def manifest(self) -> Manifest | None:
        """The manifest, or None where the work is unfinished. Raises InputError if it cannot be this folder's."""
        key = f"{self.path}/{MANIFEST}"
        try:
            manifest = read_manifest(self.location, key)
        except MissingError:
            return None
        if manifest.fingerprint != self.fingerprint:
            raise InputError(f"{key} in {self.location.uri} belongs to another artefact; move that folder away")
        return manifest

    def require(self) -> Manifest:
        """The manifest of finished work. Raises InputError if there is none."""
        manifest = self.manifest()
        if manifest is None:
            raise InputError(f"{self.path} in {self.location.uri} is not finished; run the stage that makes it first")
        return manifest

    def present(self) -> Manifest | None:
        """The manifest without the objects that are gone, or have other sizes; whoever makes them makes them again."""
        manifest = self.manifest()
        if manifest is None:
            return None
        gone = self.gone(manifest)
        return replace(manifest, objects=tuple(item for item in manifest.objects if item.key not in gone))

    def gone(self, manifest: Manifest, sizes: dict[str, int] | None = None) -> set[str]:
        """The keys of the objects that a manifest lists and that are not there, or have other sizes.

        Args:
            sizes: what lies in the folder, where that is known.
        """
        there = self.location.sizes(self.path) if sizes is None else sizes
        absent = [item for item in manifest.objects if there.get(item.key) != item.size]
        return {item.key for item in absent if self.location.size(item.key) != item.size}  # a listing may lag behind

    def commit(self, manifest: Manifest) -> None:
        """Publish: everything that the manifest lists is in place, so it is written now, last.

        Raises InfrastructureError if something is not: another command has removed it.
        """
        if self.gone(manifest):
            raise InfrastructureError(f"{self.path} was removed while it was made; the same command makes it again")
        self.location.put(f"{self.path}/{MANIFEST}", manifest.to_json())

    def delete(self) -> None:
        """Remove everything here, the manifest first, so that no reader takes a half-empty folder for finished."""
        self.location.delete(f"{self.path}/{MANIFEST}")
        for key in self.location.keys(self.path):
            self.location.delete(key)


def _named(sizes: dict[str, int], prefix: str) -> dict[str, int]:
    """Of what lies in a folder the objects whose names start with `prefix`."""
    return {key: size for key, size in sizes.items() if split_key(key)[1] and split_key(key)[0].startswith(prefix)}


class NotAManifestError(InputError):
    """Bytes that no padray wrote as a manifest, or that were damaged since."""


def read_manifest(location: Location, key: str) -> Manifest:
    """A stored manifest. Raises MissingError if there is none, otherwise as `parse_manifest`."""
    content = location.get(key, MOST_MANIFEST + 1)
    if len(content) > MOST_MANIFEST:
        raise NotAManifestError(f"{key} is not a manifest that padray wrote: it has more than {MOST_MANIFEST:,} bytes")
    return parse_manifest(content, key)


def parse_manifest(content: bytes, key: str) -> Manifest:
    """A manifest from its bytes.

    Raises:
        NotAManifestError: it is damaged.
        InputError: it is hostile, of a newer format, or another folder's.
    """
    try:
        tree = parse_json(content)
        version = tree.pop("format_version")
        if version > FORMAT_VERSION:
            raise InputError(f"{key} has format_version {version}; this padray reads up to {FORMAT_VERSION}: update it")
        manifest = Manifest(objects=tuple(StoredObject(**item) for item in tree.pop("objects")), **tree)
        _check_types(manifest, Manifest)
        for item in manifest.objects:
            _check_types(item, StoredObject)
        _check_values(manifest)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise NotAManifestError(f"{key} is not a manifest that padray wrote") from None
    try:
        for item in manifest.objects:
            check_key(item.key)
    except InputError as error:
        raise InputError(f"{key} cannot be trusted: {error}") from None
    _check_place(manifest, key)
    return manifest


def _check_types(content: Any, model: type) -> None:
    """Raises TypeError if a field of a manifest, which anybody may have written, is of another type."""
    for name, kind in get_type_hints(model).items():
        value = getattr(content, name)
        if not isinstance(value, get_origin(kind) or kind) or isinstance(value, bool):
            raise TypeError(name)


def _check_values(manifest: Manifest) -> None:
    """Raises ValueError or TypeError for a digest or a size that is none, and for inputs that are no fingerprints."""
    digests = [manifest.fingerprint, *(item.sha256 for item in manifest.objects)]
    digests += [manifest.inputs[name] for name in _MADE_FROM if name in manifest.inputs]
    if not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise ValueError("digests")
    if not all(0 <= item.size < 1 << 62 for item in manifest.objects):
        raise ValueError("sizes")
    for value in manifest.inputs.values():
        if not all(isinstance(one, str | int) for one in (value if isinstance(value, list) else [value])):
            raise TypeError("inputs")


def _check_place(manifest: Manifest, key: str) -> None:
    """Raises InputError if a manifest cannot be its folder's: its claims must never lead to objects elsewhere."""
    path = key.rpartition("/")[0]
    if manifest.fingerprint[:12] != path[-12:]:
        raise InputError(f"{key} belongs to another artefact: its fingerprint is not the folder's")
    for item in manifest.objects:
        if not item.key.startswith(f"{path}/"):
            raise InputError(f"{key} lists {item.key}, which is not in its folder")
        if not split_key(item.key)[1] or not item.sha256.startswith(split_key(item.key)[1]):
            raise InputError(f"{key} contradicts itself: {item.key} does not end in the hash that it gives")
