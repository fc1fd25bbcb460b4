"""The search as the page's template shows it: tables of texts."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

from padray.config import Config
from padray.configuration import loading
from padray.errors import InputError
from padray.evaluation.table import Row
from padray.report import search, words
from padray.report.search import SearchSummary, TrialLine
from padray.settings.space import ParameterSpec


def view(summary: SearchSummary, rows: Sequence[Row], name: str, overrides: Sequence[str]) -> dict[str, Any]:
    """What the template shows, in its order."""
    found = search.comparisons(rows, summary.default)
    order = ("failed", "stopped", "finished")
    ranked = sorted(summary.trials, key=lambda trial: (order.index(trial.state), trial.value or 0.0), reverse=True)
    again, needs_space = command(summary, name, overrides)
    return {
        "verdict": search.verdict(found, summary),
        "comparisons": [
            {
                "architecture": c.architecture, "best": words.accuracy(c.best), "default": words.accuracy(c.default),
                "n": c.best["n"], "difference": c.difference.text,
                "error": f"{c.difference.error:.1f}" if c.difference.known else "?", "sure": c.difference.clear,
            }
            for c in found
        ],
        "description": search.describe(summary),
        "parameters": [
            (key, searched(spec), shown(summary.defaults[key]),
             shown(summary.winner.parameters[key]) if key in summary.winner.parameters else "")
            for key, spec in summary.config.search.space.items()
        ],
        "names": list(short_names(list(summary.config.search.space)).values()),
        "trials": [_line(summary, trial) for trial in summary.trials],
        "top": [_line(summary, trial) for trial in ranked[: search.MOST_SHOWN]],
        "no_importances": search.NO_IMPORTANCES,
        "command": again,
        "space": space_yaml(summary.config) if needs_space else "",
        "best_file": f"{summary.identity.folder}/best.yaml",
        "found": set(summary.winner.parameters),
    }  # fmt: skip


def _line(summary: SearchSummary, trial: TrialLine) -> dict[str, Any]:
    """A trial as a row of texts, its parameters in the order of the space."""
    space = summary.config.search.space
    return {
        "number": trial.number, "state": trial.state, "best": trial.number == summary.best,
        "value": search.value_text(trial), "reason": search.shareable(trial.reason),
        "parameters": [shown(trial.parameters[key]) if key in trial.parameters else "–" for key in space],
    }  # fmt: skip


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
