"""A whole run in simulated time: its stages one after the other on one fleet, what it takes, and what limits it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from padray.draws import generator
from padray.errors import InputError
from padray.planning.simulation import stages
from padray.planning.simulation.clock import Clock, Driver, Link
from padray.planning.simulation.fleet import Cluster, Fleet
from padray.planning.simulation.workers import Actors, Group, Ledger, Search, Stage, Start, Trial, Unit, World

DRIVER_S = 0.003  # of the driver for a message (2.0 ms of 2,000 cells, 3.3 ms of 10,000, when cells were still tasks)
MOST_LOST = 100_000  # nodes, after which a simulation is given up
_Part = TypeVar("_Part", bound=Actors | Group)
_NOTICED = 0.02  # of the time: what shortens it by less limits nothing


@dataclass(frozen=True)
class Setting:
    """Where the stages run.

    Attributes:
        bandwidth: bytes per second of the storage, shared by all who read and write; `each`: of one worker at most.
        driver_s: seconds of the driver for each message.
        seed: of the moments at which nodes are taken away.
    """

    fleet: Fleet
    bandwidth: float = math.inf
    each: float = math.inf
    driver_s: float = DRIVER_S
    seed: int = 0


@dataclass(frozen=True)
class Span:
    """A stage's time: when it began and ended, and the seconds of nodes that were paid between."""

    name: str
    begin: float
    end: float
    paid_s: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@dataclass(frozen=True)
class Outcome:
    """What a run takes. All but `seconds` and `nodes_s` are seconds of workers.

    Attributes:
        seconds: from the first to the last moment (the makespan).
        nodes_s: seconds of nodes that are paid, until the last one is given back.
        paid: the same in workers that there was room for.
        useful: of units that were kept. starting, storage: before units, and moving bytes. lost: taken away.
        counts: how often each unit was made, by stage and place.
        nodes_lost, units_lost: how many were taken away, and how many units with them.
    """

    seconds: float
    nodes_s: float
    paid: float
    useful: float
    starting: float
    storage: float
    lost: float
    spans: tuple[Span, ...]
    counts: dict[tuple[str, int], int]
    nodes_lost: int
    units_lost: int

    @property
    def efficiency(self) -> float:
        """Useful of paid, in [0, 1]."""
        return self.useful / self.paid if self.paid else 1.0


def simulate(chain: Sequence[Stage], setting: Setting) -> Outcome:
    """Run the stages one after the other.

    Raises:
        InputError: a distillation asks for more workers than all nodes have room for.
    """
    _check(chain, setting.fleet)
    clock = Clock()
    cluster, link = Cluster(clock, setting.fleet, setting.seed), Link(clock, setting.bandwidth, setting.each)
    world = World(clock, cluster, link, Driver(clock, setting.driver_s), Ledger())
    spans: list[Span] = []
    begun = [0.0, 0.0]

    def next_stage() -> None:
        if len(spans) < len(chain):
            begun[:] = clock.now, cluster.paid_s
            stages.begin(world, chain[len(spans)], ended)

    def ended() -> None:
        spans.append(Span(chain[len(spans)].name, begun[0], clock.now, cluster.paid_s - begun[1]))
        next_stage()

    next_stage()
    clock.run(lambda: len(spans) == len(chain) or cluster.lost > MOST_LOST)
    if cluster.lost > MOST_LOST:
        raise InputError(
            f"{MOST_LOST:,} nodes were taken away before the work was done: nodes that last "
            f"{setting.fleet.life_s:,.0f} s on average go too soon for units as long as these"
        )
    assert len(spans) == len(chain), "nothing is left to happen, but not all is done"
    seconds = clock.now
    if setting.fleet.delay_s is not None:
        clock.run(lambda: cluster.is_empty)  # the nodes that have nothing left to do go when they have been idle
    ledger, workers = world.ledger, setting.fleet.workers
    return Outcome(
        seconds,
        cluster.paid_s,
        cluster.paid_s * workers,
        ledger.useful,
        ledger.starting,
        ledger.storage,
        ledger.lost,
        tuple(spans),
        ledger.counts,
        cluster.lost,
        ledger.lost_units,
    )


