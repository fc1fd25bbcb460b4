"""What is told of work while it goes on: how far a stage is, and who works on what."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Running:
    """What a worker is at.

    Attributes:
        unit: the unit's id.
        node: where, as far as that is known.
        seconds: since it was begun.
    """

    unit: str
    node: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Workers:
    """Who works at the moment.

    Attributes:
        pending: workers that wait for a place to run.
        nodes: machines that have a worker of this run; 0 in one process, whose machine nobody needs to be told of.
        lost: units that were lost so far, and made again.
    """

    running: tuple[Running, ...] = ()
    pending: int = 0
    nodes: int = 0
    lost: int = 0

    def __add__(self, other: "Workers") -> "Workers":
        return Workers(
            self.running + other.running, self.pending + other.pending, self.nodes + other.nodes, self.lost + other.lost
        )

    def summary(self) -> str:
        """For a line of progress; empty where work is not spread."""
        if not (self.pending or self.nodes or self.lost):
            return ""
        nodes = f"{self.nodes} node{'s' * (self.nodes != 1)}"
        return f"{len(self.running)} running, {self.pending} pending, {nodes}, {self.lost} lost"


@dataclass(frozen=True)
class Progress:
    """How far a stage is. `text` holds what is worth saying beside the numbers, e.g. the loss."""

    stage: str
    done: int
    total: int
    text: str = ""
    workers: Workers = Workers()


Notify = Callable[[Progress], None]
