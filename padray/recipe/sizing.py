"""Which sizes a budget pays for. The constants are ours, chosen by tests/benchmarks/recipe.py on several datasets.

The shares of the budget go to what makes a set good, in the order of what it gains: the proof must fit, then experts,
and all that is left are iterations. Everything here is a function of the survey, the budget and the measured paces.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from padray.config import Config
from padray.data.listing import Content
from padray.data.survey import Survey
from padray.errors import InputError
from padray.recipe import budget as budgets
from padray.recipe import scale
from padray.recipe.budget import Budget, Measure, Pace, Seconds
from padray.recipe.scale import JUDGED, Family, Plan, Sizes
from padray.recipe.yaml_sections import config_of
from padray.stages.deciding import numerics_of

MARGIN = 0.85  # of the budget is given out; the rest is for reading the data, starting, compiling and the report
START_S = 10.0  # of a run, whatever its sizes
READ_PER_MINUTE = 1000  # images of 32x32 that are read for each minute; rows of tables and series ten times as many
PROOF, CEILING, JUDGING, EXPERTS = 0.3, 0.1, 0.1, 0.4  # the most of what is given out that each may take
MOST = {"trajectory": 10_000, "distribution": 20_000}  # iterations: those of the papers
HOURS = 60  # minutes from which trajectories have the time that they need
DRAFT = 400  # iterations of the run whose pace is measured first
FEWEST = 40  # iterations below which the network is made narrower, or the budget refused
MOST_EXPERTS = 100  # as in the papers
FEWEST_EXPERTS = 3


class Fit(NamedTuple):
    """What fits into the budget, and what it takes by the plan."""

    plan: Plan
    budget: Budget
    seconds: Seconds


def fit(survey: Survey, ipc: int, budget: Budget, measure: Measure | None = None, family: Family | None = None) -> Fit:
    """The largest sizes that the budget pays for.

    Args:
        measure: gives the paces; left out, they are measured here.
        family: another one than suits the budget.

    Raises:
        InputError: samples per class that the data do not have, or a budget that is too small for anything.
    """
    family = family or family_of(survey.content, budget)
    for width in _widths(survey, budget):
        draft = Sizes(family, width, _limit(survey, ipc, budget), DRAFT)
        fitted, compiles = _fit(survey, ipc, budget, draft, measure or budgets.measure)
        if compiles != _compiles(fitted.plan):  # its iterations have another pace
            longer = replace(draft, iterations=fitted.plan.sizes.iterations)
            fitted, _ = _fit(survey, ipc, budget, longer, measure or budgets.measure)
        if fitted.plan.sizes.iterations >= FEWEST:
            return fitted
    took = fitted.seconds
    least = took.wall(budget.cores) + (FEWEST - took.iterations) * took.iteration
    needed = (least + START_S) / MARGIN / 60
    raise InputError(
        f"--budget {budget.asked}: the least that is worth it takes {math.ceil(needed)} minutes by plan; ask for more, "
        f"or make the samples smaller with --set data.size=…"
    )


def _fit(survey: Survey, ipc: int, budget: Budget, draft: Sizes, measure: Measure) -> tuple[Fit, bool]:
    """What fits at the pace of a draft, and whether the draft's distillation is compiled."""
    plan = scale.plan(survey, ipc, replace(draft, full_epochs=1))  # whose pace is asked for, should there be time
    paces = measure(config_of(plan), scale.known_of(plan))
    return _Fitting(survey, ipc, budget, paces).fit(draft), _compiles(plan)


def _compiles(plan: Plan) -> bool:
    known = scale.known_of(plan)
    return numerics_of(config_of(plan), known.shape, known.classes).compile == "on"


def family_of(content: Content, budget: Budget) -> Family:
    """Of images, distribution matching where minutes count and trajectories where hours do.

    Of tables and series, whose networks are small, trajectories at once: experts and hundreds of iterations take
    seconds there, and the learned lr and labels are worth it.
    """
    return "distribution" if content == "image" and budget.minutes < HOURS else "trajectory"


def _widths(survey: Survey, budget: Budget) -> list[int]:
    """The network's widths that are tried, from the one that suits the budget down."""
    widths = [128, 64, 32, 16, 8]
    most = 128 if budget.minutes >= 240 else 64 if budget.minutes >= 60 else 32
    return widths[widths.index(most) :]


