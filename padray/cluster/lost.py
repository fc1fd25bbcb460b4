"""How units fail, told apart: a lost machine is tried again, an error of ours is not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)

from padray.errors import Failure, InfrastructureError, InputError, WorkError
from padray.machine.numerics import within_memory
from padray.stages.base import Done, Make, Unit, Work, make_unit

# What Ray says when a process, a machine or what it held is gone. Everything else is an error of some code (Ray
# wraps it in RayTaskError, which is a RayError too) and would only happen again.
LOST = (
    RayActorError,
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,
    LocalRayletDiedError,
    OutOfMemoryError,
)


WAITING = "what no work was given to yet"


@dataclass(frozen=True)
class Refused:
    """A unit that padray itself gave up, and why. It travels as a value, so that Ray adds no traceback of its own."""

    unit: Unit
    error: Failure


def attempt(work: Work, prepare: Callable[[], Make], unit: Unit) -> Done | Refused:
    """Make a unit in a worker; padray's own errors become values."""
    try:
        with within_memory(f"{unit.stage} {unit.id}"):
            make = prepare()
        return make_unit(work, make, unit)
    except (InputError, WorkError) as error:
        return Refused(unit, error)


class TooManyLostError(InfrastructureError):
    """Machines are lost faster than work gets done."""


class Losses:
    """Counts what was lost, and ends the stage when that is too much.

    A node that goes is one loss, however much work it took along, and whatever is finished forgives all losses before
    it, but for those of the work that is lost again and again: that may be what kills its workers.
    """

    def __init__(self, allowed: int) -> None:
        self.allowed = allowed
        self.nodes = set[str]()  # that lost something since something was last finished
        self.times = Counter[str]()  # how often each piece of unfinished work was lost
        self.unplaced = 0

    def add(self, unit: str, reason: BaseException, node: str = "") -> None:
        """Note a loss.

        Args:
            node: where it was; empty where that was never known.

        Raises:
            InfrastructureError: more was lost than is allowed, or a worker cannot even start.
        """
        words = " ".join(str(reason).split())[:300]
        if isinstance(reason, RayActorError) and reason.actor_init_failed:
            raise InfrastructureError(f"a worker cannot start ({words}); do all nodes have the same padray installed?")
        if not node:
            self.unplaced += 1
            node = f"unknown {self.unplaced}"
        self.nodes.add(node)
        self.times[unit] += 1
        count, what = len(self.nodes), "nodes lost work and nothing was finished"
        if self.times[unit] > count:
            count, what = self.times[unit], "times the same work was lost"
        if count > self.allowed:
            raise TooManyLostError(
                f"{count} {what} (last {unit}: {type(reason).__name__}: {words}); finished units are kept, the same "
                f"command goes on; cluster.max_losses ({self.allowed}) allows more"
            )

    def forgive(self, unit: str) -> None:
        """Note that something was finished."""
        self.nodes.clear()
        self.times.pop(unit, None)
        self.times.pop(WAITING, None)


def finish(refused: list[Refused]) -> None:
    """Raise the first refusal once all other units are done."""
    if refused:
        raise refused[0].error
