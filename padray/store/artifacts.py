"""Artefacts: a folder of content-addressed objects and, written last, the manifest that lists them.

An object's key ends in the first 12 digits of its SHA-256 and is never overwritten. `manifest.json` is the only
key that is ever replaced. Without it a folder is unfinished work, whose objects the next run takes up.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, get_origin, get_type_hints

from padray.errors import InputError
from padray.store.cache import read_checked
from padray.store.location import LocalLocation, Location, MissingError, check_key

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
ROOMS = ("datasets", "scores", "experts", "distilled", "evaluations", "searches", "reports", "studies")
EVENTS = "events"  # what each run did; no artefact
_FOLDER = re.compile(r"^.+-[0-9a-f]{12}$")
_KEY = re.compile(r"^(?P<stem>.+)-(?P<hash>[0-9a-f]{12})\.(?P<suffix>[a-z]+)$")


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

    def put(self, stem: str, suffix: str, content: bytes, extra: dict[str, Any] | None = None) -> StoredObject:
        """Store an object under a key that carries its hash; the same content again is the same object."""
        sha256 = hashlib.sha256(content).hexdigest()
        key = f"{self.path}/{stem}-{sha256[:12]}.{suffix}"
        if not self._holds(key, content):
            self.location.put(key, content)
        return StoredObject(key, len(content), sha256, extra or {})

    def _holds(self, key: str, content: bytes) -> bool:
        try:
            return self.location.size(key) == len(content) and self.location.get(key) == content
        except MissingError:  # another command has removed it meanwhile
            return False

    def get(self, item: StoredObject) -> bytes:
        """Read an object whole. Raises InputError if its bytes are not those that the manifest vouches for."""
        content = read_checked(
            self.location, item.key, 0, -1, lambda content: hashlib.sha256(content).hexdigest() == item.sha256
        )
        if content is None:
            raise InputError(
                f"{item.key} in {self.location.uri} is damaged: `padray verify --repair`, then the same command again"
            )
        return bytes(content)  # no copy of what are bytes

    def keys(self, prefix: str = "") -> list[str]:
        """The keys of the objects here whose name starts with `prefix`, sorted."""
        keys = self.location.keys(self.path)
        return [key for key in keys if split_key(key)[1] and split_key(key)[0].startswith(prefix)]

    def loose(self, prefix: str = "") -> list[StoredObject]:
        """The valid objects here, listed or not, whose name starts with `prefix`.

        Torn ones are left out, and those that another command removes meanwhile.
        """
        found = []
        for key in self.keys(prefix):
            try:
                content = self.location.get(key)
            except MissingError:
                continue
            sha256 = hashlib.sha256(content).hexdigest()
            if sha256.startswith(split_key(key)[1]):
                found.append(StoredObject(key, len(content), sha256))
        return found

    def take(self, key: str) -> tuple[StoredObject, bytes] | None:
        """An object and its bytes, proven by its name alone; None if they are others, or it is gone."""
        try:
            content = self.location.get(key)
        except MissingError:
            return None
        sha256 = hashlib.sha256(content).hexdigest()
        return (StoredObject(key, len(content), sha256), content) if sha256.startswith(split_key(key)[1]) else None

    def manifest(self) -> Manifest | None:
        """The manifest, or None where the work is unfinished. Raises InputError if it cannot be this folder's."""
        key = f"{self.path}/manifest.json"
        try:
            content = self.location.get(key)
        except MissingError:
            return None
        manifest = parse_manifest(content, key)
        if manifest.fingerprint != self.fingerprint:
            raise InputError(f"{key} in {self.location.uri} belongs to another artefact; move that folder away")
        return manifest

    def require(self) -> Manifest:
        """The manifest of finished work. Raises InputError if there is none."""
        manifest = self.manifest()
        if manifest is None:
            raise InputError(f"{self.path} in {self.location.uri} is not finished; run the stage that makes it first")
        return manifest

    def commit(self, manifest: Manifest) -> None:
        """Publish: everything that the manifest lists is in place, so it is written now, last."""
        self.location.put(f"{self.path}/manifest.json", manifest.to_json())

    def delete(self) -> None:
        """Remove everything here, the manifest first, so that no reader takes a half-empty folder for finished."""
        self.location.delete(f"{self.path}/manifest.json")
        for key in self.location.keys(self.path):
            self.location.delete(key)


