"""The table of a study: our numbers beside the printed ones, with what they are means of and how they differ.

A value of a cell is one distillation's accuracy, itself the mean over the evaluation's fresh networks; with a single
distillation the values are those networks' accuracies. Mean ± sample standard deviation is over the values.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from padray.evaluation.table import Row
from padray.studies.make import CellResult
from padray.studies.plan import FULL, Study, differences

CONTROL = "random real samples"
_MOST_PAIRS = 4


@dataclass(frozen=True)
class Entry:
    """One cell of the table: accuracies in [0, 1] and what the paper prints, in percent, as it prints it."""

    row: str
    column: str
    values: tuple[float, ...]
    printed: float | str | None
    missing: str = ""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def text(self) -> str:
        """`46.1 ± 0.6 (paper 46.2)`, or why there is no number."""
        ours = f"{100 * self.mean:.1f} ± {100 * self.std:.1f}" if self.values else self.missing
        return ours if self.printed is None else f"{ours} (paper {self.printed})"


def entries(results: Sequence[CellResult]) -> list[Entry]:
    """The cells in the order of the plan, then the control of every column that has one."""
    found = [_entry(result) for result in results]
    for column in dict.fromkeys(result.cell.column for result in results):
        controls = {_values(result, "random") for result in results if result.cell.column == column and result.rows}
        if len(controls) == 1:  # where cells of a column have different controls, none stands for all
            found.append(Entry(CONTROL, column, controls.pop(), None))
    return found


def _entry(result: CellResult) -> Entry:
    cell = result.cell
    missing = "not available" if cell.config is None else f"failed: {result.failed}" if not result.rows else ""
    return Entry(cell.row, cell.column, _values(result, "distilled"), cell.printed, missing)


def _values(result: CellResult, source: str) -> tuple[float, ...]:
    """The values of a cell for one source of training samples."""
    if not result.rows:
        return ()
    measure, label = _measure(result), result.cell.shown_network()
    rows = [
        next(row for row in rows if (row["architecture"], row["source"]) == (label, source)) for rows in result.rows
    ]
    if source != "distilled" or len(rows) == 1:  # all distillations of a cell share one control
        return tuple(rows[0]["balanced_values" if measure == "balanced accuracy" else "values"])
    return tuple(row["balanced_mean" if measure == "balanced accuracy" else "mean"] for row in rows)


def _measure(result: CellResult) -> str:
    config = result.cell.config
    return "balanced accuracy" if config and config.evaluation.metric == "balanced_accuracy" else "accuracy"


def measure(results: Sequence[CellResult]) -> str:
    """What the numbers are; a study's cells are all judged alike."""
    return next((_measure(result) for result in results if result.cell.config), "accuracy")


def heading(study: Study, profile: str) -> str:
    """The title, which says so where the profile is not the paper's size."""
    size = "" if profile == FULL else f" ({profile} profile, not the paper's size)"
    return f"{study.title}{size}"


def sample(study: Study, results: Sequence[CellResult]) -> str:
    """What n counts."""
    made = [result.cell.config for result in results if result.rows and result.cell.config]
    networks = max((config.evaluation.seeds for config in made), default=0)
    if study.distillations > 1:
        ours = f"n = {study.distillations} distillations, each the mean of {networks} fresh networks"
    else:
        ours = f"n = {networks} fresh networks trained on one distilled set"
    what = f"Test {measure(results)} in %, mean ± sample standard deviation"
    return f"{what}: {ours}; the control's n = {networks} networks."


def columns_of(found: Sequence[Entry]) -> dict[str, list[Any]]:
    """The table as columns for Parquet, accuracies in [0, 1]."""
    return {
        "row": [e.row for e in found], "column": [e.column for e in found],
        "mean": [e.mean if e.values else None for e in found], "std": [e.std if e.values else None for e in found],
        "n": [len(e.values) for e in found], "values": [list(e.values) for e in found],
        "printed_percent": [None if e.printed is None else str(e.printed) for e in found],
        "missing": [e.missing for e in found],
    }  # fmt: skip


def markdown(study: Study, original: Study, profile: str, results: Sequence[CellResult], pictures: list[str]) -> str:
    """The whole table as a page of Markdown."""
    found = entries(results)
    columns = list(dict.fromkeys(entry.column for entry in found))
    lines = [f"# {heading(study, profile)}", "", f"Beside {study.source}. {sample(study, results)}", ""]
    lines += _grid([f"{study.rows.title} \\ {study.columns.title}", *columns], _body(found, columns))
    changed = differences(original, study) if profile != FULL else []
    if changed:
        lines += ["", "## Settings that differ from the full study", ""]
        lines += _grid(["setting", "full study → this table"], [[f"`{k}`", _pairs(v)] for k, v in changed])
    if study.notes:
        lines += ["", "## What settings cannot show", "", *(f"- {note}" for note in study.notes)]
    if pictures:
        lines += ["", *(f"![{name}]({name})\n" for name in pictures)]
    return "\n".join(lines) + "\n"


def _body(found: Sequence[Entry], columns: list[str]) -> list[list[str]]:
    texts = {(entry.row, entry.column): entry.text for entry in found}
    return [[row, *(texts.get((row, c), "") for c in columns)] for row in dict.fromkeys(e.row for e in found)]


def _grid(head: list[str], body: list[list[str]]) -> list[str]:
    cells = [[text.replace("|", "\\|") for text in row] for row in (head, *body)]
    return [f"| {' | '.join(row)} |" for row in (cells[0], ["---"] * len(head), *cells[1:])]


def _pairs(values: list[tuple[Any, Any]]) -> str:
    shown = "; ".join(f"{_short(before)} → {_short(after)}" for before, after in values[:_MOST_PAIRS])
    return shown + (f"; and {len(values) - _MOST_PAIRS} more" if len(values) > _MOST_PAIRS else "")


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        return ", ".join(network["name"] for network in value)
    return "none" if value is None or value == [] else str(value)


def lines_for_console(results: Sequence[CellResult]) -> tuple[list[str], list[list[str]]]:
    """The columns' names and the rows of texts, for a terminal."""
    found = entries(results)
    columns = list(dict.fromkeys(entry.column for entry in found))
    return columns, _body(found, columns)


def summary_rows(results: Sequence[CellResult]) -> list[Row]:
    """The table for `--json`: one object per cell."""
    columns = columns_of(entries(results))
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
