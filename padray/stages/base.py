"""What all stages share: units of work, how a runner gets them, and what a finished stage leaves behind."""

import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from padray.config import Config
from padray.data.datasets import Dataset
from padray.errors import InputError
from padray.fingerprint import Identity
from padray.machine.numerics import decide, within_memory
from padray.methods.method import Metrics
from padray.stages import stored, unfinished
from padray.stages.events import Recorder
from padray.stages.limits import Limits
from padray.stages.outlook import Course
from padray.stages.progress import Notify as Notify  # where they are looked for
from padray.stages.progress import Progress as Progress
from padray.stages.progress import Workers
from padray.store.artifacts import Folder, Manifest, StoredObject
from padray.store.location import Location

Record = dict[str, Any]  # the numerics of a process, as they are stored
STARTUP = "start-up"  # the runner's own line in the table of seconds


@dataclass(frozen=True)
class Unit:
    """The smallest piece of work that is kept when everything around it dies."""

    stage: str
    id: str
    fingerprint: str


@dataclass(frozen=True)
class Done:
    """A unit's object in storage, and what making it took."""

    unit: Unit
    object: StoredObject
    seconds: float
    host: str
    numerics: Record  # of the process that made it, which may have another device than the driver's


@dataclass(frozen=True)
class Lost:
    """A unit whose worker or machine was lost; it is made again."""

    unit: Unit
    reason: str


Make = Callable[[Unit], StoredObject]


class Work(Protocol):
    """How to make a stage's units. It travels to workers, so it holds settings and names, never data."""

    @property
    def config(self) -> Config:
        """The settings that the units are made with."""

    def prepare(self) -> Make:
        """Load what all units need, once per worker; the result makes one unit and stores it."""


class Distilling(Protocol):
    """A distillation that a runner carries through."""

    def run(self) -> Generator[Metrics, None, None]:
        """Go on from the newest checkpoint; the metrics of every iteration. Closed early, it keeps the last state."""


class Searching(Protocol):
    """A search that a runner carries through."""

    def run_inline(self, context: "Context") -> Iterator[Any]:
        """Make the missing trials one after the other in this process."""


class Runner(Protocol):
    """Where work is done: in this process, or spread over a cluster."""

    name: str
    startup_s: float  # seconds that the runner has spent on starting itself

    def remarks(self) -> list[str]:
        """Sentences about the machines that are worth saying, each given once; asked after work was handed over."""

    def workers(self) -> Workers:
        """Who works just now, asked from any thread."""

    def open(self) -> None:
        """Be ready for work; called from the main thread where the work comes from several."""

    def map(self, work: Work, units: Sequence[Unit]) -> Iterator[Done | Lost]:
        """Make all units; yield them as they finish, and what was lost on the way."""

    def distill(self, work: Distilling) -> Generator[Metrics, None, None]:
        """Carry a distillation to its end; yield the metrics of its iterations. Closed early, it keeps a state."""

    def search(self, work: Searching, context: "Context") -> Iterator[Any]:
        """Make a search's missing trials; yield their records as they come to an end."""


def make_unit(work: Work, make: Make, unit: Unit) -> Done:
    """Make one unit and note what it took, and where."""
    began = time.monotonic()
    with within_memory(f"{unit.stage} {unit.id}"):
        item = make(unit)
    seconds, numerics = time.monotonic() - began, decide(work.config.compute).record()
    return Done(unit, item, seconds, socket.gethostname(), numerics)


def _ignore(progress: Progress) -> None:
    pass


@dataclass
class Context:
    """One command: its settings, its storage, who does the work and who hears of it."""

    name: str
    config: Config
    location: Location
    runner: Runner
    notify: Notify = _ignore
    fresh: bool = False
    overrides: tuple[str, ...] = ()
    limits: Limits | None = None  # of a search; None: what its settings say
    stored_data: Identity | None = None  # where the dataset is known, its source files are not asked for
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    artifacts: dict[str, str] = field(default_factory=dict)
    worked: set[str] = field(default_factory=set)
    forgotten: set[Identity] = field(default_factory=set)
    course: Course | None = None  # the chain that is carried out, for whoever tells how long it takes

    def folder(self, identity: Identity) -> Folder:
        return Folder(self.location, identity.folder, identity.fingerprint)

    def present(self, identity: Identity) -> Manifest | None:
        """The finished artefact without what is gone of it."""
        self.forget(identity)
        return self.folder(identity).present()

    def whole(
        self, identity: Identity, stem: str, needs: Callable[[StoredObject], bool] = lambda item: True
    ) -> Manifest | None:
        """The same where all is made in one go: None if it lists no `stem`, or what `needs` says is needed is gone."""
        self.forget(identity)
        folder = self.folder(identity)
        manifest = folder.manifest()
        if manifest is None or stem not in by_stem(manifest.objects):
            return None
        gone = folder.gone(manifest)
        return None if any(item.key in gone and needs(item) for item in manifest.objects) else manifest

    def forget(self, identity: Identity) -> None:
        """Remove the artefact if this command starts anew and has not done so yet."""
        if self.fresh and identity not in self.forgotten:
            self.forgotten.add(identity)
            self.folder(identity).delete()

    def manifest(self, identity: Identity, objects: Sequence[StoredObject], **parts: Any) -> Manifest:
        """A manifest of this command's settings; `parts`: inputs, facts, and the numerics if others made it."""
        settings = self.config.model_dump(mode="json")
        settings.pop("storage")
        return Manifest(
            identity.fingerprint,
            identity.stage,
            {"name": self.name, **settings},
            parts.get("inputs", {}),
            parts.get("numerics") or decide(self.config.compute).record(),
            tuple(objects),
            parts.get("facts", {}),
        )

    def extend(
        self,
        identity: Identity,
        objects: Sequence[StoredObject],
        inputs: dict[str, Any],
        numerics: Record | None,
    ) -> None:
        """List a stage's units, beside those that another command, with more units perhaps, has listed meanwhile.

        Args:
            numerics: of what was made now; None where nothing was, and what was said before still holds.
        """
        folder = self.folder(identity)
        before = folder.present()
        listed = _with_others(objects, before)
        numerics = numerics or (before.numerics if before else None)
        folder.commit(self.manifest(identity, listed, inputs=inputs, numerics=numerics))
        unfinished.sweep(folder, {item.stem for item in listed})

    def pass_on(self) -> None:
        """Tell what the runner has to say of the machines."""
        for remark in self.runner.remarks():
            self.notify(Progress("machines", 1, 1, remark))

    def finished(self, identity: Identity, began: float, reused: bool) -> None:
        """Note what the stage took and where its artefact is."""
        startup = self.runner.startup_s - self.seconds.get(STARTUP, 0.0)
        took = time.monotonic() - began - startup
        self.seconds[identity.stage] = self.seconds.get(identity.stage, 0.0) + took
        if startup:
            self.seconds[STARTUP] = self.runner.startup_s
        self.artifacts.setdefault(identity.stage, self.folder(identity).uri)
        if not reused:
            self.worked.add(identity.stage)
        visited = dict.fromkeys([*self.reused, identity.stage])
        self.reused[:] = [stage for stage in visited if stage not in self.worked]


