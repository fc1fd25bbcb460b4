"""How far the work in a storage root is, and what it has taken.

Read from the storage alone, so that any machine that sees it can ask: its objects, the events table, and the signs of
life of what runs (heartbeat.py).
"""

from collections.abc import Collection
from dataclasses import dataclass, is_dataclass, replace
from typing import Any, Literal

from pydantic import TypeAdapter

from padray.fingerprint import stage_of
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


@dataclass(frozen=True, kw_only=True)
class Run(Sign):
    """A command that runs, or one that came to an end before its work did, and where it stands.

    Attributes:
        state: running; stopped, which says why; silent: killed, or its machine is gone or does not reach the storage.
        age_s: of its last sign.
    """

    state: Literal["running", "stopped", "silent"]
    age_s: float


@dataclass(frozen=True)
class Unfinished:
    """An artefact without a manifest: its objects by kind, the furthest of them, and seconds since it was added to."""

    artifact: str
    stage: str
    objects: dict[str, int]
    last: str
    idle_s: float


@dataclass
class Taken:
    """What a stage has taken so far: units, their seconds, those that were lost, and how many hosts made them."""

    stage: str
    units: int = 0
    seconds: float = 0.0
    lost: int = 0
    hosts: int = 0


@dataclass(frozen=True)
class Status:
    """What runs, how many artefacts are finished, which are not, the one last written first, and what stages took."""

    storage: str
    runs: list[Run]
    finished: int
    unfinished: list[Unfinished]
    stages: list[Taken]


def status_of(location: Location) -> Status:
    """How far the work in a storage root is.

    Raises:
        InputError: the root holds no storage of padray.
    """
    check_root(location)
    artefacts = folders(location)
    unfinished = [
        _unfinished(location, path, keys) for path, keys in artefacts.items() if f"{path}/{MANIFEST}" not in keys
    ]
    runs = [_run(sign, age) for sign, age in heartbeat.signs(location)]
    waiting = sorted(unfinished, key=lambda line: line.idle_s)
    return Status(location.uri, runs, len(artefacts) - len(unfinished), waiting, _taken(location))


def _run(sign: Sign, age: float) -> Run:
    state: Literal["running", "stopped", "silent"] = "running" if age < heartbeat.SILENT_S else "silent"
    return Run(**vars(_printable(sign)), state="stopped" if sign.end else state, age_s=age)


def _printable(value: Any) -> Any:
    """The same with texts that a line can hold, whoever wrote them."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: _printable(part) for name, part in vars(value).items()})
    if isinstance(value, tuple):
        return tuple(_printable(part) for part in value)
    return shown(value, _LONGEST) if isinstance(value, str) else value


def _unfinished(location: Location, path: str, keys: Collection[str]) -> Unfinished:
    names = [split_key(key)[0] for key in keys if split_key(key)[1]]
    kinds: dict[str, int] = {}
    for name in names:
        kind = name.rsplit("-", 1)[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    ages = [age for key in keys if (age := _age(location, key)) is not None]
    stage, last = stage_of(path), max(names, key=_how_far, default="")
    return Unfinished(path, stage, kinds, last, min(ages, default=0.0))


def _how_far(name: str) -> tuple[bool, str]:
    """An object's place among those of unfinished work: a checkpoint is further than the history that it goes with."""
    return name.startswith("checkpoint-"), name


def _age(location: Location, key: str) -> float | None:
    try:
        return max(0.0, location.age(key))
    except MissingError:  # removed just now
        return None


def _taken(location: Location) -> list[Taken]:
    """What each stage has taken, in the order of the stages."""
    stages: dict[str, Taken] = {}
    hosts: dict[str, set[str]] = {}
    for event in read_events(location, _EVENT):
        line = stages.setdefault(event.stage, Taken(event.stage))
        if event.event == "finished":
            line.units += 1
            line.seconds += event.seconds
            hosts.setdefault(event.stage, set()).add(event.host)
        line.lost += event.event == "lost"
    return [replace(line, hosts=len(hosts.get(stage, ()))) for stage, line in stages.items()]
