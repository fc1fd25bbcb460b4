"""The runner that does everything in this process, one unit after the other."""

import socket
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from padray.machine import activity
from padray.machine.numerics import within_memory
from padray.methods.method import Metrics
from padray.stages.base import Context, Distilling, Done, Lost, Searching, Unit, Work, make_unit
from padray.stages.progress import Running, Workers


class InlineRunner:
    """Everything in this process, one unit after the other."""

    name = "inline"
    startup_s = 0.0
    at: tuple[str, float, bool] | None = None  # what is made just now, since when, and whether that is a unit

    def remarks(self) -> list[str]:
        return []

    def workers(self) -> Workers:
        at, steps = self.at, activity.steps()
        if at is None:
            return Workers(driver=steps)
        unit, since, is_unit = at
        return Workers((Running(unit, socket.gethostname(), time.monotonic() - since, steps, is_unit),))

    @contextmanager
    def _making(self, what: str, is_unit: bool = True) -> Iterator[None]:
        self.at = what, time.monotonic(), is_unit
        try:
            yield
        finally:
            self.at = None

    def open(self) -> None:
        pass

    def map(self, work: Work, units: Sequence[Unit]) -> Iterator[Done | Lost]:
        if units:
            with within_memory(f"{units[0].stage}'s data"):
                make = work.prepare()
            for unit in units:
                with self._making(unit.id):
                    done = make_unit(work, make, unit)
                yield done

    def distill(self, work: Distilling) -> Generator[Metrics, None, None]:
        with self._making("the set", is_unit=False):
            yield from work.run()

    def search(self, work: Searching, context: Context) -> Iterator[Any]:
        return work.run_inline(context)
