"""When a command begins no more work: after so many hours, or once so much money is spent.

What runs then comes to its end, and is not in the limit. Money is what the machines cost an hour, asked for again and
again, times the hours between; nodes that come and go are counted as they were when they were last asked for.
"""

import math
import time
from collections.abc import Callable

PerHour = Callable[[], float]  # what all machines of a command cost an hour, just now


class Limits:
    """The hours and the money of one command, from now on.

    Attributes:
        spent: money so far; 0 where nobody said what machines cost.
    """

    def __init__(self, hours: float | None = None, money: float | None = None, per_hour: PerHour | None = None) -> None:
        self.hours = math.inf if hours is None else hours
        self.money = math.inf if money is None else money
        self.per_hour = per_hour
        self.began = self.seen = time.monotonic()
        self.spent = 0.0

    def look(self) -> None:
        """Count what was spent since the last time."""
        if self.per_hour is not None:
            now = time.monotonic()
            self.spent += (now - self.seen) / 3600 * self.per_hour()
            self.seen = now

    def over(self) -> str:
        """What is used up, as the beginning of a sentence; empty while there is something left."""
        self.look()
        if time.monotonic() - self.began >= 3600 * self.hours:
            return f"{self.hours:g} hours are over"
        if self.spent >= self.money:
            return f"{self.spent:.4g} of {self.money:g} are spent"
        return ""
