"""Simulated time, and the two things that everybody waits for: the storage's bandwidth and the driver.

A heap of events is all that this needs. Of a library of processes and resources, the storage that many share alike
would still be ours to write, and that is the larger half.
"""

import heapq
import math
from collections.abc import Callable

Call = Callable[[], None]


class Event:
    """Something that is to happen, unless it is called off."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.is_off = False

    def cancel(self) -> None:
        self.is_off = True


class Clock:
    """Seconds since the start. What falls on one moment happens in the order in which it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Event]] = []
        self._asked = 0

    def after(self, seconds: float, call: Call) -> Event:
        """Let something happen in so many seconds."""
        return self.at(self.now + seconds, call)

    def at(self, time: float, call: Call) -> Event:
        event = Event(call)
        heapq.heappush(self._heap, (max(time, self.now), self._asked, event))
        self._asked += 1
        return event

    def run(self, is_over: Callable[[], bool]) -> None:
        """Go on until it is over, or until nothing is left to happen."""
        while self._heap and not is_over():
            time, _, event = heapq.heappop(self._heap)
            if not event.is_off:
                self.now = time
                event.call()


class Transfer:
    """Bytes on their way. `end`: the link's level at which they have arrived."""

    def __init__(self, end: float, call: Call) -> None:
        self.end, self.call = end, call
        self.is_off = False


class Link:
    """Storage: bytes per second that all transfers share alike, none of them faster than one machine's own link.

    Since all go at one pace, one level says how many bytes each has moved since the beginning; the next to arrive is
    the one with the lowest end.
    """

    def __init__(self, clock: Clock, total: float, each: float) -> None:
        self.clock, self.total, self.each = clock, total, each
        self.moved = 0.0  # bytes that have arrived
        self._heap: list[tuple[float, int, Transfer]] = []
        self._count = self._asked = 0
        self._level = self._at = 0.0
        self._next: Event | None = None

    def move(self, size: float, call: Call) -> Transfer:
        """Begin to move so many bytes; `call` is called when they have arrived."""
        self._advance()
        transfer = Transfer(self._level + size, call)
        self.moved += size
        if not size or math.isinf(self._pace(1)):
            self.clock.after(0.0, lambda: None if transfer.is_off else call())
            return transfer
        heapq.heappush(self._heap, (transfer.end, self._asked, transfer))
        self._asked += 1
        self._count += 1
        self._plan()
        return transfer

    def stop(self, transfer: Transfer) -> None:
        """Move no more of it."""
        if transfer.is_off:
            return
        transfer.is_off = True
        if any(held is transfer for _, _, held in self._heap):
            self._advance()
            self._heap = [item for item in self._heap if item[2] is not transfer]
            heapq.heapify(self._heap)
            self._count -= 1
            self._plan()

    def _pace(self, count: int) -> float:
        return min(self.each, self.total / count)

    def _advance(self) -> None:
        """Bring the level to this moment."""
        if self._count:
            self._level += self._pace(self._count) * (self.clock.now - self._at)
        self._at = self.clock.now

    def _plan(self) -> None:
        if self._next is not None:
            self._next.cancel()
        if self._heap:
            left = max(0.0, self._heap[0][0] - self._level)
            self._next = self.clock.after(left / self._pace(self._count), self._arrive)

    def _arrive(self) -> None:
        self._advance()
        _, _, transfer = heapq.heappop(self._heap)
        self._level = max(self._level, transfer.end)  # rounding must not leave it short of its end for ever
        self._count -= 1
        self._plan()
        transfer.is_off = True
        transfer.call()


class Driver:
    """The driver: it sees to one message after the other, each for so many seconds."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds
        self._free_at = 0.0

    def handle(self, call: Call) -> None:
        """Call once the driver has come to it."""
        self._free_at = max(self._free_at, self.clock.now) + self.seconds
        self.clock.at(self._free_at, call)
