"""Actors that turn missing units (experts, scoring networks, cells of an evaluation) into objects in storage.

All actors are asked for at once, so an autoscaler sees the whole demand. The driver hands the next unit to whichever
actor is ready, gives a dead actor's unit to another, and ends an actor as soon as no unit is left for it. An actor
keeps its share of a GPU for as long as it lives, and leaves nothing in that GPU's memory when it ends.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from padray.cluster import gpus, shares
from padray.cluster.lost import LOST, WAITING, Losses, Refused, attempt, finish
from padray.cluster.probe import Probe
from padray.errors import Failure, GpuFullError, InfrastructureError, InputError
from padray.stages.base import Done, Lost, Make, Unit, Work


def place(device: str, probe: Probe) -> str | Failure:
    """The id of the node that this process runs on, or why it cannot work there.

    Args:
        device: the setting `compute.device`.
    """
    unusable: Failure | None = probe.problem() or gpus.require(device)
    return str(ray.get_runtime_context().get_node_id()) if unusable is None else unusable


@ray.remote(max_restarts=0)
class Worker:
    """Holds what all units of a stage need, and makes one at a time."""

    def __init__(self, work: Work, probe: Probe) -> None:
        self.work, self.probe = work, probe
        self.prepared: Make | None = None

    def ready(self) -> str | Failure:
        """Answered once this actor has a place to run: its node, or why it cannot work there."""
        return place(self.work.config.compute.device, self.probe)

    def make(self, unit: Unit) -> Done | Refused:
        return attempt(self.work, self._prepare, unit)

    def _prepare(self) -> Make:
        if self.prepared is None:
            self.prepared = self.work.prepare()
        return self.prepared


@dataclass(frozen=True)
class Demand:
    """What a stage asks the cluster for.

    Attributes:
        cpus, gpus: of each actor.
        most: actors at a time.
        max_losses: see `Losses`.
        probe: by which actors find out whether they see the storage.
    """

    cpus: float
    gpus: float
    most: int
    max_losses: int
    probe: Probe


@dataclass
class _Pool:
    """The actors and what each is doing: reference -> (actor, its unit or None while it gets ready)."""

    work: Work
    demand: Demand
    losses: Losses
    busy: dict[Any, tuple[Any, Unit | None]] = field(default_factory=dict)
    nodes: dict[Any, str] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    def make(self, units: Sequence[Unit]) -> Iterator[Done | Lost]:
        """Make all units; yield them as they finish, and those that were lost. What was refused is kept.

        Raises:
            InputError, InfrastructureError: too many workers died, or one cannot work where it was placed.
        """
        waiting = deque(units)
        for _ in range(min(len(units), self.demand.most)):
            self._start()
        try:
            while self.busy:
                (reference,), _ = ray.wait(list(self.busy), num_returns=1)
                actor, unit = self.busy.pop(reference)
                try:
                    result = ray.get(reference)
                except LOST as error:
                    ray.kill(actor)  # it may only be out of reach
                    self.losses.add(unit.id if unit else WAITING, error, self.nodes.pop(actor, ""))
                    if unit is not None:
                        waiting.appendleft(unit)
                        yield Lost(unit, type(error).__name__)
                    if len(waiting) > len(self._idle()):
                        self._start()
                    continue
                yield from self._take(actor, result)
                if waiting:
                    self._assign(actor, waiting.popleft())
                else:
                    ray.kill(actor)
                    self._end(self._idle())  # or an autoscaler would go on finding them places
        finally:
            self._end(list(self.busy))

    def _take(self, actor: Any, result: str | Done | Refused | Failure) -> Iterator[Done]:
        if isinstance(result, InputError | InfrastructureError):
            raise result
        if isinstance(result, Refused):
            self.refused.append(result)
        elif isinstance(result, Done):
            self.losses.forgive(result.unit.id)
            yield result
        else:
            self.nodes[actor] = str(result)

    def _start(self) -> None:
        takes = {"num_cpus": self.demand.cpus, "num_gpus": self.demand.gpus}
        actor = Worker.options(**takes).remote(self.work, self.demand.probe)  # type: ignore[attr-defined]
        self.busy[actor.ready.remote()] = (actor, None)

    def _assign(self, actor: Any, unit: Unit) -> None:
        self.busy[actor.make.remote(unit)] = (actor, unit)

    def _idle(self) -> list[Any]:
        """The references of actors that have no unit yet, most of them waiting for a place to run."""
        return [reference for reference, (_, unit) in self.busy.items() if unit is None]

    def _end(self, references: list[Any]) -> None:
        for reference in references:
            actor, _ = self.busy.pop(reference)
            ray.kill(actor)


def run(work: Work, units: Sequence[Unit], demand: Demand) -> Iterator[Done | Lost]:
    """Make all units on actors; yield them as they finish, and those that were lost.

    Units that found a shared GPU full are made again when all others are done, each alone on a GPU.

    Raises:
        InputError, WorkError: a unit failed by itself (raised after all others are made), too many workers died, or
            one cannot work where it was placed.
    """
    losses = Losses(demand.max_losses)
    pool = _Pool(work, demand, losses)
    yield from pool.make(units)
    refused = pool.refused
    if shares.is_shared(demand.gpus) and (crowded := [one for one in refused if isinstance(one.error, GpuFullError)]):
        for one in crowded:
            yield Lost(one.unit, type(one.error).__name__)
        pool = _Pool(work, replace(demand, gpus=shares.WHOLE), losses)
        yield from pool.make([one.unit for one in crowded])
        refused = [one for one in refused if one not in crowded] + pool.refused
    finish([Refused(one.unit, shares.alone(one.error)) for one in refused])
