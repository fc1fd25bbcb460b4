"""The sign of life of a command that computes: a small object in its storage that says how far it is.

It is written by a thread of its own, so that a unit of an hour is no silence, and seldom, since each is a request. It
is no artefact: nothing is made from it, `verify` does not look at it, and it goes when its command comes to its end.
What a command leaves that ended otherwise says where it stands, until the same command begins again.
"""

import contextlib
import hashlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from padray.errors import InputError, Interrupted, WorkError
from padray.stages.progress import Notify, Progress, Workers
from padray.store.location import Location, MissingError
from padray.store.records import MOST_RECORD
from padray.store.roots import RUNNING
from padray.store.untrusted import parse_json

if TYPE_CHECKING:
    from padray.stages.base import Runner  # which imports PyTorch; `padray status` does not

TICK_S = 1.0
CHANGED_S, SAME_S = 5.0, 30.0  # between two writes where something has changed, and where nothing has
SILENT_S = 2.5 * SAME_S  # without a sign, and a run counts as one that was killed
_OLD_S = 7 * 86400.0
_PATIENCE_S = 10.0  # with a storage that does not answer, when the command is over
_MOST_SHOWN = 200  # workers that are named


@dataclass(frozen=True)
class Stage:
    """How far a stage is.

    Attributes:
        seconds: since this run began it.
        rate: units, or iterations, a second, since then; None before the first.
        left_s: seconds until its end at this rate.
    """

    stage: str
    done: int
    total: int
    seconds: float
    rate: float | None
    left_s: float | None
    text: str


@dataclass(frozen=True)
class AtWork:
    """A worker: its unit, its machine, and the seconds that it has been at it."""

    unit: str
    node: str
    seconds: float


@dataclass(frozen=True)
class Sign:
    """What the object holds.

    Attributes:
        run: the settings' name, or the sets' or the study's.
        seconds: since the command began.
        end: why it ended; empty while it goes on.
        running: who works on what; no more than `_MOST_SHOWN`, of `workers`.
        summary: how many run and wait, on how many nodes, where work is spread.
    """

    run: str
    command: str
    host: str
    seconds: float
    end: str
    stages: tuple[Stage, ...]
    workers: int
    running: tuple[AtWork, ...]
    summary: str


_SIGN = TypeAdapter(Sign)


