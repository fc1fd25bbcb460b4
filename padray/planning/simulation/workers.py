"""The work: what stages consist of, and the workers that do it step by step until it is done or their node is gone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from padray.planning.simulation.clock import Call, Clock, Driver, Event, Link, Transfer
from padray.planning.simulation.fleet import Cluster


@dataclass(frozen=True)
class Unit:
    """What is kept when everything around it dies. `bytes`: what it moves from or to the storage, at its end."""

    seconds: float
    bytes: float = 0.0


@dataclass(frozen=True)
class Start:
    """What a worker takes before its first unit: a process with its libraries, and the data that all units need."""

    process_s: float = 0.0
    prepare_s: float = 0.0
    prepare_bytes: float = 0.0


@dataclass(frozen=True)
class Actors:
    """A stage whose units are made by at most so many actors: experts, scoring networks, cells."""

    name: str
    units: tuple[Unit, ...]
    most: int
    start: Start = Start()


@dataclass(frozen=True)
class Group:
    """One unit on several workers that start together: a distillation. What is lost is what no checkpoint holds.

    Attributes:
        unit: its seconds are those of this many workers.
    """

    name: str
    unit: Unit
    workers: int = 1
    checkpoint_s: float = 60.0
    start: Start = Start()


@dataclass(frozen=True)
class Trial:
    """A search's trial: its distillation, and the number of the set of experts that it waits for."""

    group: Group
    experts: int = 0


@dataclass(frozen=True)
class Search:
    """Trials, so many at a time; each set of experts (and what it needs) is made once, by the first that asks for it.

    Attributes:
        concurrency: None: as many as all nodes have room for.
        sets: of each, the stages that make it, in their order; none where it is there already.
    """

    name: str
    trials: tuple[Trial, ...]
    concurrency: int | None
    sets: tuple[tuple[Actors, ...], ...] = ((),)


Stage = Actors | Group | Search


@dataclass
class Ledger:
    """Seconds of workers by what they were for, and how often each unit was made. Units by stage and place."""

    useful: float = 0.0
    starting: float = 0.0
    storage: float = 0.0
    lost: float = 0.0
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    lost_units: int = 0

    def count(self, stage: str, place: int) -> None:
        self.counts[stage, place] = self.counts.get((stage, place), 0) + 1


@dataclass
class World:
    """What all stages of a simulation share."""

    clock: Clock
    cluster: Cluster
    link: Link
    driver: Driver
    ledger: Ledger


# A step: what it counts as, how many seconds it takes, how many bytes it moves.
Step = tuple[str, float, float]


def starting(start: Start, process: bool, prepare: bool) -> list[Step]:
    """The steps before the first unit."""
    steps: list[Step] = []
    if process:
        steps.append(("starting", start.process_s, 0.0))
    if prepare:
        steps += [("storage", 0.0, start.prepare_bytes), ("starting", start.prepare_s, 0.0)]
    return steps


def making(unit: Unit) -> list[Step]:
    """The steps of a unit."""
    return [("useful", unit.seconds, 0.0), ("storage", 0.0, unit.bytes)]


class Activity:
    """Steps, one after the other, on `width` workers at once; `done` is called after the last one."""

    def __init__(self, world: World, steps: Sequence[Step], done: Call, width: int = 1) -> None:
        self.world, self.steps, self.done, self.width = world, list(steps), done, width
        self.spent: dict[str, float] = {}
        self.waits_for: Event | Transfer | None = None
        self._begun = world.clock.now
        self._next()

    def _next(self) -> None:
        while self.steps and not (self.steps[0][1] or self.steps[0][2]):
            self.steps.pop(0)
        if not self.steps:
            self.waits_for = self.world.clock.after(0.0, self._finish)
            return
        _, seconds, size = self.steps[0]
        self._begun = self.world.clock.now
        if size:
            self.waits_for = self.world.link.move(size, self._stepped)
        else:
            self.waits_for = self.world.clock.after(seconds, self._stepped)

    def _finish(self) -> None:
        for kind, seconds in self.spent.items():
            self._note(kind, seconds)
        self.done()

    def _stepped(self) -> None:
        kind, _, _ = self.steps.pop(0)
        self._add(kind)
        self._next()

    def _add(self, kind: str) -> None:
        self.spent[kind] = self.spent.get(kind, 0.0) + self.world.clock.now - self._begun

    def _note(self, kind: str, seconds: float) -> None:
        setattr(self.world.ledger, kind, getattr(self.world.ledger, kind) + self.width * seconds)

    def stop(self, kept: Callable[[float], float] = lambda seconds: 0.0) -> float:
        """Break off; what was done is lost but for the useful seconds that are `kept`, which it gives."""
        if isinstance(self.waits_for, Event):
            self.waits_for.cancel()
        elif self.waits_for is not None:
            self.world.link.stop(self.waits_for)
        if self.steps:
            self._add(self.steps[0][0])
        stays = kept(self.spent.get("useful", 0.0))
        self._note("useful", stays)
        self._note("lost", sum(self.spent.values()) - stays)
        return stays
