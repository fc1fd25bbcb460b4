"""How many bytes lie where."""

from dataclasses import dataclass

from padray.fingerprint import stage_of
from padray.store.artifacts import MANIFEST
from padray.store.location import Location
from padray.store.roots import ASIDE, check_root, folders


@dataclass(frozen=True)
class UsageLine:
    """An artefact, finished or not, or what lies aside of them all."""

    artifact: str
    stage: str
    objects: int
    bytes: int
    finished: bool


@dataclass(frozen=True)
class Usage:
    """Bytes of every artefact and stage, the largest first."""

    artifacts: list[UsageLine]
    stages: dict[str, int]
    total: int


def usage(location: Location) -> Usage:
    """What lies in a storage root. Raises InputError if that is none."""
    check_root(location)
    places = {**folders(location), **{room: location.sizes(room) for room in ASIDE}}
    lines = [_line(path, keys) for path, keys in places.items() if keys]
    stages: dict[str, int] = {}
    for line in lines:
        stages[line.stage] = stages.get(line.stage, 0) + line.bytes
    largest = dict(sorted(stages.items(), key=lambda item: -item[1]))
    ordered = sorted(lines, key=lambda line: (-stages[line.stage], line.stage, -line.bytes, line.artifact))
    return Usage(ordered, largest, sum(stages.values()))


def _line(path: str, keys: dict[str, int]) -> UsageLine:
    finished = path in ASIDE or f"{path}/{MANIFEST}" in keys
    return UsageLine(path, stage_of(path), len(keys), sum(keys.values()), finished)