@dataclass(frozen=True)
class Command:
    """A command that computes: its name, what it works on, and whatever else tells it from others."""

    name: str
    run: str
    about: Sequence[Any] = ()

    @property
    def digest(self) -> str:
        """The same for the same command, typed again."""
        text = json.dumps([self.name, self.run, self.about], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@contextmanager
def beating(command: Command, location: Location, runner: "Runner", notify: Notify) -> Iterator[Notify]:
    """Signs of life for as long as a command goes on; gives the listener that hears how far it is.

    Args:
        notify: who hears of it besides.
    """
    heart = _Heart(command, location, runner, notify)
    thread = threading.Thread(target=heart.beat, name="padray-heartbeat", daemon=True)
    thread.start()
    try:
        yield heart.hear
    except BaseException as error:
        if not isinstance(error, InputError):  # that was refused, and nothing of it stands anywhere
            heart.end = _why(error)
        raise
    finally:
        heart.over.set()
        thread.join(_PATIENCE_S)


def _why(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt | Interrupted):
        return "interrupted"
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


@dataclass
class _Watched:
    """A stage since it was first heard of."""

    last: Progress
    began: float = field(default_factory=time.monotonic)
    before: int = 0

    def stage(self, now: float) -> Stage:
        seconds, units = now - self.began, self.last.done - self.before
        rate = units / seconds if units > 0 and seconds > 0 else None
        left = None if rate is None else (self.last.total - self.last.done) / rate
        return Stage(self.last.stage, self.last.done, self.last.total, seconds, rate, left, self.last.text)


class _Heart:
    def __init__(self, command: Command, location: Location, runner: "Runner", notify: Notify) -> None:
        self.command, self.location, self.runner, self.notify = command, location, runner, notify
        self.key = f"{RUNNING}/{command.digest}-{secrets.token_hex(4)}.json"
        self.began = time.monotonic()
        self.stages: dict[str, _Watched] = {}
        self.current: Progress | None = None
        self.shown, self.asked = "", (0.0, Workers())
        self.over, self.end, self.wrote = threading.Event(), "", False

    def hear(self, progress: Progress) -> None:
        """Note how far a stage is, and pass it on with who works on it."""
        current = replace(progress, workers=self._workers())
        if progress.stage != "machines":  # that is a remark, and no stage
            watched = self.stages.setdefault(progress.stage, _Watched(current, before=progress.done))
            watched.last = self.current = current
        self.shown = current.workers.summary()
        self.notify(current)

    def beat(self) -> None:
        """Write for as long as the command goes on, then what is left of it."""
        last, written, key = "", 0.0, self.key
        swept = False
        while not self.over.wait(TICK_S):
            self._tell()
            if not self.stages:
                continue
            content, now = self._content(), time.monotonic()
            same = _without_clock(content) == last
            if self.wrote and now - written < (SAME_S if same else CHANGED_S):
                continue
            with contextlib.suppress(InputError, WorkError):  # the work itself says what is wrong with the storage
                if not swept:
                    self._sweep()
                    swept = True
                self.location.put(key, content)
                last, written, self.wrote = _without_clock(content), now, True
        with contextlib.suppress(InputError, WorkError):
            if self.end and self.stages:
                self.location.put(key, self._content())
            elif self.wrote:
                self.location.delete(key)

    def _tell(self) -> None:
        """Say that other workers run or wait than when something was last said."""
        current, workers = self.current, self._workers()
        if current is not None and current.done < current.total and workers.summary() != self.shown:
            self.shown = workers.summary()
            self.notify(replace(current, workers=workers))

    def _workers(self) -> Workers:
        """Asked for no more often than they are told: there may be a thousand, and ten thousand units."""
        if time.monotonic() - self.asked[0] > TICK_S / 2:
            self.asked = time.monotonic(), self.runner.workers()
        return self.asked[1]

    def _sweep(self) -> None:
        """Remove what the same command has left that is over, and what anybody left long ago."""
        for key in self.location.keys(RUNNING):
            with contextlib.suppress(MissingError):
                age, same = self.location.age(key), key.startswith(f"{RUNNING}/{self.command.digest}-")
                if age > _OLD_S or (same and (age > SILENT_S or _read(self.location, key).end)):
                    self.location.delete(key)

    def _content(self) -> bytes:
        now, workers = time.monotonic(), self._workers()
        stages = tuple(watched.stage(now) for watched in list(self.stages.values()))
        running = tuple(AtWork(each.unit, each.node, each.seconds) for each in workers.running[:_MOST_SHOWN])
        sign = Sign(
            self.command.run,
            self.command.name,
            socket.gethostname(),
            now - self.began,
            self.end,
            stages,
            len(workers.running),
            () if self.end else running,
            "" if self.end else workers.summary(),
        )
        return json.dumps(asdict(sign)).encode()


def _without_clock(content: bytes) -> str:
    """What is to be told again once it changes: seconds alone are no news."""
    sign = json.loads(content)
    stages = [[stage["stage"], stage["done"], stage["text"]] for stage in sign["stages"]]
    return json.dumps([stages, [[each["unit"], each["node"]] for each in sign["running"]], sign["summary"]])


def _read(location: Location, key: str) -> Sign:
    content = location.get(key, MOST_RECORD + 1)
    try:
        if len(content) > MOST_RECORD:
            raise ValueError("size")
        return _SIGN.validate_python(parse_json(content))
    except ValueError:
        raise InputError(f"{key} in {location.uri} is not what padray writes there: delete it") from None


def signs(location: Location) -> list[tuple[Sign, float]]:
    """The signs of life in a storage and their ages in seconds, the youngest first.

    Raises InputError if somebody else wrote one.
    """
    read = []
    for key in location.keys(RUNNING):
        with contextlib.suppress(MissingError):  # its command has just come to its end
            read.append((_read(location, key), max(0.0, location.age(key))))
    return sorted(read, key=lambda each: each[1])
