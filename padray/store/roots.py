"""Storage roots: which artefacts lie in one, finished or not, and what they are called."""

import os
import re
from collections.abc import Iterable
from typing import TypeVar

from padray.errors import InputError
from padray.store.artifacts import MANIFEST, Manifest, read_manifest
from padray.store.location import LocalLocation, Location, MissingError

ROOMS = ("datasets", "scores", "keeplists", "experts", "distilled", "evaluations", "searches", "reports", "studies")
EVENTS = "events"  # what each run did
RUNNING = "running"  # what each run is at, while it goes on
TENSORBOARD = "tensorboard"  # what TensorBoard shows of it
ASIDE = (EVENTS, RUNNING, TENSORBOARD)  # no artefacts, and nothing that any is made from
UNFINISHED, POSITION = "unfinished", "position-"  # in an artefact: where units stand that were begun, and their names
T = TypeVar("T", bound=Manifest | InputError | None)
_FOLDER = re.compile(r"^.+-[0-9a-f]{12}$")


def folders(location: Location) -> dict[str, dict[str, int]]:
    """Every artefact below a storage root, finished or not: the keys in it with their bytes, by its folder.

    What neither has a manifest nor a name that ends in a fingerprint is somebody else's.
    """
    artefacts: dict[str, dict[str, int]] = {}
    for key, size in ((key, size) for room in ROOMS for key, size in location.sizes(room).items()):
        parts = key.split("/")
        if len(parts) > 2:
            artefacts.setdefault("/".join(parts[:2]), {})[key] = size
    return {path: keys for path, keys in artefacts.items() if _FOLDER.match(path) or f"{path}/{MANIFEST}" in keys}


def check_root(location: Location) -> None:
    """See that a root holds what padray keeps, or nothing yet. Raises InputError if it only holds other things."""
    if _holds_ours(location):
        return
    others = _holds_others(location) if isinstance(location, LocalLocation) else bool(location.keys(""))
    if others and not _holds_ours(location):  # asked again: a run may have begun in between
        raise InputError(f"{location.uri} is no storage of padray: --storage names the folder that a run was given")


def _holds_ours(location: Location) -> bool:
    return bool(folders(location)) or any(location.keys(room) for room in ASIDE)


def _holds_others(location: LocalLocation) -> bool:
    """Whether a place holds anything, or is no folder; without a walk through what may be a whole disk.

    Rooms without an object are those of a run that has only just begun.
    """
    try:
        with os.scandir(location.root) as entries:
            return any(entry.name not in (*ROOMS, *ASIDE) or bool(location.sizes(entry.name)) for entry in entries)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    except OSError as error:
        raise InputError(f"the storage {location.root} cannot be read: {error.strerror}") from None


def read_manifests(location: Location) -> list[tuple[str, Manifest | InputError]]:
    """Every artefact with a manifest below a storage root; where that cannot be read, the error in its place."""
    manifests: list[tuple[str, Manifest | InputError]] = []
    for path, keys in folders(location).items():
        key = f"{path}/{MANIFEST}"
        if key in keys:
            try:
                manifests.append((path, read_manifest(location, key)))
            except MissingError:  # removed just now
                continue
            except InputError as error:
                manifests.append((path, error))
    return manifests


def all_manifests(location: Location) -> list[tuple[str, Manifest]]:
    """Every finished artefact below a storage root whose manifest can be read, as (folder, manifest)."""
    return [(path, manifest) for path, manifest in read_manifests(location) if isinstance(manifest, Manifest)]


def is_called(identifier: str, path: str, manifest: Manifest | InputError | None) -> bool:
    """Whether an identifier is the start of an artefact's folder, its name or its fingerprint."""
    names = [path, path.split("/", 1)[-1], path[-12:]]
    if isinstance(manifest, Manifest):
        names.append(manifest.fingerprint)
    return bool(identifier) and any(name.startswith(identifier) for name in names)  # nothing fits everything


def the_one(
    identifier: str, location: Location, among: Iterable[tuple[str, T]], listing: str = "padray ls"
) -> tuple[str, T]:
    """Of some artefacts the one that an identifier fits: its folder, and its manifest as it was given.

    Args:
        listing: the command that lists them.

    Raises:
        InputError: none or several fit.
    """
    fitting = [(path, manifest) for path, manifest in among if is_called(identifier, path, manifest)]
    if len(fitting) == 1:
        return fitting[0]
    folders = ", ".join(path for path, _ in fitting[:5])
    fits = f"{len(fitting)} artefacts fit ({folders})" if fitting else "nothing fits"
    raise InputError(f"{fits} {identifier!r} in {location.uri}; `{listing}` lists what is there")