def _limit(survey: Survey, ipc: int, budget: Budget) -> int | None:
    """Training samples of each class that are read in the time that there is; None where those are all."""
    per_minute = float(READ_PER_MINUTE)
    if survey.content == "image":
        per_minute *= min(4.0, 32**2 / math.prod(survey.shape[1:]))  # opening a small one takes its time too
    else:
        per_minute *= 10
    limit = max(_least(ipc), int(per_minute * budget.minutes) // len(survey.names))
    return None if limit >= survey.largest[1] else _round(limit)


def _least(ipc: int) -> int:
    """Training samples of a class below which a limit never goes: a set is smaller than what it is made of."""
    return max(50, 2 * ipc)


def _round(count: int) -> int:
    """Down to two digits, which are easier to read: 1234 is 1200."""
    step = 10 ** max(0, len(str(count)) - 2)
    return int(count // step * step)


class _Fitting:
    """Sizes of one network, one after the other, each within its share."""

    def __init__(self, survey: Survey, ipc: int, budget: Budget, paces: Mapping[Pace, float]) -> None:
        self.survey, self.ipc, self.budget, self.paces = survey, ipc, budget, paces
        self.given = max(1.0, MARGIN * budget.seconds - START_S)

    def fit(self, sizes: Sizes) -> Fit:
        sizes = self._proof(sizes)
        sizes = self._judging(sizes)
        sizes = self._experts(sizes) if self._config(sizes).distill.needs_experts else self._ceiling(sizes)
        sizes = self._iterations(sizes)
        return Fit(self._plan(sizes), self.budget, self._seconds(sizes))

    def _plan(self, sizes: Sizes) -> Plan:
        return scale.plan(self.survey, self.ipc, sizes)

    def _config(self, sizes: Sizes) -> Config:
        return config_of(self._plan(sizes))

    def _seconds(self, sizes: Sizes) -> Seconds:
        plan = self._plan(sizes)
        return budgets.seconds(config_of(plan), scale.known_of(plan), self.paces)

    def _proof(self, sizes: Sizes) -> Sizes:
        """The most thorough proof within its share, or else the shortest."""
        for seeds, epochs in ((5, 300), (5, 200), (3, 200), (3, 100)):
            tried = replace(sizes, seeds=seeds, cell_epochs=epochs, judge_epochs=min(200, epochs))
            if self._seconds(tried).cells / self.budget.cores <= PROOF * self.given:
                break
        return tried

    def _judging(self, sizes: Sizes) -> Sizes:
        """Three networks judge an iterate, or one; without a validation split none does."""
        if not self._plan(sizes).data.validation:
            return replace(sizes, judges=0)
        three = self._seconds(replace(sizes, judges=3)).judging <= JUDGING * self.given
        return replace(sizes, judges=3 if three else 1)

    def _ceiling(self, sizes: Sizes) -> Sizes:
        """The longest training on the full data within its share; none where ten epochs are too many."""
        for epochs in (60, 30, 20, 10):
            tried = replace(sizes, full_epochs=epochs)
            if self._seconds(tried).full / self.budget.cores <= CEILING * self.given:
                return tried
        return sizes

    def _experts(self, sizes: Sizes) -> Sizes:
        """As many experts as fit, of as many samples: where not even the fewest do, of fewer samples."""
        sizes = replace(sizes, epochs=15 if self.ipc == 1 else 20 if self.ipc < 10 else 30)
        share = EXPERTS * self.given * self.budget.cores
        for _ in range(8):
            one = self._seconds(sizes).expert
            if one * FEWEST_EXPERTS <= share or sizes.limit == _least(self.ipc):
                break
            most, part = sizes.limit or self.survey.largest[1], min(0.8, share / one / FEWEST_EXPERTS)
            sizes = replace(sizes, limit=max(_least(self.ipc), _round(int(part * most))))
        count = min(MOST_EXPERTS, max(FEWEST_EXPERTS, int(share / one)))
        return replace(sizes, experts=count)

    def _iterations(self, sizes: Sizes) -> Sizes:
        """All that is left."""
        spent = self._seconds(replace(sizes, iterations=JUDGED))
        left = self.given - spent.wall(self.budget.cores) + spent.iteration * spent.iterations
        count = min(MOST[sizes.family], _round(max(0, int(left / spent.iteration))))
        return replace(sizes, iterations=max(JUDGED, count // JUDGED * JUDGED))
