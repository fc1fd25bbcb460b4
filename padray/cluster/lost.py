"""How units fail, told apart: a lost machine is tried again, an error of ours is not."""

from collections.abc import Callable
from dataclasses import dataclass

from padray.errors import InputError, WorkError
from padray.stages.base import Done, Make, Unit, make_unit


@dataclass(frozen=True)
class Refused:
    """A unit that padray itself gave up, in its own words. It travels as a value, so no traceback is lost or shown."""

    unit: Unit
    sentence: str
    is_input: bool

    def error(self) -> InputError | WorkError:
        return (InputError if self.is_input else WorkError)(self.sentence)


def attempt(make: Callable[[], Make], unit: Unit) -> Done | Refused:
    """Make a unit in a worker; padray's own errors become values."""
    try:
        return make_unit(make(), unit)
    except (InputError, WorkError) as error:
        return Refused(unit, str(error), isinstance(error, InputError))


class Losses:
    """Counts what was lost, and ends the stage when that is too much."""

    def __init__(self, allowed: int) -> None:
        self.allowed, self.count = allowed, 0

    def add(self, unit: str, reason: BaseException) -> None:
        """Note a loss. Raises WorkError when there were more than allowed."""
        self.count += 1
        if self.count > self.allowed:
            words = " ".join(str(reason).split())[:300]
            raise WorkError(
                f"workers were lost {self.count} times (last with {unit}: {type(reason).__name__}: {words}); finished "
                f"units are kept, the same command goes on; cluster.max_losses ({self.allowed}) allows more"
            )


def finish(refused: list[Refused]) -> None:
    """Raise the first refusal once all other units are done."""
    if refused:
        raise refused[0].error()
