"""Checkpoints of a distillation and the history that leads to them, stored beside the work while it goes on.

The history is cut into parts at fixed iterations, so no byte of what is left depends on when checkpoints were stored.
A part is stored before the checkpoint that names it, and what came after the last cut lies in the checkpoint itself;
so whoever finds a checkpoint finds its history.
"""

import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from padray.errors import InputError
from padray.machine.numerics import Numerics
from padray.methods import state as states
from padray.methods.method import Metrics
from padray.methods.state import State
from padray.stages import frames, stored
from padray.store.artifacts import Folder, StoredObject, split_key
from padray.store.crash import crash_point

CUT = 1000  # iterations of a part of the history
_KEEP = 2  # the newest may be the one that is torn
_SHARE = 0.02  # of the cores' time that storing may take
_NAME = re.compile(r"checkpoint-([0-9]+)")


@dataclass(frozen=True)
class Checkpoint:
    """A state to go on from, its own object, the numerics to go on with, and the history up to it.

    Attributes:
        parts: the history up to the last cut.
        recent: the metrics of the iterations since then.
    """

    state: State
    item: StoredObject
    numerics: dict[str, Any]
    parts: tuple[StoredObject, ...]
    recent: tuple[Metrics, ...]


@dataclass(frozen=True)
class _Facts:
    """What a checkpoint's header says besides its state; an earlier format had its whole history in parts."""

    fingerprint: str
    numerics: dict[str, Any]
    history: tuple[StoredObject, ...]
    recent: tuple[dict[str, Any], ...] = ()


_FACTS = TypeAdapter(_Facts)


def newest(folder: Folder, until: int) -> Checkpoint | None:
    """The valid checkpoint with the most iterations, at most `until`; None if there is none.

    Raises:
        InputError: an object has a checkpoint's name and hash, but is none, or none of this distillation.
    """
    for key in reversed(_keys(folder, until)):
        if stored := _read(folder, key):
            return stored
    return None


def reached(folder: Folder, until: int) -> int:
    """The most iterations, at most `until`, that a checkpoint has by its name; 0 if there is none. Reads no object."""
    return max((_iterations(key) for key in _keys(folder, until)), default=0)


def kept_state(folder: Folder, until: int) -> str:
    """What an interrupted distillation has left, in a sentence."""
    if kept := reached(folder, until):
        return (
            f"interrupted; the state after {kept} of {until} iterations is kept, and the same command goes on from it"
        )
    return "interrupted before an iteration was kept; all finished units are, and the same command goes on from there"


def _read(folder: Folder, key: str) -> Checkpoint | None:
    """A checkpoint; None if it is torn or gone (another command has gone further), or lacks some of its history."""
    taken = folder.take(key)
    if taken is None:
        return None
    item, content = taken
    try:
        state, header = states.decode(content)
        facts = _FACTS.validate_python(header)
        if not all(type(row.get("iteration")) is int for row in facts.recent):
            raise InputError("this file is not a checkpoint that padray wrote")
    except InputError as error:
        raise InputError(f"{key} in {folder.location.uri}: {error}") from None
    except ValidationError:
        raise InputError(f"{key} in {folder.location.uri} is not a checkpoint that padray wrote") from None
    if facts.fingerprint != folder.fingerprint:
        raise InputError(f"{key} belongs to another distillation; move that folder away")
    if any(folder.location.size(part.key) != part.size for part in facts.history):
        return None
    return Checkpoint(state, item, facts.numerics, facts.history, facts.recent)


def _iterations(name: str) -> int:
    """The iterations of a checkpoint by its name or key; -1 for what is none."""
    match = _NAME.fullmatch(split_key(name)[0])
    return int(match[1]) if match else -1


def _keys(folder: Folder, until: int) -> list[str]:
    """The checkpoints up to `until`, those with the fewest iterations first."""
    keys = [key for key in folder.keys("checkpoint-") if 0 <= _iterations(key) <= until]
    return sorted(keys, key=lambda key: (_iterations(key), key))


def is_passed(item: StoredObject, until: int) -> bool:
    """Whether an object is a checkpoint at or below `until`, which a newer one replaces."""
    return 0 <= _iterations(item.key) <= until


def prune(folder: Folder, until: int, keep: int = _KEEP) -> None:
    """Delete the checkpoints up to `until`, but the `keep` newest ones and those that the manifest lists.

    Later ones belong to a longer run of the same distillation, which may want to go on from them.
    """
    manifest = folder.manifest()
    listed = {item.key for item in manifest.objects} if manifest else set()
    earlier = _keys(folder, until)
    for key in earlier[: max(0, len(earlier) - keep)]:
        if key not in listed:
            folder.location.delete(key)


