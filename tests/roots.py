"""Storage roots of both kinds, a folder and a bucket; the tiny chain in them; and what is right about a root."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from padray.commandline import commands
from padray.operations import upkeep
from padray.stages import pipeline
from padray.stages.base import Context
from padray.store.location import Location
from padray.store.opening import open_location

KINDS = ("folder", pytest.param("bucket", marks=pytest.mark.s3))
NewRoot = Callable[[], str]


@pytest.fixture(params=KINDS)
def new_root(request: pytest.FixtureRequest, tmp_path: Path) -> NewRoot:
    """Each call names a root that nobody has used: in a folder, or in a bucket."""
    if request.param == "bucket":
        root: NewRoot = request.getfixturevalue("s3").root
        return root
    numbers = iter(range(1000))
    return lambda: str(tmp_path / f"root-{next(numbers)}")


def chain(settings: Path, location: Location | str, *overrides: str, until: str = "evaluate") -> Context:
    """Run the chain in this process."""
    request = commands.Request(overrides, str(settings.parent / "unused"), "inline")
    context = commands.context(str(settings), request)
    context.location = open_location(location) if isinstance(location, str) else location
    pipeline.run(context, until)
    return context


def stored(root: str) -> dict[str, bytes]:
    """Everything in a root but what holds times: the records of what runs did and do, and their pictures."""
    location = open_location(root)
    aside = ("events/", "running/", "tensorboard/")
    return {key: location.get(key) for key in location.keys("") if not key.startswith(aside)}


def different(here: dict[str, bytes], there: dict[str, bytes]) -> list[str]:
    """The keys that are in one only, or hold other bytes."""
    return sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))


def units(root: str) -> list[str]:
    """The units that were made, as often as the events tell it."""
    location = open_location(root)
    lines = [line for key in location.keys("events") for line in location.get(key).splitlines()]
    events = [json.loads(line) for line in lines]
    return [f"{event['fingerprint'][:12]}/{event['unit']}" for event in events if event["event"] == "finished"]


def inspect(root: str, repair: bool = False) -> dict[str, str]:
    """What `padray verify` finds, kind by key; what it repairs is gone afterwards."""
    inspection = upkeep.verify(open_location(root), None, "0s" if repair else None, lambda progress: None)
    if repair:
        upkeep.repair(inspection)
    return {line.finding.key: line.finding.kind for line in inspection.lines}
