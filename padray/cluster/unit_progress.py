"""How far workers are within their units: they report it to an actor beside the driver, which asks there.

That actor is started once a unit takes long, and workers then find it by its name: what is over soon needs neither.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import ray

from padray.cluster.lost import LOST
from padray.cluster.session import beside_driver
from padray.machine import activity
from padray.machine.activity import Step

Key = tuple[str, str]  # a unit's fingerprint and id
Steps = dict[Key, tuple[Step, ...]]


class Reporting(NamedTuple):
    """Where workers find it, after how many seconds a unit is told of, and how often from then on."""

    name: str
    long_s: float = 3.0
    every_s: float = 2.0


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class StepsActor:
    """Units and how far they are."""

    def __init__(self) -> None:
        self.units: Steps = {}

    def report(self, key: Key, steps: tuple[Step, ...]) -> None:
        self.units[key] = steps

    def latest(self, keys: list[Key]) -> Steps:
        """Of these units; the others are over."""
        self.units = {key: steps for key, steps in self.units.items() if key in keys}
        return self.units


class UnitProgress:
    """The driver's view of it, which never waits."""

    def __init__(self, reporting: Reporting | None = None) -> None:
        self.reporting = reporting or Reporting(f"padray-{secrets.token_hex(8)}")
        self.actor: Any = None
        self.asked: Any = None
        self.seen: Steps = {}
        self.guard = threading.Lock()

    def latest(self, keys: list[Key]) -> Steps:
        """How far these units were when it was last asked. From any thread. `keys`: those that have taken long."""
        if self.guard.acquire(blocking=False):  # whoever comes meanwhile sees what was seen
            try:
                self._ask(keys)
            finally:
                self.guard.release()
        return self.seen

    def _ask(self, keys: list[Key]) -> None:
        if self.actor is None and keys:
            self.actor = StepsActor.options(name=self.reporting.name, scheduling_strategy=beside_driver()).remote()  # type: ignore[attr-defined]
        if self.asked is not None and ray.wait([self.asked], timeout=0)[0]:
            try:
                self.seen = ray.get(self.asked)
            except LOST:  # it comes back empty
                self.seen = {}
            self.asked = None
        if self.asked is None and keys:
            self.asked = self.actor.latest.remote(keys)


@contextmanager
def reporting_of(reporting: Reporting, key: Key) -> Iterator[None]:
    """In here a worker makes a unit, and tells how far it is."""
    over = threading.Event()
    thread = threading.Thread(target=_report, args=(reporting, key, over), name="padray-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _report(reporting: Reporting, key: Key, over: threading.Event) -> None:
    actor: Any = None
    while not over.wait(reporting.long_s if actor is None else reporting.every_s):
        try:
            actor = actor or ray.get_actor(reporting.name)
            actor.report.remote(key, activity.steps())
        except ValueError:  # it is not there yet
            actor = None
