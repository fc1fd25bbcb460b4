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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from padray.errors import InputError, Interrupted, WorkError
from padray.machine.activity import Step
from padray.stages.progress import Ahead, Notify, Progress, Watched, Workers
from padray.store.location import Location, MissingError
from padray.store.records import MOST_RECORD
from padray.store.roots import RUNNING
from padray.store.untrusted import parse_json

if TYPE_CHECKING:
    from padray.stages.base import Runner  # which imports PyTorch; `padray status` does not
    from padray.stages.outlook import Course

CourseOf = Callable[[], "Course | None"]
TICK_S = 1.0
CHANGED_S, SAME_S = 5.0, 30.0  # between two writes where something has changed, and where nothing has
SILENT_S = 2.5 * SAME_S  # without a sign, and a run counts as one that was killed
_OLD_S = 7 * 86400.0
_LONG_S = 20.0  # and a run is one whose end is worth foretelling
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
    """A worker: its unit, its machine, the seconds that it has been at it, and how far it is within it."""

    unit: str
    node: str
    seconds: float
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Sign:
    """What the object holds.

    Attributes:
        run: the settings' name, or the sets' or the study's.
        seconds: since the command began.
        end: why it ended; empty while it goes on.
        running: who works on what; no more than `_MOST_SHOWN`, of `workers`.
        summary: how many run and wait, on how many nodes, where work is spread.
        ahead: what of the run is to come, and how long that takes.
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
    ahead: Ahead = field(default_factory=Ahead)


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
def beating(
    command: Command, location: Location, runner: "Runner", notify: Notify, course: CourseOf = lambda: None
) -> Iterator[Notify]:
    """Signs of life for as long as a command goes on; gives the listener that hears how far it is.

    Args:
        notify: who hears of it besides.
        course: the chain that the command carries out, once that is known.
    """
    heart = _Heart(command, location, runner, notify)
    heart.course = course
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


def _stage(watched: Watched, now: float) -> Stage:
    last = watched.last
    about = last.stage, last.done, last.total, now - watched.began
    return Stage(*about, watched.rate(now), watched.left_s(now), last.text)


class _Heart:
    def __init__(self, command: Command, location: Location, runner: "Runner", notify: Notify) -> None:
        self.command, self.location, self.runner, self.notify = command, location, runner, notify
        self.key = f"{RUNNING}/{command.digest}-{secrets.token_hex(4)}.json"
        self.began = time.monotonic()
        self.stages: dict[str, Watched] = {}
        self.course: CourseOf = lambda: None
        self.counted: Course | None = None  # the same, once its work was counted
        self.slots = 1  # units that were made side by side
        self.current: Progress | None = None
        self.shown, self.asked = "", (0.0, Workers())
        self.over, self.end, self.wrote = threading.Event(), "", False

    def hear(self, progress: Progress) -> None:
        """Note how far a stage is, and pass it on with who works on it."""
        if progress.stage not in self.stages:  # who worked on the one before is over
            self.asked = (0.0, Workers())
        current = replace(progress, workers=self._workers())
        if progress.stage != "machines":  # that is a remark, and no stage
            watched = self.stages.setdefault(progress.stage, Watched(current, before=progress.done))
            watched.hear(current)
            self._count(self.course())
            self.current = current = self._timed(watched)
        self._pass_on(current)

    def _timed(self, watched: Watched) -> Progress:
        """A stage with what is left of it and of the run."""
        now, course = time.monotonic(), self.course()
        self.slots = max(self.slots, sum(each.is_unit for each in watched.last.workers.running))
        stage = watched.last.stage
        ahead = course.ahead(stage) if course else Ahead()
        if course and course is self.counted:
            ahead = replace(ahead, left_s=course.left_s(stage, self.stages, self.slots, now))
        return replace(watched.last, left_s=watched.left_s(now), ahead=ahead)

    def _count(self, course: "Course | None") -> None:
        """Count a long run's work: a short one is over before anybody asks how long it takes.

        Not by the thread that writes: at the end of the process it may be stopped wherever it is, and PyTorch ends that
        process with an error if that is within its own code.
        """
        if course and course is not self.counted and time.monotonic() - self.began > _LONG_S:
            course.count()
            self.counted = course

    def _pass_on(self, progress: Progress) -> None:
        self.shown = _of_workers(progress.workers)
        self.notify(progress)

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
        """Say that other workers run or wait, or are further, than when something was last said."""
        current, workers = self.current, self._workers()
        if _of_workers(workers) == self.shown:
            return
        if current is None:
            self._pass_on(Progress("machines", int(not workers.steps()), 1, workers=workers))
        elif current.done < current.total:
            watched = self.stages[current.stage]
            watched.last = replace(watched.last, workers=workers)
            self._pass_on(self._timed(watched))

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
        stages = tuple(_stage(watched, now) for watched in list(self.stages.values()))
        shown = workers.running[:_MOST_SHOWN]
        running = tuple(AtWork(each.unit, each.node, each.seconds, each.steps) for each in shown)
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
            self.current.ahead if self.current else Ahead(),
        )
        return json.dumps(asdict(sign)).encode()


def _of_workers(workers: Workers) -> str:
    """What is said of workers on a line of progress."""
    return f"{workers.summary()} {workers.steps()}"


def _without_clock(content: bytes) -> str:
    """What is to be told again once it changes: seconds alone are no news."""
    sign = json.loads(content)
    stages = [[stage["stage"], stage["done"], stage["text"]] for stage in sign["stages"]]
    running = [
        [each["unit"], each["node"], [[step["what"], int(step["done"])] for step in each["steps"]]]
        for each in sign["running"]
    ]
    return json.dumps([stages, running, sign["summary"]])


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
