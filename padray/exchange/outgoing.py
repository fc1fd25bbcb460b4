"""Export: a stored set's files, put into a folder that is new or empty, all of them or none."""

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from padray.config import Config
from padray.configuration import loading
from padray.errors import InputError
from padray.exchange import measuring, reading
from padray.exchange.formats import Files, Outgoing
from padray.exchange.measuring import Measured
from padray.exchange.targets import files_of
from padray.machine.files import expanded, open_file, reason, shown
from padray.stages import stored
from padray.store.artifacts import Folder, Manifest
from padray.store.location import Location


@dataclass(frozen=True)
class Exported:
    """A set that was written as others read it; `reused` where its files were there already.

    Attributes:
        lost: what became of the learned values, where nobody measured what that costs; empty where all are kept.
    """

    exported: str
    layout: str
    destination: str
    files: list[str]
    sha256: str
    reused: bool
    install: str
    measured: Measured | None = None
    lost: str = ""


def export_set(
    location: Location, artefact: tuple[str, Manifest], layout: str, destination: str, measure: bool = False
) -> Exported:
    """Write a stored set in a layout.

    Args:
        artefact: the set's folder in the storage, and its manifest.
        measure: train the run's networks on what is written, too, to say what its 8 bits cost.

    Raises:
        InputError: the layout is unknown, or the destination holds other files or cannot be written.
    """
    path, manifest = artefact
    place = _place(destination)
    try:
        iterations = int(manifest.settings["distill"]["iterations"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}/manifest.json does not say how many iterations its set took") from None
    folder, item = Folder(location, path, manifest.fingerprint), stored.set_object(manifest, iterations)
    synthetic = stored.load_set(folder, iterations)
    config = _config(path, manifest)
    cost = measuring.measure(location, path, synthetic, layout) if measure else None
    files = files_of(Outgoing(synthetic, item.sha256, {"measured": asdict(cost)} if cost else {}), layout)
    install, lost = "", "" if cost else _lost(files, layout)
    if layout in reading.READERS:  # a layout that is added may be read by what nobody writes a program for
        files |= reading.companions(layout, config, synthetic, cost.sentence if cost else lost, files)
        install = reading.reader(layout, config, synthetic).install
    reused = put_all(files, place)
    return Exported(path, layout, destination, sorted(files), item.sha256, reused, install, cost, lost)


def _lost(files: Files, layout: str) -> str:
    """What the layout does not keep of the images, which costs accuracy; empty where it keeps all."""
    if layout not in measuring.PICTURES:
        return ""
    about = json.loads(files["metadata.json"])["images"]
    return f"The images: {about}. What that costs in accuracy was not measured; padray export --measure does."


def _config(path: str, manifest: Manifest) -> Config:
    """The settings of the run. Raises InputError where they no longer fit."""
    apart = {"name", "search", "storage", "cluster"}
    settings = {key: value for key, value in manifest.settings.items() if key not in apart}
    return loading.from_settings(settings, (), path)


def _place(destination: str) -> Path:
    """Where a destination is. Raises InputError if no folder can be there."""
    if not destination:
        raise InputError("DEST is empty; name a folder that is new or empty")
    try:
        place = expanded(destination, "DEST").resolve()
        place.exists()
    except (OSError, RuntimeError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise InputError(f"DEST {shown(destination)} cannot be a folder: {why}") from None
    return place


def put_all(files: Files, destination: Path) -> bool:
    """Write the files, or find that they are there already (True). Raises InputError where others are."""
    try:
        if destination.is_dir() and any(destination.iterdir()):
            if _holds(destination, files):
                return True
            raise InputError(f"{destination} holds other files; name a folder that is new or empty")
        if destination.exists() and not destination.is_dir():
            raise InputError(f"{destination} is a file; name a folder that is new or empty")
        _write(files, destination)
    except OSError as error:
        raise InputError(f"cannot write to {shown(destination)}: {reason(error)}") from None
    return False


def _holds(folder: Path, files: Files) -> bool:
    """Whether these files are there, with these bytes, and no others."""
    try:
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    except RecursionError:  # no files of ours lie so deep
        return False
    return there == set(files) and all(_is(folder / name, content) for name, content in files.items())


def _is(path: Path, content: bytes) -> bool:
    with open_file(path) as file:
        return file.read(len(content) + 1) == content


def _write(files: Files, destination: Path) -> None:
    """Into a folder beside it, which then takes its name, so that no half of a set is ever there."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    beside = destination.with_name(f".{destination.name}-{secrets.token_hex(8)}")
    try:
        for name, content in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.replace(beside, destination)
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # only there if something went wrong
