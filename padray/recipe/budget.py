"""What a run takes by the plan's own cost model, on this machine: how a budget becomes sizes.

The pace of each kind of work is measured once, by a few steps of the real thing (planning/calibrate.py); what a run of
any sizes takes then follows from what the plan counts. Experts and cells are spread over the cores, a distillation is
made on one.
"""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from padray import fingerprint
from padray.config import Config
from padray.errors import InputError
from padray.machine.files import shown
from padray.planning import calibrate, costs
from padray.planning.chain import Chain
from padray.planning.lines import Kind, Line, Task
from padray.planning.outline import NOWHERE, Known
from padray.stages.base import Context, Notify
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location

Pace = tuple[Kind, bool]  # of what kind the work is, and whether it is on the set and not on the data
Measure = Callable[[Config, Known], Mapping[Pace, float]]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LEAST_S, _MOST_S = 60, 30 * 86400


@dataclass(frozen=True)
class Budget:
    """Seconds that a run may take, as they were asked for, and the cores that there are."""

    asked: str
    seconds: float
    cores: int

    @property
    def minutes(self) -> float:
        return self.seconds / 60


def budget(asked: str, cores: int | None = None) -> Budget:
    """`10m`, `1h`, `8h`. Raises InputError for what is no time, and for one in which nothing can be done."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", asked.strip())
    if match is None or not _LEAST_S <= float(match[1]) * _UNITS[match[2]] <= _MOST_S:
        raise InputError(f"--budget {shown(asked)}: say how long a run may take, from 1m to 30d, such as 10m, 1h or 8h")
    return Budget(asked.strip(), float(match[1]) * _UNITS[match[2]], cores or len(os.sched_getaffinity(0)))


@dataclass(frozen=True)
class Seconds:
    """Core seconds of a run's parts.

    Attributes:
        expert: of one of them.
        iteration: of one.
        judging: of all iterates that are judged.
        cells: of the proof without the networks on the full data, which `full` are of.
    """

    expert: float
    experts: int
    iteration: float
    iterations: int
    judging: float
    cells: float
    full: float

    def wall(self, cores: int) -> float:
        """Seconds on so many cores."""
        spread = self.expert * self.experts + self.cells + self.full
        return spread / cores + self.iteration * self.iterations + self.judging


def measure(config: Config, known: Known, notify: Notify = lambda _: None) -> Mapping[Pace, float]:
    """Seconds per sample, or per iteration, of all that a run of these settings consists of."""
    paces = calibrate.measure(config, known, _lines(config, known), notify)
    return {_pace(task, config, known): seconds for task, seconds in paces.items()}


def seconds(config: Config, known: Known, paces: Mapping[Pace, float]) -> Seconds:
    """What a run takes, by what the plan counts and by the pace of a run like it."""
    lines = _lines(config, known)

    def of(line: Line, *kinds: Kind) -> float:
        parts = [part for part in line.parts if part.amount and (not kinds or part.task.kind in kinds)]
        return sum(part.amount * paces[_pace(part.task, config, known)] for part in parts)

    experts = [line for line in lines if line.stage == "experts"]
    distill = next(line for line in lines if line.stage == "distill")
    cells = [line for line in lines if line.stage == "evaluate"]
    iterations = distill.amount("iteration")
    iterating = of(distill, "iteration")
    return Seconds(
        expert=sum(map(of, experts)),
        experts=sum(line.units for line in experts),
        iteration=iterating / iterations,
        iterations=iterations,
        judging=of(distill) - iterating,
        cells=sum(of(line) * line.units for line in cells if not _full(line)),
        full=sum(of(line) * line.units for line in cells if _full(line)),
    )


def _full(line: Line) -> bool:
    return line.what.endswith(" on the full data")


def _lines(config: Config, known: Known) -> list[Line]:
    """The plan's lines of a run that finds nothing in storage."""
    with tempfile.TemporaryDirectory(prefix="padray-") as folder:
        context = Context("", config, open_location(folder), InlineRunner())
        return costs.lines(Chain(context, known, fingerprint.data_identity(config, NOWHERE)))


def _pace(task: Task, config: Config, known: Known) -> Pace:
    return task.kind, 0 < task.samples <= known.classes * config.distill.ipc
