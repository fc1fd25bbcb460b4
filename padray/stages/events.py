"""The events table: one object of JSON lines for a run's part in a stage."""

import json
import time
from typing import Any

from padray.store.artifacts import Folder
from padray.store.location import Location
from padray.store.roots import EVENTS

_FLUSH_S = 30.0  # between two writes

Event = dict[str, Any]


class Recorder:
    """Adds a stage's events to the table while it goes on, so that a driver that dies takes few of them with it."""

    def __init__(self, location: Location, stage: str) -> None:
        self.location, self.stage = location, stage
        self.events: list[Event] = []
        self.flushed = time.monotonic()

    def add(self, events: list[Event]) -> None:
        self.events += events
        if time.monotonic() - self.flushed > _FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write what was not written yet."""
        events, self.events, self.flushed = self.events, [], time.monotonic()
        if events:
            record(self.location, self.stage, events)


def record(location: Location, stage: str, events: list[Event]) -> None:
    """Add to the events table."""
    lines = "".join(json.dumps(event, sort_keys=True) + "\n" for event in events)
    Folder(location, EVENTS, "").put(f"{stage}-{time.time_ns()}", "jsonl", lines.encode())
