"""The runner that does everything in this process, one unit after the other."""

import socket
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from padray.machine.numerics import within_memory
from padray.methods.method import Metrics
from padray.stages.base import Context, Distilling, Done, Lost, Searching, Unit, Work, make_unit
from padray.stages.progress import Running, Workers


class InlineRunner:
    """Everything in this process, one unit after the other."""

    name = "inline"
    startup_s = 0.0
    at: tuple[str, float] | None = None  # what is made just now, and since when

    def remarks(self) -> list[str]:
        return []

    def workers(self) -> Workers:
        at, here = self.at, socket.gethostname()
        return Workers() if at is None else Workers((Running(at[0], here, time.monotonic() - at[1]),))

    @contextmanager
    def _making(self, what: str) -> Iterator[None]:
        self.at = what, time.monotonic()
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
        with self._making("the set"):
            yield from work.run()

    def search(self, work: Searching, context: Context) -> Iterator[Any]:
        return work.run_inline(context)
