"""What is told of work while it goes on: how far a stage and the whole run are, and who works on what."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from padray.machine.activity import Step

UNITS = {
    "scores": "scoring network",
    "experts": "expert",
    "distill": "iteration",
    "evaluate": "cell",
    "search": "trial",
}  # what the stages count

_MANY = 100  # units of which the first, which waits for much else besides, tells nothing of the others


@dataclass(frozen=True)
class Running:
    """What a worker is at.

    Attributes:
        unit: the unit's id.
        node: where, as far as that is known.
        seconds: since it was begun.
        steps: how far it is within it, as far as that is known: the outermost first.
        is_unit: whether it is one of those that the stage counts; a set whose iterations are counted is none.
    """

    unit: str
    node: str = ""
    seconds: float = 0.0
    steps: tuple[Step, ...] = ()
    is_unit: bool = True

    @property
    def part(self) -> float:
        """How much of the unit is done, from 0 to 1."""
        counted = self._counted
        return min(counted.done / counted.total, 1.0) if counted and self.is_unit else 0.0

    @property
    def whole_s(self) -> float | None:
        """How long all of it takes, without what came before its steps; None where nothing says."""
        counted = self._counted
        return None if counted is None or counted.left_s is None else counted.seconds + counted.left_s

    @property
    def _counted(self) -> Step | None:
        return next((step for step in self.steps if step.total), None)


@dataclass(frozen=True)
class Workers:
    """Who works at the moment.

    Attributes:
        pending: workers that wait for a place to run.
        nodes: machines that have a worker of this run; 0 in one process, whose machine nobody needs to be told of.
        lost: units that were lost so far, and made again.
        driver: what the command's own process is at, where that is no worker: it starts Ray, it loads.
    """

    running: tuple[Running, ...] = ()
    pending: int = 0
    nodes: int = 0
    lost: int = 0
    driver: tuple[Step, ...] = ()

    def __add__(self, other: "Workers") -> "Workers":
        return Workers(
            self.running + other.running,
            self.pending + other.pending,
            self.nodes + other.nodes,
            self.lost + other.lost,
            self.driver or other.driver,
        )

    def summary(self) -> str:
        """For a line of progress; empty where work is not spread."""
        if not (self.pending or self.nodes or self.lost):
            return ""
        nodes = f"{self.nodes} node{'s' * (self.nodes != 1)}"
        return f"{len(self.running)} running, {self.pending} pending, {nodes}, {self.lost} lost"

    def rate(self) -> float | None:
        """Units a second by what those at work foretell of themselves; None where none does."""
        units = [each for each in self.running if each.is_unit]
        takes = [whole for each in units if (whole := each.whole_s) is not None]
        return len(units) * len(takes) / sum(takes) if sum(takes) > 0 else None

    def steps(self) -> str:
        """What the worker that is furthest within its unit is at, or the driver; empty where nobody knows."""
        if stepping := [each for each in self.running if each.steps]:
            first = max(stepping, key=lambda each: each.part)
            if first.is_unit:
                return f"{first.unit}: {said(first.steps)}"
            return said(tuple(step for step in first.steps if step.what != "iteration"))  # the stage counts those
        return said(self.driver)


@dataclass(frozen=True)
class Ahead:
    """The whole run.

    Attributes:
        over, to_come: its stages that are over, and those after the present ones.
        left_s: seconds until its end; None where nothing says.
    """

    over: tuple[str, ...] = ()
    to_come: tuple[str, ...] = ()
    left_s: float | None = None

    def __str__(self) -> str:
        """What is to come, and how long it takes; empty where nobody knows either."""
        left = "" if self.left_s is None else f"about {duration(self.left_s)} left"
        later = f"then {', '.join(self.to_come)}" if self.to_come else ""
        return "; ".join(filter(None, (later, left)))


@dataclass(frozen=True)
class Progress:
    """How far a stage is. `text` holds what is worth saying beside the numbers, e.g. the loss.

    Attributes:
        left_s: seconds until the stage's end; None where nothing says.
        ahead: the whole run, where there is more than this stage.
        ended: the unit that has just come to its end, and is counted in `done`.
    """

    stage: str
    done: int
    total: int
    text: str = ""
    workers: Workers = Workers()
    left_s: float | None = None
    ahead: Ahead = Ahead()
    ended: str = ""


Notify = Callable[[Progress], None]


@dataclass
class Watched:
    """A stage since it was first heard of, and how fast it is.

    Attributes:
        before: what was done then; parts of units count.
        first: when the first was over after that, and how much was done then: what only the first one takes (a
            compiler's work, say) tells nothing of the others.
        over: when it came to its end.
    """

    last: Progress
    began: float = field(default_factory=lambda: time.monotonic())
    before: float = 0.0
    first: tuple[float, float] | None = None
    over: float | None = None

    def hear(self, progress: Progress) -> None:
        """Note how far the stage is now."""
        self.last = progress
        if self.first is None and progress.done > self.before:
            self.first = time.monotonic(), self.done
        self.over = time.monotonic() if progress.done >= progress.total else None

    def seconds(self, now: float) -> float:
        """How long it has taken."""
        return (now if self.over is None else self.over) - self.began

    @property
    def part(self) -> float:
        """How much of the stage was done since then, from 0 to 1."""
        return (self.done - self.before) / self.last.total if self.last.total else 0.0

    @property
    def done(self) -> float:
        """How many are done, with what is done of those that are made."""
        others = (each.part for each in self.last.workers.running if each.unit != self.last.ended)
        return min(self.last.total, self.last.done + sum(others))

    def rate(self, now: float) -> float | None:
        """How many a second; None before anything is done, or where all that is done is the first of many."""
        done = self.done
        if self.first is not None and self._tells_without_first(self.first, now):
            gone, seconds = done - self.first[1], now - self.first[0]
        elif self.first is None and (foretold := self.last.workers.rate()) is not None:
            return foretold
        elif self.last.total >= _MANY and done - self.before <= 1:
            return None
        else:
            gone, seconds = done - self.before, now - self.began
        return gone / seconds if gone > 0 and seconds > 0 else None

    def _tells_without_first(self, first: tuple[float, float], now: float) -> bool:
        """Whether what was done after the first says how fast the stage is.

        What is made beside it comes to its end at about the same time, and tells that only once as long has passed.
        """
        then, done = first
        side_by_side = sum(each.is_unit for each in self.last.workers.running) > 1
        waited = now - then >= then - self.began if side_by_side else now > then
        return waited and self.done - done >= done - self.before

    def steady_s(self, now: float) -> float | None:
        """What is done would have taken so long at this rate, without what only the first one takes."""
        rate = self.rate(now if self.over is None else self.over)
        return None if rate is None else (self.done - self.before) / rate

    def left_s(self, now: float) -> float | None:
        """Seconds until the end at this rate."""
        rate = self.rate(now)
        return None if rate is None else max(0.0, (self.last.total - self.done) / rate)


def duration(seconds: float) -> str:
    """`3 min`, in the largest unit of which there are two."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def said(steps: tuple[Step, ...]) -> str:
    """`epoch 4 of 50, 3 min left`; empty if there are none."""
    if not steps:
        return ""
    left = next((step.left_s for step in steps if step.left_s is not None), None)
    return ": ".join(map(str, steps)) + (f", {duration(left)} left" if left is not None else "")
