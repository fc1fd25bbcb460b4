"""Seconds of units from the events table of the storage: what was measured is better than what is thought out."""

import statistics
from dataclasses import dataclass

from pydantic import TypeAdapter

from padray.planning.lines import Line, Pace
from padray.store.location import Location
from padray.store.records import read_events


@dataclass(frozen=True)
class Event:
    """What is read of an event. `iterations`: those that a distillation made in these seconds."""

    event: str
    unit: str = ""
    fingerprint: str = ""
    seconds: float = 0.0
    host: str = ""
    iterations: int | None = None


_EVENT = TypeAdapter(Event)


def read(location: Location) -> list[Event]:
    """The units that were finished. Raises InputError if somebody else wrote into the events table."""
    return [event for event in read_events(location, _EVENT) if event.event == "finished"]


def pace(line: Line, events: list[Event]) -> Pace | None:
    """The median of the units that are like this line's; None where none was ever finished."""
    wanted = line.evidence
    alike = [event for event in events if event.fingerprint in wanted.fingerprints and wanted.name in event.unit]
    iterations = line.amount("iteration")
    if iterations:
        timed = [e.seconds / e.iterations * iterations for e in alike if e.iterations]
    else:
        timed = [e.seconds for e in alike]
    if not timed:
        return None
    hosts = len({event.host for event in alike})
    return Pace(statistics.median(timed), f"{len(timed)} finished, on {hosts} host{'s' * (hosts > 1)}", tuple(timed))
