"""The search as the page's template shows it: tables of texts."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from padray.config import Config
from padray.configuration import loading
from padray.errors import InputError
from padray.evaluation.summary import Row
from padray.report import search, words
from padray.report.front import sentence as in_words
from padray.report.front import short
from padray.report.search import SearchSummary, TrialLine
from padray.settings.space import ParameterSpec


@dataclass(frozen=True)
class Compared:
    """The best settings beside the defaults on one network, in words."""

    architecture: str
    best: str
    default: str
    n: int
    difference: str
    error: str
    sure: bool


@dataclass(frozen=True)
class TrialRow:
    """A trial as a row of texts, its parameters in the order of the space."""

    number: int
    state: str
    best: bool
    value: str
    reason: str
    parameters: list[str]


@dataclass(frozen=True)
class FrontRow:
    """A trial on the Pareto front, its parameters in the order of the space, and the name of its file."""

    number: int
    value: str
    cost: str
    parameters: list[str]
    file: str


@dataclass(frozen=True)
class FrontPart:
    """What accuracy costs: a sentence, and the trials that nothing beats in both."""

    sentence: str
    unit: str
    rows: list[FrontRow]


@dataclass(frozen=True)
class SearchPart:
    """What the template shows of a search, in its order.

    Attributes:
        parameters: of each its name, what was searched, its default, and its value in the best trial.
        space: the space as a file, where the command needs one.
        chosen: the parameters that the search found; none where the defaults stay.
    """

    verdict: str
    comparisons: list[Compared]
    description: str
    parameters: list[tuple[str, str, str, str]]
    names: list[str]
    trials: list[TrialRow]
    top: list[TrialRow]
    no_importances: str
    command: str
    space: str
    best_file: str
    chosen: set[str]
    front: FrontPart | None


def view(summary: SearchSummary, rows: Sequence[Row], name: str, overrides: Sequence[str]) -> SearchPart:
    """A search beside the table of its best settings."""
    best = summary.winner.parameters
    comparisons = search.comparisons(rows, summary.default) if summary.best else []
    order = ("failed", "stopped", "finished")
    ranked = sorted(summary.trials, key=lambda trial: (order.index(trial.state), trial.value or 0.0), reverse=True)
    again, needs_space = command(summary, name, overrides)
    return SearchPart(
        verdict=search.verdict(comparisons, summary),
        comparisons=[_compared(each) for each in comparisons],
        description=search.describe(summary),
        parameters=[
            (key, searched(spec), shown(summary.defaults[key]), shown(best[key]) if key in best else "")
            for key, spec in summary.config.search.space.items()
        ],
        names=list(short_names(list(summary.config.search.space)).values()),
        trials=[_row(summary, trial) for trial in summary.trials],
        top=[_row(summary, trial) for trial in ranked[: search.MOST_SHOWN]],
        no_importances=search.NO_IMPORTANCES,
        command=again,
        space=space_yaml(summary.config) if needs_space else "",
        best_file=f"{summary.identity.folder}/best.yaml",
        chosen=set(best) if summary.best else set(),
        front=_front(summary),
    )


def _front(summary: SearchSummary) -> FrontPart | None:
    if summary.front is None:
        return None
    front, space = summary.front, summary.config.search.space
    rows = []
    for one in front.members:
        values = [shown(one.settings[key]) if key in one.settings else "–" for key in space]
        reached, file = f"{100 * one.value:.1f}", one.file.rpartition("/")[2]
        rows.append(FrontRow(one.trial, reached, short(one.cost), values, file))
    return FrontPart(in_words(front), front.unit, rows)


def _compared(pair: search.Comparison) -> Compared:
    difference = pair.difference
    error = f"{difference.error:.1f}" if difference.known else "?"
    best, default = words.deciding(pair.best), words.deciding(pair.default)
    return Compared(pair.architecture, best, default, pair.best.n, difference.text, error, difference.clear)


def _row(summary: SearchSummary, trial: TrialLine) -> TrialRow:
    values = trial.parameters
    shown_values = [shown(values[key]) if key in values else "–" for key in summary.config.search.space]
    reason = search.shareable(trial.reason)
    return TrialRow(
        trial.number, trial.state, trial.number == summary.best, search.value_text(trial), reason, shown_values
    )


def searched(spec: ParameterSpec) -> str:
    """`0.5 to 20, logarithmic`; `one of 0.5, 0.75`; and under which condition."""
    if spec.type == "choice":
        text = f"one of {', '.join(map(shown, spec.choices or ()))}"
    else:
        text = f"{'whole numbers ' * (spec.type == 'int')}{shown(spec.low)} to {shown(spec.high)}"
        text += ", logarithmic" * spec.log
    conditions = [f"{name} is {' or '.join(map(shown, values))}" for name, values in spec.when.items()]
    return f"{text}; where {' and '.join(conditions)}" if conditions else text


def shown(value: Any) -> str:
    """A setting's value, floats with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return search.shareable(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Headings for a table: without the section, as long as they stay apart."""
    cut = {name: name.split(".", 1)[-1] for name in names}
    taken = list(cut.values())
    return {name: short if taken.count(short) == 1 else name for name, short in cut.items()}


def space_yaml(config: Config) -> str:
    """The space, as a file that `--space` takes."""
    specs = config.search.space.items()
    return words.yaml_text({name: spec.model_dump(mode="json", exclude_defaults=True) for name, spec in specs})


def command(summary: SearchSummary, name: str, overrides: Sequence[str]) -> tuple[str, bool]:
    """What makes the search, this set and this report again, and whether it needs the space as a file of its own."""
    try:
        own = name in loading.preset_names() and loading.load(name, tuple(overrides)).config.search.space
    except InputError:  # overrides of a space that the preset does not have
        own = False
    again = words.command(name, overrides)
    if own == summary.config.search.space:
        return again, False
    file = shlex.quote(name if name in loading.preset_names() else f"{name}.yaml")
    return again.replace(f"padray run {file}", f"padray tune {file} --space space.yaml", 1), True
