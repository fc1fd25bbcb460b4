"""Actors that turn missing units (experts, scoring networks) into objects in storage.

All actors are created at once, so an autoscaler sees the whole demand. The driver hands the next unit to whichever
actor is ready, gives a dead actor's unit to another, and ends an actor as soon as no unit is left for it.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from padray.cluster.lost import LOST, Losses, Refused, attempt, finish
from padray.config import ClusterSettings
from padray.stages.base import Done, Lost, Make, Unit, Work


@ray.remote(max_restarts=0)
class Maker:
    """Holds what all units need, and makes one at a time."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.prepared: Make | None = None

    def ready(self) -> None:
        """Answered once this actor has a place to run."""

    def make(self, unit: Unit) -> Done | Refused:
        return attempt(self.work, self._prepare, unit)

    def _prepare(self) -> Make:
        if self.prepared is None:
            self.prepared = self.work.prepare()
        return self.prepared


@dataclass
class _Crew:
    """The actors and what each is doing: reference -> (actor, its unit or None while it gets ready)."""

    work: Work
    settings: ClusterSettings
    cpus: int
    busy: dict[Any, tuple[Any, Unit | None]] = field(default_factory=dict)

    def hire(self) -> None:
        options = {"num_cpus": self.cpus, "num_gpus": self.settings.gpus_per_worker}
        actor = Maker.options(**options).remote(self.work)  # type: ignore[attr-defined]
        self.busy[actor.ready.remote()] = (actor, None)

    def give(self, actor: Any, unit: Unit) -> None:
        self.busy[actor.make.remote(unit)] = (actor, unit)

    def idle(self) -> list[Any]:
        """The references of actors that have no unit yet, most of them waiting for a place to run."""
        return [reference for reference, (_, unit) in self.busy.items() if unit is None]

    def dismiss(self, references: list[Any]) -> None:
        for reference in references:
            actor, _ = self.busy.pop(reference)
            ray.kill(actor)


def run(work: Work, units: Sequence[Unit], settings: ClusterSettings, cpus: int) -> Iterator[Done | Lost]:
    """Make all units on actors; yield them as they finish, and those that were lost.

    Raises:
        InputError, WorkError: a unit failed by itself (raised after all others are made), or too many workers died.
    """
    waiting, refused, losses = deque(units), list[Refused](), Losses(settings.max_losses)
    crew = _Crew(work, settings, cpus)
    for _ in range(min(len(units), settings.max_experts)):
        crew.hire()
    try:
        while crew.busy:
            (reference,), _ = ray.wait(list(crew.busy), num_returns=1)
            actor, unit = crew.busy.pop(reference)
            try:
                result = ray.get(reference)
            except LOST as error:
                ray.kill(actor)  # it may only be out of reach
                losses.add(unit.id if unit else "no unit yet", error)
                if unit is not None:
                    waiting.appendleft(unit)
                    yield Lost(unit, type(error).__name__)
                if len(waiting) > len(crew.idle()):
                    crew.hire()
                continue
            if isinstance(result, Refused):
                refused.append(result)
            elif isinstance(result, Done):
                yield result
            if waiting:
                crew.give(actor, waiting.popleft())
            else:
                ray.kill(actor)
            if not waiting:
                crew.dismiss(crew.idle())  # or an autoscaler would go on finding them places
    finally:
        crew.dismiss(list(crew.busy))
    finish(refused)