class NotAManifestError(InputError):
    """Bytes that no padray wrote as a manifest, or that were damaged since."""


def parse_manifest(content: bytes, key: str) -> Manifest:
    """A manifest from its bytes.

    Raises:
        NotAManifestError: it is damaged.
        InputError: it is hostile, or of a newer format.
    """
    try:
        tree = json.loads(content)
        version = tree.pop("format_version")
        if version > FORMAT_VERSION:
            raise InputError(f"{key} has format_version {version}; this padray reads up to {FORMAT_VERSION}: update it")
        manifest = Manifest(objects=tuple(StoredObject(**item) for item in tree.pop("objects")), **tree)
        _check_types(manifest, Manifest)
        for item in manifest.objects:
            _check_types(item, StoredObject)
        _check_inputs(manifest.inputs)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise NotAManifestError(f"{key} is not a manifest that padray wrote") from None
    try:
        for item in manifest.objects:
            check_key(item.key)
    except InputError as error:
        raise InputError(f"{key} cannot be trusted: {error}") from None
    return manifest


def _check_types(content: Any, model: type) -> None:
    """Raises TypeError if a field of a manifest, which anybody may have written, is of another type."""
    for name, kind in get_type_hints(model).items():
        if not isinstance(getattr(content, name), get_origin(kind) or kind):
            raise TypeError(name)


def _check_inputs(inputs: dict[str, Any]) -> None:
    """Raises TypeError if an input is not a fingerprint, or a list of fingerprints or numbers."""
    for value in inputs.values():
        if not isinstance(value, str) and not (
            isinstance(value, list) and all(isinstance(one, str | int) for one in value)
        ):
            raise TypeError("inputs")


def folders(location: Location) -> dict[str, list[str]]:
    """The keys of every artefact below a storage root, finished or not, by its folder.

    What neither has a manifest nor a name that ends in a fingerprint is somebody else's.
    """
    found: dict[str, list[str]] = {}
    for key in (key for room in ROOMS for key in location.keys(room)):
        parts = key.split("/")
        if len(parts) > 2:
            found.setdefault("/".join(parts[:2]), []).append(key)
    return {path: keys for path, keys in found.items() if _FOLDER.match(path) or f"{path}/{MANIFEST}" in keys}


def check_root(location: Location) -> None:
    """See that a root holds what padray keeps, or nothing yet. Raises InputError if it only holds other things."""
    if folders(location) or location.keys(EVENTS):
        return
    if isinstance(location, LocalLocation):  # without a walk through what may be a whole disk
        others = location.root.is_file() or (location.root.is_dir() and any(location.root.iterdir()))
    else:
        others = bool(location.keys(""))
    if others:
        raise InputError(f"{location.uri} is no storage of padray: --storage names the folder that a run was given")


def read_manifests(location: Location) -> list[tuple[str, Manifest | InputError]]:
    """Every artefact with a manifest below a storage root; where that cannot be read, the error in its place."""
    found: list[tuple[str, Manifest | InputError]] = []
    for path, keys in folders(location).items():
        key = f"{path}/{MANIFEST}"
        if key in keys:
            try:
                found.append((path, parse_manifest(location.get(key), key)))
            except InputError as error:
                found.append((path, error))
    return found


def all_manifests(location: Location) -> list[tuple[str, Manifest]]:
    """Every finished artefact below a storage root whose manifest can be read, as (folder, manifest)."""
    return [(path, manifest) for path, manifest in read_manifests(location) if isinstance(manifest, Manifest)]


def is_called(identifier: str, path: str, manifest: Manifest | InputError | None) -> bool:
    """Whether an identifier is the start of an artefact's folder, its name or its fingerprint."""
    names = [path, path.split("/", 1)[-1], path[-12:]]
    if isinstance(manifest, Manifest):
        names.append(manifest.fingerprint)
    return bool(identifier) and any(name.startswith(identifier) for name in names)
