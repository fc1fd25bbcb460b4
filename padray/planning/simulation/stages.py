"""How each stage goes about its work, in the order of padray/cluster: pool.py, trainer.py, tuning.py."""

from collections import deque

from padray.planning.simulation.clock import Call
from padray.planning.simulation.fleet import Fleet, Slot
from padray.planning.simulation.workers import (
    Activity,
    Actors,
    Group,
    Search,
    Stage,
    Trial,
    Unit,
    World,
    making,
    starting,
)


def begin(world: World, stage: Stage, done: Call) -> None:
    """Set a stage to work; `done` is called when the driver has seen all of it."""
    if isinstance(stage, Actors):
        _Pool(world, stage, done).make_all()
    elif isinstance(stage, Group):
        _Members(world, stage, 0, done).ask()
    else:
        _Tuning(world, stage, done).fill()


class _Actor:
    """Waits for a place, starts, and makes the units that it is given."""

    width = 1

    def __init__(self, pool: "_Pool") -> None:
        self.pool = pool
        self.unit: int | None = None
        self.activity: Activity | None = None
        self.is_prepared = self.is_dead = self.is_answering = False

    def placed(self, slots: list[Slot]) -> None:
        world, start = self.pool.world, self.pool.stage.start
        self.activity = Activity(world, starting(start, True, False), self._ready)

    def _ready(self) -> None:
        self.activity, self.is_answering = None, True
        self.pool.world.driver.handle(lambda: self.pool.answer(self, None))

    def make(self, place: int) -> None:
        world, stage = self.pool.world, self.pool.stage
        self.unit = place
        steps = starting(stage.start, False, not self.is_prepared) + making(stage.units[place])
        self.activity = Activity(world, steps, self._finished)

    def _finished(self) -> None:
        assert self.unit is not None
        place, self.unit, self.activity = self.unit, None, None
        self.is_prepared = self.is_answering = True
        self.pool.world.ledger.count(self.pool.stage.name, place)
        self.pool.world.driver.handle(lambda: self.pool.answer(self, place))

    def evicted(self) -> None:
        self.is_dead = True
        if self.activity is not None:
            self.activity.stop()
            self.activity = None
        if not self.is_answering:  # or the driver will notice when it hands on the next unit
            self.pool.world.driver.handle(lambda: self.pool.lose(self))


class _Pool:
    """Actors, all asked for at once; the next unit goes to whoever is ready, a lost one back to the front."""

    def __init__(self, world: World, stage: Actors, done: Call) -> None:
        self.world, self.stage, self.done = world, stage, done
        self.waiting = deque(range(len(stage.units)))
        self.idle: dict[_Actor, None] = {}  # without a unit yet
        self.left = len(stage.units)

    def make_all(self) -> None:
        for _ in range(min(len(self.stage.units), self.stage.most)):
            self._start()
        if not self.left:
            self.done()

    def _start(self) -> None:
        actor = _Actor(self)
        self.idle[actor] = None
        self.world.cluster.ask(actor)

    def answer(self, actor: _Actor, unit: int | None) -> None:
        """The driver hears that an actor is ready, or has made a unit."""
        actor.is_answering = False
        if unit is None and actor not in self.idle:
            return  # ended meanwhile, or lost
        self.idle.pop(actor, None)
        self.left -= unit is not None
        if not self.waiting:
            for one in (actor, *self.idle):
                self._end(one)
        elif actor.is_dead:
            self.lose(actor)
        else:
            actor.make(self.waiting.popleft())
        if not self.left:
            self.done()

    def _end(self, actor: _Actor) -> None:
        self.idle.pop(actor, None)
        if actor.activity is not None:
            actor.activity.stop()
        if not actor.is_dead:
            self.world.cluster.leave(actor)

    def lose(self, actor: _Actor) -> None:
        """The driver hears that an actor is gone."""
        self.idle.pop(actor, None)
        if actor.unit is not None:
            self.world.ledger.lost_units += 1
            self.waiting.appendleft(actor.unit)
            actor.unit = None
        if len(self.waiting) > len(self.idle):
            self._start()


class _Members:
    """A distillation's workers: placed together, started together, and all started again when one is lost."""

    def __init__(self, world: World, group: Group, place: int, done: Call) -> None:
        self.world, self.group, self.place, self.done = world, group, place, done
        self.width = group.workers
        self.left_s = group.unit.seconds
        self.activity: Activity | None = None

    def ask(self) -> None:
        self.world.cluster.ask(self)

    def placed(self, slots: list[Slot]) -> None:
        steps = starting(self.group.start, True, True) + making(Unit(self.left_s, self.group.unit.bytes))
        self.activity = Activity(self.world, steps, self._finished, self.width)

    def _finished(self) -> None:
        self.world.ledger.count(self.group.name, self.place)
        self.world.cluster.leave(self)
        self.world.driver.handle(self.done)

    def _kept(self, seconds: float) -> float:
        every = self.group.checkpoint_s
        return seconds // every * every if every else seconds

    def evicted(self) -> None:
        if self.activity is not None:
            self.left_s -= self.activity.stop(self._kept)
            self.activity = None
        self.world.ledger.lost_units += 1
        self.world.driver.handle(self.ask)


class _Tuning:
    """Trials, so many at a time: each waits for its experts, then for its distillation."""

    def __init__(self, world: World, search: Search, done: Call) -> None:
        self.world, self.search, self.done = world, search, done
        self.next = 0
        self.left = len(search.trials)
        self.concurrency = search.concurrency or room(search, world.cluster.fleet)
        self.waiting: dict[int, list[Call]] = {}  # for a set of experts that is being made
        self.there: set[int] = set()

    def fill(self) -> None:
        for _ in range(min(self.concurrency, len(self.search.trials))):
            self._begin()
        if not self.left:
            self.done()

    def _begin(self) -> None:
        place, self.next = self.next, self.next + 1
        trial = self.search.trials[place]
        self._experts(trial.experts, lambda: self._distil(trial, place))

    def _experts(self, number: int, go_on: Call) -> None:
        if number in self.there:
            go_on()
        elif number in self.waiting:
            self.waiting[number].append(go_on)
        else:
            self.waiting[number] = [go_on]
            self._make(number, 0)

    def _make(self, number: int, step: int) -> None:
        """One stage after the other of what the set of experts needs."""
        stages = self.search.sets[number]
        if step < len(stages):
            begin(self.world, stages[step], lambda: self._make(number, step + 1))
            return
        self.there.add(number)
        for go_on in self.waiting.pop(number):
            go_on()

    def _distil(self, trial: Trial, place: int) -> None:
        _Members(self.world, trial.group, place, self._ended).ask()

    def _ended(self) -> None:
        self.left -= 1
        if self.next < len(self.search.trials):
            self._begin()
        elif not self.left:
            self.done()


def room(search: Search, fleet: Fleet) -> int:
    """For how many trials there is room once all nodes are up: one at least, or the search would have been refused."""
    return fleet.most_workers // max((trial.group.workers for trial in search.trials), default=1)