@dataclass(frozen=True)
class Inputs:
    """Where a worker finds a stored dataset: the storage and the dataset's identity. Travels; holds no data."""

    location: Location
    data: Identity

    def dataset(self) -> Dataset:
        return stored.load_dataset(Folder(self.location, self.data.folder, self.data.fingerprint))


@dataclass(frozen=True)
class StageObjects:
    """The objects of all units in the units' order, and the numerics of those that were made now."""

    objects: list[StoredObject]
    numerics: Record | None


def make_missing(
    context: Context, work: Work, units: Sequence[Unit], have: dict[str, StoredObject], earlier: int = 0, later: int = 0
) -> StageObjects:
    """The objects of all units: those that are there, and those that the runner makes now.

    Args:
        have: the objects that are there, by their unit's id.
        earlier, later: how many units of this stage came before these and are to come after, for the progress line.
    """
    objects = dict(have)
    missing = [unit for unit in units if unit.id not in objects]
    record = Recorder(context.location, units[0].stage)
    numerics: dict[str, Record] = {}
    stage, total, there = units[0].stage, earlier + len(units) + later, len(units) - len(missing)
    done = earlier + there
    context.notify(Progress(stage, done, total, f"{there} already there" if there else ""))
    try:
        outcomes = context.runner.map(work, missing)
        context.pass_on()
        for outcome in outcomes:
            record.add(events_of(outcome))
            if isinstance(outcome, Lost):
                context.notify(Progress(stage, done, total, f"{outcome.unit.id} was lost and is made again"))
                continue
            done += 1
            objects[outcome.unit.id] = outcome.object
            numerics[outcome.unit.id] = outcome.numerics
            context.notify(Progress(stage, done, total, f"{outcome.unit.id} done", ended=outcome.unit.id))
    finally:
        record.flush()
    return StageObjects([objects[unit.id] for unit in units], _joined([numerics[unit.id] for unit in missing]))


def _joined(records: list[Record]) -> Record | None:
    """The workers' numerics as one record; where machines differ, the first one's, and the others' beside it."""
    distinct = [record for place, record in enumerate(records) if record not in records[:place]]
    if not distinct:
        return None
    return {**distinct[0], "others": distinct[1:]} if len(distinct) > 1 else distinct[0]


def has_units(manifest: Manifest | None, units: Sequence[Unit]) -> bool:
    """Whether the manifest lists the objects of all these units."""
    return manifest is not None and {unit.id for unit in units} <= by_stem(manifest.objects).keys()


def _with_others(objects: Sequence[StoredObject], before: Manifest | None) -> list[StoredObject]:
    """A command's objects, then those that a manifest lists under other names."""
    asked = by_stem(objects)
    return [*objects, *(item for item in (before.objects if before else ()) if item.stem not in asked)]


def by_stem(items: Sequence[StoredObject]) -> dict[str, StoredObject]:
    """Objects by their names."""
    return {item.stem: item for item in items}


def events_of(outcome: Done | Lost) -> list[dict[str, Any]]:
    """What the events table says of a unit: that it was lost, or when it was started and finished."""
    unit, now = outcome.unit, time.time()
    about = {"stage": unit.stage, "unit": unit.id, "fingerprint": unit.fingerprint}
    if isinstance(outcome, Lost):
        return [{"event": "lost", "at": now, "reason": outcome.reason, **about}]
    about["host"] = outcome.host
    took = {"seconds": outcome.seconds, "bytes": outcome.object.size}
    started = {"event": "started", "at": now - outcome.seconds, **about}
    return [started, {"event": "finished", "at": now, **took, **about}]


def require_units(manifest: Manifest, count: int, what: str) -> None:
    """Refuse inputs that hold too few units."""
    if len(manifest.objects) < count:
        raise InputError(f"{what} holds {len(manifest.objects)} of {count} units; run that stage again")
