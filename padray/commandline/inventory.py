"""The commands about what is stored: what there is, how far it is, whether it is right, and how many bytes it takes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from padray.commandline.console import Console
from padray.commandline.results import Artifact, ArtifactLine, BrokenLine, Listing, ObjectLine
from padray.config import StorageSettings
from padray.errors import InputError
from padray.store.artifacts import Manifest
from padray.store.location import Location
from padray.store.opening import open_location
from padray.store.roots import check_root, read_manifests, the_one

if TYPE_CHECKING:
    from padray.operations.status import Status
    from padray.operations.upkeep import Removed, Verified
    from padray.operations.usage import Usage

DEFAULT_ROOT = StorageSettings().root


def existing(storage: str | None) -> Location:
    """The storage of a command that reads no settings. Raises InputError if it cannot be used."""
    return open_location(DEFAULT_ROOT if storage is None else storage)


def list_artifacts(storage: str | None) -> Listing:
    """One line for every artefact with a manifest."""
    location = existing(storage)
    check_root(location)
    read = list(read_manifests(location))
    lines = _lines(location, read)
    return Listing(
        [
            BrokenLine(folder, str(manifest)) if isinstance(manifest, InputError) else lines[folder]
            for folder, manifest in read
        ]
    )


def _lines(location: Location, read: Sequence[tuple[str, Manifest | InputError]]) -> dict[str, ArtifactLine]:
    """A line for each artefact whose manifest can be read, by its folder."""
    from padray.operations.reached import reached, seconds_of

    known = {folder: manifest for folder, manifest in read if isinstance(manifest, Manifest)}
    lines = {}
    for (folder, manifest), of in zip(known.items(), reached(list(known.values()), seconds_of(location)), strict=True):
        config, size = str(manifest.settings.get("name", "")), sum(item.size for item in manifest.objects)
        about = of.ipc, of.seconds, folder, manifest.stage, config, len(manifest.objects), size
        reach = of.accuracy
        mean, std, networks = (reach.mean, reach.std, reach.networks) if reach else (None, None, 0)
        lines[folder] = ArtifactLine(mean, std, networks, *about, reach.metric if reach else None)
    return lines


def show_artifact(identifier: str, storage: str | None) -> Artifact:
    """One artefact's manifest, found by the start of its folder, its name or its fingerprint.

    Raises:
        InputError: none or several fit, or its manifest cannot be read.
    """
    location = existing(storage)
    check_root(location)
    read = list(read_manifests(location))
    folder, manifest = the_one(identifier, location, read)
    if isinstance(manifest, InputError):
        raise manifest
    return Artifact(
        **vars(_lines(location, read)[folder]),
        fingerprint=manifest.fingerprint,
        inputs=manifest.inputs,
        numerics=manifest.numerics,
        facts=manifest.facts,
        settings=manifest.settings,
        contents=[ObjectLine(item.key, item.size, item.sha256) for item in manifest.objects],
    )


def status(storage: str | None) -> "Status":
    """How far the work is and what it has taken."""
    from padray.operations.status import status_of

    return status_of(existing(storage))


def verify(
    identifier: str | None, repair: bool, older_than: str | None, storage: str | None, console: Console
) -> "Verified":
    """Check what is stored and print what is wrong; then, if asked, repair it."""
    from padray.operations import upkeep

    with console.progress() as notify:
        inspection = upkeep.verify(existing(storage), identifier, older_than, notify)
    console.findings(inspection.summary())
    if repair:
        upkeep.repair(inspection)
    return inspection.summary()


def remove(identifier: str, force: bool, storage: str | None) -> "Removed":
    """Remove an artefact."""
    from padray.operations import upkeep

    return upkeep.remove(existing(storage), identifier, force)


def usage(storage: str | None) -> "Usage":
    """Bytes of artefacts and stages."""
    from padray.operations import usage

    return usage.usage(existing(storage))
