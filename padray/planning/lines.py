"""What a plan is made of: lines of units, and the kinds of work that a unit consists of."""

from dataclasses import dataclass
from typing import Literal

from padray.networks.settings import NetworkSettings

# Whole trainings, by their recipe: experts and scores; the teacher; a network that judges iterates or trials; a cell's
# by another protocol than theirs, or taught.
Training = Literal["experts", "scores", "teacher", "judged", "cell", "taught"]
# "look": samples through a network, no gradient. "iteration": one of the distillation, with all its trajectories.
Kind = Training | Literal["look", "iteration"]


@dataclass(frozen=True)
class Task:
    """A kind of work whose pace is one number: seconds per sample, of an iteration seconds for the whole.

    Attributes:
        samples: those of an epoch, which decide how full the batches are; 0 where that does not matter.
    """

    kind: Kind
    network: NetworkSettings
    samples: int = 0


@dataclass(frozen=True)
class Part:
    """So many samples, or iterations, of one kind of work."""

    task: Task
    amount: int


@dataclass(frozen=True)
class Evidence:
    """Which finished units of the events table are like those of a line: by fingerprint, and by part of their name."""

    fingerprints: frozenset[str]
    name: str = ""


@dataclass(frozen=True)
class Line:
    """The units of a stage that are alike.

    Attributes:
        what: what one unit is.
        there: how many of the units are in storage.
        left: units that are to do; of a distillation that was begun, the share that is left.
        parts: what one unit consists of.
        steps: optimiser's steps of one unit, of a distillation its students' steps.
        unit_bytes: what one unit leaves in storage, without headers and manifests; `exact`, or about that.
        memory: bytes that a worker needs to itself at its peak, beside the interpreter and its libraries.
        shared: bytes that the workers of a machine have in common beside that: mapped files.
        at_most: there may be fewer units.
    """

    stage: str
    what: str
    units: int
    there: int
    left: float
    parts: tuple[Part, ...] = ()
    steps: int = 0
    unit_bytes: int = 0
    exact: bool = False
    memory: int = 0
    shared: int = 0
    evidence: Evidence = Evidence(frozenset())
    at_most: bool = False

    @property
    def to_do(self) -> int:
        return self.units - self.there

    def amount(self, *kinds: Kind) -> int:
        """Samples, or iterations, of these kinds in one unit."""
        return sum(part.amount for part in self.parts if part.task.kind in kinds)

    def planned(self, pace: "Pace | None") -> "PlannedLine":
        """The line with its seconds."""
        seconds = pace.seconds if pace and self.parts else None
        return PlannedLine(
            stage=self.stage,
            unit=self.what,
            units=self.units,
            there=self.there,
            to_do=self.to_do,
            at_most=self.at_most,
            steps=self.steps,
            samples_trained=self.amount("experts", "scores", "teacher", "judged", "cell", "taught"),
            samples_looked_at=self.amount("look"),
            iterations=self.amount("iteration"),
            seconds=seconds,
            hours=None if seconds is None else seconds * self.left / 3600,
            measured=pace.source if pace and self.parts else None,
            bytes=self.unit_bytes * self.to_do,
            bytes_exact=self.exact,
            memory=self.memory,
            memory_shared=self.shared,
        )


@dataclass(frozen=True)
class PlannedLine:
    """A line as `--json` prints it.

    Attributes:
        samples_trained, samples_looked_at, steps, iterations: of one unit.
        seconds, hours: of one unit, and of all that is to do; None where nobody has measured them.
        measured: how the seconds are known.
        bytes: that all that is to do leaves in storage.
    """

    stage: str
    unit: str
    units: int
    there: int
    to_do: int
    at_most: bool
    steps: int
    samples_trained: int
    samples_looked_at: int
    iterations: int
    seconds: float | None
    hours: float | None
    measured: str | None
    bytes: int
    bytes_exact: bool
    memory: int
    memory_shared: int


@dataclass(frozen=True)
class Pace:
    """Seconds of one unit, and how they are known. `seen`: of each unit that was measured, where units were."""

    seconds: float
    source: str
    seen: tuple[float, ...] = ()