def _check(chain: Sequence[Stage], fleet: Fleet) -> None:
    groups = [stage for stage in chain if isinstance(stage, Group)]
    groups += [trial.group for stage in chain if isinstance(stage, Search) for trial in stage.trials]
    for group in groups:
        if group.workers > fleet.most_workers:
            raise InputError(
                f"{group.name} starts {group.workers} workers together, but {fleet.nodes} nodes have room for "
                f"{fleet.most_workers}; more nodes, or a lower cluster.workers"
            )


def limit(chain: Sequence[Stage], setting: Setting, outcome: Outcome | None = None) -> str:
    """What the time depends on most: that without which, or with twice of which, it would be shortest.

    One of "workers", "storage", "driver", "starting" (of nodes and workers), "losses", "settings" (cluster.max_actors
    or search.concurrency), "workers and settings" where only both together help, or "longest unit": nothing but shorter
    units would.
    """
    fleet, now = setting.fleet, (outcome or simulate(chain, setting)).seconds
    better: dict[str, Callable[[], tuple[Sequence[Stage], Setting]]] = {
        "workers": lambda: (chain, replace(setting, fleet=replace(fleet, nodes=2 * fleet.nodes))),
        "storage": lambda: (chain, replace(setting, bandwidth=math.inf, each=math.inf)),
        "driver": lambda: (chain, replace(setting, driver_s=0.0)),
        "starting": lambda: ([_at_once(stage) for stage in chain], replace(setting, fleet=_there(fleet))),
        "losses": lambda: (chain, replace(setting, fleet=replace(fleet, life_s=math.inf))),
        "settings": lambda: ([_wider(stage) for stage in chain], setting),
    }
    saved = {name: now - simulate(*changed()).seconds for name, changed in better.items()}
    best = max(saved, key=lambda name: saved[name])
    if saved[best] > _NOTICED * now:
        return best
    both = simulate([_wider(stage) for stage in chain], replace(setting, fleet=replace(fleet, nodes=2 * fleet.nodes)))
    return "workers and settings" if now - both.seconds > _NOTICED * now else "longest unit"


def _there(fleet: Fleet) -> Fleet:
    return fleet if fleet.delay_s is None else replace(fleet, delay_s=0.0)


def _at_once(stage: Stage) -> Stage:
    """The same without what comes before a worker's first unit, but for the bytes."""
    if isinstance(stage, Search):
        sets = tuple(tuple(_started(part) for part in parts) for parts in stage.sets)
        trials = tuple(Trial(_started(trial.group), trial.experts) for trial in stage.trials)
        return replace(stage, trials=trials, sets=sets)
    return _started(stage)


def _started(stage: _Part) -> _Part:
    return replace(stage, start=Start(prepare_bytes=stage.start.prepare_bytes))


def _wider(stage: Stage) -> Stage:
    """The same with twice the number that the settings allow at a time."""
    if isinstance(stage, Actors):
        return replace(stage, most=2 * stage.most)
    if isinstance(stage, Search):
        sets = tuple(tuple(replace(part, most=2 * part.most) for part in parts) for parts in stage.sets)
        return replace(stage, concurrency=stage.concurrency and 2 * stage.concurrency, sets=sets)
    return stage


def drawn(measured: Sequence[float], count: int, size: float = 0.0, seed: int = 0) -> tuple[Unit, ...]:
    """So many units whose seconds are drawn from measured ones, each as likely as the others."""
    chosen = torch.randint(len(measured), (count,), generator=generator(seed, "simulation", "units"))
    return tuple(Unit(measured[place], size) for place in chosen.tolist())