def put_tail(folder: Folder, last: Checkpoint, until: int) -> list[StoredObject]:
    """Store what a checkpoint tells of the iterations below `until` as a part of its own; none if it tells nothing."""
    rows = [row for row in last.recent if row["iteration"] < until]
    return [_put_part(folder, rows)] if rows else []


def _put_part(folder: Folder, rows: Sequence[Metrics]) -> StoredObject:
    keys = sorted({key for row in rows for key in row})
    columns = {key: [row.get(key) for row in rows] for key in keys}
    stem = f"history-{rows[0]['iteration']:06d}-{rows[-1]['iteration']:06d}"
    return folder.put(stem, "parquet", stored.encode_table(columns))


def _up_to_cut(rows: Sequence[Metrics]) -> Sequence[Metrics]:
    """The rows that fill a part; none while they do not reach its end."""
    end = CUT * (rows[0]["iteration"] // CUT + 1) if rows else 0
    return [row for row in rows if row["iteration"] < end] if rows and rows[-1]["iteration"] >= end - 1 else []


class Rhythm:
    """When the next state is due: a kill shall cost at most `seconds`, and storing at most 2 % of the cores' time.

    Storing goes on beside the work, so what it takes from the work is the time of a core, not its own duration.
    Where the two cannot both be had, the second one counts.
    """

    def __init__(self, seconds: float, now: float) -> None:
        self.seconds, self.pause, self.cores = seconds, seconds, len(os.sched_getaffinity(0))
        self.taken = self.asked = now

    def is_due(self, now: float) -> bool:
        """Asked after every iteration: whether after one more like the last it would be too late."""
        iteration, self.asked = now - self.asked, now
        return now + iteration - self.taken > self.pause

    def took(self, seconds: float, core_seconds: float) -> None:
        """Learn from what was stored: until then, a kill would have cost its time too."""
        self.pause = max(self.seconds - seconds, core_seconds / (_SHARE * self.cores))


class CheckpointWriter:
    """What a distillation leaves while it runs. A thread of its own stores it, one state at a time.

    States are never changed once they are made, so the work goes on from one that is being stored.
    """

    def __init__(self, folder: Folder, numerics: Numerics, resumed: Checkpoint | None, seconds: float) -> None:
        self.folder, self.numerics = folder, numerics
        self.parts = list(resumed.parts) if resumed else []
        self.recent = list(resumed.recent) if resumed else []
        self.stored = resumed.state.iteration if resumed else 0
        self.frames: list[tuple[int, bytes]] = []
        self.rhythm = Rhythm(seconds, time.monotonic())
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="padray-checkpoint")
        self.writing: Future[None] | None = None

    def note(self, metrics: Metrics) -> None:
        """Note an iteration; it is stored with the states that follow it."""
        self.recent.append(metrics)

    def show(self, state: State, ipc: int) -> None:
        """Note what a state looks like, if its iteration is one of those that a report shows; stored as metrics are."""
        if frames.is_shown(state.iteration):
            self.frames.append((state.iteration, frames.encode(state.candidate, ipc)))

    def offer(self, state: State) -> None:
        """Begin to store a state if one is due and the one before is stored. Raises what befell that one."""
        if not self.rhythm.seconds:
            return self.store(state)
        due = self.rhythm.is_due(time.monotonic())
        if self.writing is not None and self.writing.done():
            written, self.writing = self.writing, None
            written.result()
        if due and self.writing is None:
            self.rhythm.taken = self.rhythm.asked
            self.writing = self.writer.submit(self._write, state)
        return None

    def store(self, state: State) -> None:
        """Store a state, and come back when that is done. From whatever thread."""
        self.writer.submit(self._write, state).result()

    def _write(self, state: State) -> None:
        """Store the parts of the history that are full, then the state with the rest of it."""
        if state.iteration <= self.stored:
            return
        began, busy = time.monotonic(), time.thread_time()
        rows: Sequence[Metrics] = [row for row in self.recent if row["iteration"] < state.iteration]
        while part := _up_to_cut(rows):
            self.parts.append(_put_part(self.folder, part))
            rows = rows[len(part) :]
            del self.recent[: len(part)]  # in place, for the work may add to it just now
        while self.frames and self.frames[0][0] <= state.iteration:
            frames.put(self.folder, *self.frames[0])
            del self.frames[0]
        facts = {
            "fingerprint": self.folder.fingerprint,
            "numerics": self.numerics.record(),
            "history": [asdict(part) for part in self.parts],
            "recent": rows,
        }
        self.folder.put(f"checkpoint-{state.iteration:06d}", "safetensors", states.encode(state, facts))
        self.stored = state.iteration
        prune(self.folder, state.iteration)
        self.rhythm.took(time.monotonic() - began, time.thread_time() - busy)
        crash_point("distill", "checkpoint", state.iteration)
