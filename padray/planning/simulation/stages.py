"""How each stage goes about its work, in the order of padray/cluster: experts.py, sweep.py, trainer.py, tuning.py."""

from collections import deque

from padray.planning.simulation.clock import Call
from padray.planning.simulation.fleet import Slot
from padray.planning.simulation.work import (
    Actors,
    Group,
    Labour,
    Search,
    Stage,
    Tasks,
    Trial,
    Unit,
    World,
    making,
    starting,
)


def begin(world: World, stage: Stage, done: Call) -> None:
    """Set a stage to work; `done` is called when the driver has seen all of it."""
    if isinstance(stage, Actors):
        _Crew(world, stage, done).hire_all()
    elif isinstance(stage, Tasks):
        _Sweep(world, stage, done).submit_all()
    elif isinstance(stage, Group):
        _Members(world, stage, 0, done).ask()
    else:
        _Tuning(world, stage, done).fill()


class _Actor:
    """Waits for a place, starts, and makes the units that it is given."""

    width = 1

    def __init__(self, crew: "_Crew") -> None:
        self.crew = crew
        self.unit: int | None = None
        self.labour: Labour | None = None
        self.is_prepared = self.is_dead = self.is_answering = False

    def placed(self, slots: list[Slot]) -> None:
        world, start = self.crew.world, self.crew.stage.start
        self.labour = Labour(world, starting(start, True, False), self._ready)

    def _ready(self) -> None:
        self.labour, self.is_answering = None, True
        self.crew.world.desk.handle(lambda: self.crew.answer(self, None))

    def make(self, place: int) -> None:
        world, stage = self.crew.world, self.crew.stage
        self.unit = place
        steps = starting(stage.start, False, not self.is_prepared) + making(stage.units[place])
        self.labour = Labour(world, steps, self._made)

    def _made(self) -> None:
        assert self.unit is not None
        place, self.unit, self.labour = self.unit, None, None
        self.is_prepared = self.is_answering = True
        self.crew.world.ledger.count(self.crew.stage.name, place)
        self.crew.world.desk.handle(lambda: self.crew.answer(self, place))

    def evicted(self) -> None:
        self.is_dead = True
        if self.labour is not None:
            self.labour.stop()
            self.labour = None
        if not self.is_answering:  # or the driver will notice when it hands on the next unit
            self.crew.world.desk.handle(lambda: self.crew.lose(self))


class _Crew:
    """Actors, all asked for at once; the next unit goes to whoever is ready, a lost one back to the front."""

    def __init__(self, world: World, stage: Actors, done: Call) -> None:
        self.world, self.stage, self.done = world, stage, done
        self.waiting = deque(range(len(stage.units)))
        self.idle: dict[_Actor, None] = {}  # without a unit yet
        self.left = len(stage.units)

    def hire_all(self) -> None:
        for _ in range(min(len(self.stage.units), self.stage.most)):
            self._hire()
        if not self.left:
            self.done()

    def _hire(self) -> None:
        actor = _Actor(self)
        self.idle[actor] = None
        self.world.pool.ask(actor)

    def answer(self, actor: _Actor, made: int | None) -> None:
        """The driver hears that an actor is ready, or has made a unit."""
        actor.is_answering = False
        if made is None and actor not in self.idle:
            return  # dismissed meanwhile, or lost
        self.idle.pop(actor, None)
        self.left -= made is not None
        if actor.is_dead:
            self.lose(actor)
        elif self.waiting:
            actor.make(self.waiting.popleft())
        else:
            self.world.pool.leave(actor)
        if not self.waiting:
            for waiting in list(self.idle):
                self._dismiss(waiting)
        if not self.left:
            self.done()

    def _dismiss(self, actor: _Actor) -> None:
        del self.idle[actor]
        if actor.labour is not None:
            actor.labour.stop()
        if not actor.is_dead:
            self.world.pool.leave(actor)

    def lose(self, actor: _Actor) -> None:
        """The driver hears that an actor is gone."""
        self.idle.pop(actor, None)
        if actor.unit is not None:
            self.world.ledger.lost_units += 1
            self.waiting.appendleft(actor.unit)
            actor.unit = None
        if len(self.waiting) > len(self.idle):
            self._hire()


class _Task:
    """A cell: waits for a place, and leaves behind a process that the next one on that place finds ready."""

    width = 1

    def __init__(self, sweep: "_Sweep", place: int) -> None:
        self.sweep, self.place = sweep, place
        self.slot: Slot | None = None
        self.labour: Labour | None = None

    def placed(self, slots: list[Slot]) -> None:
        self.slot, stage = slots[0], self.sweep.stage
        steps = starting(stage.start, self.slot.process is None, self.slot.process != stage.name)
        self.labour = Labour(self.sweep.world, steps + making(stage.units[self.place]), self._made)

    def _made(self) -> None:
        assert self.slot is not None
        world, stage = self.sweep.world, self.sweep.stage
        self.slot.process = stage.name
        world.ledger.count(stage.name, self.place)
        world.pool.leave(self)
        world.desk.handle(self.sweep.collect)

    def evicted(self) -> None:
        if self.labour is not None:
            self.labour.stop()
        self.sweep.world.desk.handle(lambda: self.sweep.submit_again(self.place))


class _Sweep:
    """All cells as tasks; a lost one is handed over again, behind the others."""

    def __init__(self, world: World, stage: Tasks, done: Call) -> None:
        self.world, self.stage, self.done = world, stage, done
        self.left = len(stage.units)

    def submit_all(self) -> None:
        for place in range(len(self.stage.units)):
            self.world.pool.ask(_Task(self, place))
        if not self.left:
            self.done()

    def submit_again(self, place: int) -> None:
        self.world.ledger.lost_units += 1
        self.world.pool.ask(_Task(self, place))

    def collect(self) -> None:
        """The driver takes a result."""
        self.left -= 1
        if not self.left:
            self.done()


class _Members:
    """A distillation's workers: placed together, started together, and all started again when one is lost."""

    def __init__(self, world: World, group: Group, place: int, done: Call) -> None:
        self.world, self.group, self.place, self.done = world, group, place, done
        self.width = group.workers
        self.left_s = group.unit.seconds
        self.labour: Labour | None = None

    def ask(self) -> None:
        self.world.pool.ask(self)

    def placed(self, slots: list[Slot]) -> None:
        steps = starting(self.group.start, True, True) + making(Unit(self.left_s, self.group.unit.bytes))
        self.labour = Labour(self.world, steps, self._made, self.width)

    def _made(self) -> None:
        self.world.ledger.count(self.group.name, self.place)
        self.world.pool.leave(self)
        self.world.desk.handle(self.done)

    def _kept(self, seconds: float) -> float:
        every = self.group.checkpoint_s
        return seconds // every * every if every else seconds

    def evicted(self) -> None:
        if self.labour is not None:
            self.left_s -= self.labour.stop(self._kept)
            self.labour = None
        self.world.ledger.lost_units += 1
        self.world.desk.handle(self.ask)


class _Tuning:
    """Trials, so many at a time: each waits for its experts, then for its distillation."""

    def __init__(self, world: World, search: Search, done: Call) -> None:
        self.world, self.search, self.done = world, search, done
        self.next = 0
        self.left = len(search.trials)
        self.waiting: dict[int, list[Call]] = {}  # for a set of experts that is being made
        self.there: set[int] = set()

    def fill(self) -> None:
        for _ in range(min(self.search.concurrency, len(self.search.trials))):
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
