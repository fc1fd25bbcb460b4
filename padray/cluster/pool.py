"""Actors that turn missing units (experts, scoring networks, cells of an evaluation) into objects in storage.

All actors are asked for at once, so an autoscaler sees the whole demand. The driver hands the next unit to whichever
actor is ready, gives a dead actor's unit to another, and ends an actor as soon as no unit is left for it. An actor
keeps its share of a GPU for as long as it lives, and leaves nothing in that GPU's memory when it ends.
"""

import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from padray.cluster import gpus, nodes, shares
from padray.cluster.lost import LOST, WAITING, Losses, Refused, attempt, finish
from padray.cluster.probe import Probe
from padray.cluster.unit_progress import Key, Reporting, UnitProgress, reporting_of
from padray.errors import Failure, GpuFullError, InfrastructureError, InputError
from padray.machine import interruption
from padray.stages.base import Done, Lost, Make, Unit, Work
from padray.stages.progress import Running, Workers

Outcomes = Generator[Done | Lost, None, None]


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

    def __init__(self, work: Work, probe: Probe, reporting: Reporting) -> None:
        """`reporting`: where it says how far units are."""
        self.work, self.probe, self.reporting = work, probe, reporting
        self.prepared: Make | None = None

    def ready(self) -> str | Failure:
        """Answered once this actor has a place to run: its node, or why it cannot work there."""
        return place(self.work.config.compute.device, self.probe)

    def make(self, unit: Unit) -> Done | Refused:
        with reporting_of(self.reporting, _key(unit)):
            return attempt(self.work, self._prepare, unit)

    def _prepare(self) -> Make:
        if self.prepared is None:
            self.prepared = self.work.prepare()
        return self.prepared


def _key(unit: Unit) -> Key:
    return unit.fingerprint, unit.id


@dataclass(frozen=True)
class Demand:
    """What a stage asks the cluster for.

    Attributes:
        cpus, gpus: of each actor.
        most: actors at a time.
        max_losses: see `Losses`.
        probe: by which actors find out whether they see the storage.
        progress: where they say how far they are.
    """

    cpus: float
    gpus: float
    most: int
    max_losses: int
    probe: Probe
    progress: UnitProgress = field(default_factory=UnitProgress)


@dataclass(eq=False)
class Pool:
    """The actors and what each is doing: reference -> (actor, its unit or None while it gets ready).

    Attributes:
        nodes: the id of each placed actor's node; `names`: what nodes are called.
        since: when each actor was given its unit.
        lost: units that were lost so far.
    """

    work: Work
    demand: Demand
    losses: Losses
    busy: dict[Any, tuple[Any, Unit | None]] = field(default_factory=dict)
    nodes: dict[Any, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    since: dict[Any, float] = field(default_factory=dict)
    lost: int = 0
    refused: list[Refused] = field(default_factory=list)

    def make(self, units: Sequence[Unit]) -> Outcomes:
        """Make all units; yield them as they finish, and those that were lost. What was refused is kept.

        Raises:
            InputError, InfrastructureError: too many workers died, or one cannot work where it was placed.
        """
        waiting = deque(units)
        for _ in range(min(len(units), self.demand.most)):
            self._start()
        try:
            while self.busy:
                interruption.check()
                (reference,), _ = ray.wait(list(self.busy), num_returns=1)
                actor, unit = self.busy.pop(reference)
                try:
                    result = ray.get(reference)
                except LOST as error:
                    ray.kill(actor)  # it may only be out of reach
                    self.losses.add(unit.id if unit else WAITING, error, self.nodes.pop(actor, ""))
                    if unit is not None:
                        self.lost += 1
                        waiting.appendleft(unit)
                    if len(waiting) > len(self._idle()):
                        self._start()
                    if unit is not None:
                        yield Lost(unit, type(error).__name__)
                    continue
                outcome = self._take(actor, result)
                if waiting:  # at once, and then the rest of the driver's work
                    self._assign(actor, waiting.popleft())
                else:
                    ray.kill(actor)
                    self._end(self._idle())  # or an autoscaler would go on finding them places
                if outcome is not None:
                    yield outcome
        finally:
            self._end(list(self.busy))

    def workers(self) -> Workers:
        """Who works on what; asked from any thread, while this one changes it."""
        now, busy, placed = time.monotonic(), list(self.busy.values()), dict(self.nodes)
        at = [(unit, placed[actor], self.since.get(actor, now)) for actor, unit in busy if unit and actor in placed]
        progress = self.demand.progress
        steps = progress.latest([_key(unit) for unit, _, since in at if now - since > progress.reporting.long_s])
        running = [
            Running(unit.id, self.names.get(node, ""), now - since, steps.get(_key(unit), ()))
            for unit, node, since in at
        ]
        pending = sum(unit is None for _, unit in busy)
        return Workers(tuple(running), pending, len({node for _, node, _ in at}), self.lost)

    def _take(self, actor: Any, result: str | Done | Refused | Failure) -> Done | None:
        if isinstance(result, InputError | InfrastructureError):
            raise result
        if isinstance(result, Refused):
            self.refused.append(result)
        elif isinstance(result, Done):
            self.losses.forgive(result.unit.id)
            return result
        else:
            self.nodes[actor] = str(result)
            if self.nodes[actor] not in self.names:
                self.names |= nodes.names()
        return None

    def _start(self) -> None:
        takes = {"num_cpus": self.demand.cpus, "num_gpus": self.demand.gpus}
        actor = Worker.options(**takes).remote(self.work, self.demand.probe, self.demand.progress.reporting)  # type: ignore[attr-defined]
        self.busy[actor.ready.remote()] = (actor, None)

    def _assign(self, actor: Any, unit: Unit) -> None:
        self.since[actor] = time.monotonic()
        self.busy[actor.make.remote(unit)] = (actor, unit)

    def _idle(self) -> list[Any]:
        """The references of actors that have no unit yet, most of them waiting for a place to run."""
        return [reference for reference, (_, unit) in self.busy.items() if unit is None]

    def _end(self, references: list[Any]) -> None:
        for reference in references:
            actor, _ = self.busy.pop(reference)
            ray.kill(actor)


def run(work: Work, units: Sequence[Unit], demand: Demand, pools: list[Pool] | None = None) -> Outcomes:
    """Make all units on actors; yield them as they finish, and those that were lost.

    Units that found a shared GPU full are made again when all others are done, each alone on a GPU.

    Args:
        pools: those at work, of which this is one for as long as it is.

    Raises:
        InputError, WorkError: a unit failed by itself (raised after all others are made), too many workers died, or
            one cannot work where it was placed.
    """
    losses, pools = Losses(demand.max_losses), [] if pools is None else pools
    first = Pool(work, demand, losses)
    yield from _outcomes(first, units, pools)
    refused = first.refused
    if shares.is_shared(demand.gpus) and (crowded := [one for one in refused if isinstance(one.error, GpuFullError)]):
        for one in crowded:
            yield Lost(one.unit, type(one.error).__name__)
        second = Pool(work, replace(demand, gpus=shares.WHOLE), losses, lost=first.lost)
        yield from _outcomes(second, [one.unit for one in crowded], pools)
        refused = [one for one in refused if one not in crowded] + second.refused
    finish([Refused(one.unit, shares.alone(one.error)) for one in refused])


def _outcomes(pool: Pool, units: Sequence[Unit], pools: list[Pool]) -> Outcomes:
    pools.append(pool)
    try:
        yield from pool.make(units)
    finally:
        pools.remove(pool)
