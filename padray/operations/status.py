"""How far the work in a storage root is, and what it has taken.

Read from the storage alone, so that any machine that sees it can ask: its objects, the events table, and the signs of
life of what runs (heartbeat.py).
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from padray.fingerprint import FOLDERS
from padray.machine.files import shown
from padray.operations import heartbeat
from padray.operations.heartbeat import Sign
from padray.store.artifacts import MANIFEST, split_key
from padray.store.location import Location, MissingError
from padray.store.records import read_events
from padray.store.roots import check_root, folders


@dataclass(frozen=True)
class _Event:
    """What is read of an event."""

    stage: str
    event: Literal["started", "finished", "lost"]
    seconds: float = 0.0
    host: str = ""


_EVENT = TypeAdapter(_Event)
_LONGEST = 500  # characters of a text in a sign of life
_STAGES = {room: stage for stage, room in FOLDERS.items()}


def status_of(location: Location) -> dict[str, Any]:
    """What `--json` prints: what runs, unfinished artefacts (the one last written first), what each stage has taken.

    Raises:
        InputError: the root holds no storage of padray.
    """
    check_root(location)
    found = folders(location)
    unfinished = [_unfinished(location, path, keys) for path, keys in found.items() if f"{path}/{MANIFEST}" not in keys]
    return {
        "storage": location.uri, "runs": [_run(sign, age) for sign, age in heartbeat.signs(location)],
        "finished": len(found) - len(unfinished),
        "unfinished": sorted(unfinished, key=lambda line: float(line["idle_s"])), "stages": _taken(location),
    }  # fmt: skip


def _run(sign: Sign, age: float) -> dict[str, Any]:
    """A command that runs, or one that came to an end before its work did, and where it stands.

    `silent` is one that was killed, or whose machine is gone or does not reach the storage: it says nothing any more.
    """
    state = "stopped" if sign.end else "running" if age < heartbeat.SILENT_S else "silent"
    return {**_printable(asdict(sign)), "state": state, "age_s": age}


def _printable(tree: Any) -> Any:
    """The same with texts that a line can hold, whoever wrote them."""
    if isinstance(tree, dict):
        return {key: _printable(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_printable(value) for value in tree]
    return shown(tree, _LONGEST) if isinstance(tree, str) else tree


def _unfinished(location: Location, path: str, keys: Collection[str]) -> dict[str, Any]:
    """What an artefact without a manifest has, by kind of object, and the seconds since something was added."""
    names = [split_key(key)[0] for key in keys if split_key(key)[1]]
    kinds: dict[str, int] = {}
    for name in names:
        kind = name.rsplit("-", 1)[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    ages = [age for key in keys if (age := _age(location, key)) is not None]
    return {
        "artifact": path, "stage": _STAGES.get(path.split("/")[0], path), "objects": kinds,
        "last": max(names, key=_how_far, default=""), "idle_s": min(ages, default=0.0),
    }  # fmt: skip


def _how_far(name: str) -> tuple[bool, str]:
    """An object's place among those of unfinished work: a checkpoint is further than the history that it goes with."""
    return name.startswith("checkpoint-"), name


def _age(location: Location, key: str) -> float | None:
    try:
        return max(0.0, location.age(key))
    except MissingError:  # removed just now
        return None


def _taken(location: Location) -> list[dict[str, Any]]:
    """Units, their seconds, and the hosts and losses of each stage, in the order of the stages."""
    stages: dict[str, dict[str, Any]] = {}
    for event in read_events(location, _EVENT):
        line = stages.setdefault(event.stage, {"units": 0, "seconds": 0.0, "lost": 0, "hosts": set()})
        if event.event == "finished":
            line["units"] += 1
            line["seconds"] += event.seconds
            line["hosts"].add(event.host)
        line["lost"] += event.event == "lost"
    return [{"stage": stage, **line, "hosts": len(line["hosts"])} for stage, line in stages.items()]
