"""What this process is at within its work: epoch 3 of 50, the dataset that it loads, a compiler that it waits for.

Whoever works notes it, which costs setting an attribute, and another thread looks at it now and then. Nothing of it
enters a result.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """A step of the work, as it was when somebody looked.

    Attributes:
        what: what is counted, e.g. `epoch`; what is done where nothing is counted, e.g. `starting Ray`.
        done: how many are over, a started one as the part of it that is.
        total: how many there are; 0 where nothing is counted.
        seconds: since it was begun.
        left_s: seconds until its end at this rate; None before there is one.
    """

    what: str
    done: float = 0.0
    total: int = 0
    seconds: float = 0.0
    left_s: float | None = None

    def __str__(self) -> str:
        """`epoch 4 of 50` while three are over."""
        return f"{self.what} {min(int(self.done) + 1, self.total):,} of {self.total:,}" if self.total else self.what


class Going:
    """A step that goes on; `done` is set by whoever goes it."""

    def __init__(self, what: str, total: int, done: float) -> None:
        self.what, self.total, self.done, self.before = what, total, done, done
        self.began, self.aside_s = time.monotonic(), 0.0

    def look(self) -> Step:
        """The step as it is now."""
        seconds, gone = time.monotonic() - self.began, self.done - self.before
        worked = seconds - self.aside_s
        left = (self.total - self.done) * worked / gone if gone > 0 and worked > 0 else None
        return Step(self.what, self.done, self.total, seconds, left)


_SHORT_S = 1.0  # what is over sooner is not worth a word
_going: list[Going] = []  # the outermost first; a process works in one thread


@contextmanager
def step(what: str, total: int = 0, done: float = 0.0) -> Iterator[Going]:
    """A step of the work, within those that go on. `total`, `done`: see `Step`."""
    going = Going(what, total, done)
    _going.append(going)
    try:
        yield going
    finally:
        if going in _going:
            _going.remove(going)


@contextmanager
def aside(what: str) -> Iterator[None]:
    """The same for what comes once and says nothing of how fast the others are: a compiler's work."""
    with step(what) as going:
        try:
            yield
        finally:
            seconds = time.monotonic() - going.began
            for each in _going:
                each.aside_s += seconds


def steps() -> tuple[Step, ...]:
    """What this process is at, the outermost first; empty where nobody says. From any thread."""
    return tuple(step for going in list(_going) if (step := going.look()).seconds >= _SHORT_S)
