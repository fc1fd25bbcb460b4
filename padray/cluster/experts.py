"""Actors that turn missing units (experts, scoring networks, on GPUs also cells) into objects in storage.

All actors are created at once, so an autoscaler sees the whole demand. The driver hands the next unit to whichever
actor is ready, gives a dead actor's unit to another, and ends an actor as soon as no unit is left for it. An actor
keeps its GPU for as long as it lives, and leaves nothing in that GPU's memory when it ends.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from padray.cluster import gpus, shares
from padray.cluster.lost import LOST, Losses, Refused, attempt, finish
from padray.config import ClusterSettings
from padray.errors import GpuFullError, InfrastructureError
from padray.stages.base import Done, Lost, Make, Unit, Work


@ray.remote(max_restarts=0)
class Maker:
    """Holds what all units need, and makes one at a time."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.prepared: Make | None = None

    def ready(self) -> InfrastructureError | None:
        """Answered once this actor has a place to run: why it cannot work there, if so."""
        return gpus.require(self.work.config.compute.device)

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
    takes: dict[str, float]  # CPUs and GPUs of an actor
    most: int
    losses: Losses
    busy: dict[Any, tuple[Any, Unit | None]] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    def hire(self) -> None:
        actor = Maker.options(**self.takes).remote(self.work)  # type: ignore[attr-defined]
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

    def make(self, units: Sequence[Unit]) -> Iterator[Done | Lost]:
        """Make all units; yield them as they finish, and those that were lost. What was refused is kept.

        Raises:
            InfrastructureError: too many workers died, or one cannot use the GPU that it was given.
        """
        waiting = deque(units)
        for _ in range(min(len(units), self.most)):
            self.hire()
        try:
            while self.busy:
                (reference,), _ = ray.wait(list(self.busy), num_returns=1)
                actor, unit = self.busy.pop(reference)
                try:
                    result = ray.get(reference)
                except LOST as error:
                    ray.kill(actor)  # it may only be out of reach
                    self.losses.add(unit.id if unit else "no unit yet", error)
                    if unit is not None:
                        waiting.appendleft(unit)
                        yield Lost(unit, type(error).__name__)
                    if len(waiting) > len(self.idle()):
                        self.hire()
                    continue
                if isinstance(result, InfrastructureError):
                    raise result
                if isinstance(result, Refused):
                    self.refused.append(result)
                elif isinstance(result, Done):
                    yield result
                if waiting:
                    self.give(actor, waiting.popleft())
                else:
                    ray.kill(actor)
                if not waiting:
                    self.dismiss(self.idle())  # or an autoscaler would go on finding them places
        finally:
            self.dismiss(list(self.busy))


def run(
    work: Work, units: Sequence[Unit], settings: ClusterSettings, cpus: int, share: float = 0.0
) -> Iterator[Done | Lost]:
    """Make all units on actors; yield them as they finish, and those that were lost.

    Units that found a shared GPU full are made again when all others are done, each alone on a GPU.

    Args:
        share: of a GPU that an actor takes.

    Raises:
        InputError, WorkError: a unit failed by itself (raised after all others are made), too many workers died, or
            a GPU cannot be used.
    """
    losses = Losses(settings.max_losses)
    crew = _Crew(work, {"num_cpus": cpus, "num_gpus": share}, settings.max_experts, losses)
    yield from crew.make(units)
    refused = crew.refused
    if shares.is_shared(share) and (crowded := [one for one in refused if isinstance(one.error, GpuFullError)]):
        for one in crowded:
            yield Lost(one.unit, type(one.error).__name__)
        crew = _Crew(work, {"num_cpus": cpus, "num_gpus": shares.WHOLE}, settings.max_experts, losses)
        yield from crew.make([one.unit for one in crowded])
        refused = [one for one in refused if one not in crowded] + crew.refused
    finish([Refused(one.unit, shares.alone(one.error)) for one in refused])
