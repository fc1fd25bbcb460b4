"""The table of a study: our numbers beside the printed ones, with what they are means of and how they differ.

A value of a cell is one distillation's accuracy, itself the mean over the evaluation's fresh networks; where a single
one is asked for, the values are those networks' accuracies. Mean ± sample standard deviation is over the values.
"""

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from padray.config import Config
from padray.evaluation.published import WHOSE
from padray.studies.definition import FULL, Shown, Study
from padray.studies.grid import Differences
from padray.studies.make import CellResult

CONTROL = "random real samples"
_MOST_PAIRS = 4


@dataclass(frozen=True)
class Ours:
    """What came out: the values, those of the networks that did not diverge, and how many of all networks did."""

    values: tuple[float, ...] = ()
    others: tuple[float, ...] = ()
    diverged: int = 0
    networks: int = 0

    @property
    def divergence(self) -> str:
        """`1 of 5 networks diverged; the others 67.1 ± 0.4`."""
        count = f"{self.diverged} of {self.networks} networks diverged"
        return f"{count}; the others {_spread(self.others)}" if self.others else count


def _std(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _spread(values: Sequence[float]) -> str:
    """`46.1 ± 0.6`, in percent; of a single value there is no spread."""
    return f"{100 * statistics.fmean(values):.1f}" + f" ± {100 * _std(values):.1f}" * (len(values) > 1)


@dataclass(frozen=True)
class Entry:
    """One cell of the table: accuracies in [0, 1] and what the paper prints, in percent, as it prints it.

    `missing` says why there is no number, or what the number is without.
    """

    row: str
    column: str
    ours: Ours
    printed: float | str | None
    missing: str = ""

    @property
    def values(self) -> tuple[float, ...]:
        return self.ours.values

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        return _std(self.values)

    @property
    def spread_text(self) -> str:
        """`46.1 ± 0.6`, or nothing."""
        return _spread(self.values) if self.values else ""

    @property
    def remarks(self) -> list[str]:
        """Why there is no number; or what it is without, and what diverged."""
        if not self.values:
            return [self.missing] if self.missing else []
        notes = [f"n = {len(self.values)}; {self.missing}"] if self.missing else []
        return notes + ([self.ours.divergence] if self.ours.diverged else [])

    @property
    def text(self) -> str:
        """`46.1 ± 0.6 (paper 46.2)`, or why there is no number; then what the number is without, and what diverged."""
        text = self.missing
        if self.values:
            text = self.spread_text + f" ({'; '.join(self.remarks)})" * bool(self.remarks)
        return text if self.printed is None else f"{text} (paper {self.printed})"


@dataclass(frozen=True)
class StudyResult:
    """What a table tells: the study under its profile, the settings that differ from its file, and the results."""

    study: Study
    profile: str
    changed: Differences
    results: Sequence[CellResult]


def entries(results: Sequence[CellResult]) -> list[Entry]:
    """The cells in the order of the plan, then the control of every column; where its rows differ in it, of each.

    Controls that the study has a row for are not told twice.
    """
    own, controls = [_entry(result) for result in results], list[Entry]()
    for column in dict.fromkeys(result.cell.column for result in results):
        with_rows = [r for r in results if r.cell.column == column and r.rows]
        asked_for = [_ours(r, "random") for r in with_rows if r.cell.source == "random"]
        sets = {r.cell.row: _ours(r, "random") for r in with_rows if r.cell.source == "distilled"}
        here = {row: ours for row, ours in sets.items() if ours not in asked_for}
        shared = not asked_for and len(set(here.values())) == 1
        controls += [
            Entry(CONTROL if shared else f"{CONTROL}, {row}", column, ours, None)
            for row, ours in list(here.items())[: 1 if shared else None]
        ]
    return own + controls


def _entry(result: CellResult) -> Entry:
    cell = result.cell
    missing, asked = cell.missing, len(result.chains)
    if result.failed:
        some = f"{asked - len(result.rows)} of {asked} distillations " if result.rows else ""
        missing = f"{some}failed: {result.failed}"
    return Entry(cell.row, cell.column, _ours(result, cell.source), cell.printed, missing)


def _ours(result: CellResult, source: Shown) -> Ours:
    """What a cell came to for one source of training samples."""
    if not result.rows:
        return Ours()
    label = result.cell.shown_network()
    rows = [next(row for row in rows if (row.architecture, row.source) == (label, source)) for rows in result.rows]
    balanced = _by_balanced(result)
    if source != "distilled" or len(result.chains) == 1:  # all distillations of a cell share one control
        values, others = tuple(rows[0].values_of(balanced)), tuple(rows[0].values_of_others(balanced))
        return Ours(values, others, rows[0].diverged, rows[0].n)
    left = tuple(spread.mean for row in rows if (spread := row.others(balanced)))
    counts = sum(row.diverged for row in rows), sum(row.n for row in rows)
    return Ours(tuple(row.spread(balanced).mean for row in rows), left, *counts)


def _by_balanced(result: CellResult) -> bool:
    """Whether the cell is judged by balanced accuracy."""
    config = result.cell.config
    return config is not None and config.evaluation.metric == "balanced_accuracy"


def measure(results: Sequence[CellResult]) -> str:
    """What the numbers are; a study's cells are all judged alike."""
    kinds = [_by_balanced(result) for result in results if result.cell.config]
    return "balanced accuracy" if kinds and kinds[0] else "accuracy"


def source(study: Study) -> str:
    """Where the study comes from and, where numbers are printed beside ours, these."""
    return f"{'Printed numbers' if study.printed else 'Source'}: {study.source}."


def heading(result: StudyResult) -> str:
    """The title, which says so where the data or the size are not the paper's, or settings are not the file's."""
    others = dict(result.changed).get("data.dataset", [])
    on = f" on {', '.join(dict.fromkeys(str(after) for _, after in others))}" if others else ""
    size = f" ({result.profile} profile{on}, not the paper's size)"
    if result.profile == FULL:
        size = " (with other settings than the study's file)" if result.changed else ""
    return f"{result.study.title}{size}"


def sample(study_result: StudyResult) -> str:
    """What n counts, and by which protocols the networks are trained."""
    configs = [result.cell.config for result in study_result.results if result.rows and result.cell.config]
    if not configs:
        return "No cell has a number."
    counts = sorted({config.evaluation.seeds for config in configs})
    networks = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    if study_result.study.distillations > 1:
        ours = f"n = {study_result.study.distillations} distillations, each the mean of {networks} fresh networks"
        shared = " A cell's distillations share their experts."
    else:
        ours, shared = f"n = {networks} fresh networks trained on one distilled set", ""
    if not any(config.distill.needs_experts for config in configs):
        shared = ""
    what = f"Test {measure(study_result.results)} in %, mean ± sample standard deviation"
    counted = f"{what}: {ours}; the control's n = {networks} networks.{shared}"
    return f"{counted} {_protocols(configs)}{_teachers(configs)} {_chosen(configs, bool(study_result.study.printed))}"


def _chosen(configs: Sequence[Config], beside_printed: bool) -> str:
    """Which iterate of a distillation is its set, and which one it is in what the papers print."""
    judged = {config.data.validation for config in configs if config.distill.validation.seeds}
    shares = " or ".join(f"{100 * share:g} %" for share in sorted(judged))
    on_held = f"the iterate that did best on a validation split ({shares} of the training data)"
    some_last = any(not config.distill.validation.seeds for config in configs)
    last = "its distillation's last iterate, for none was judged"
    which = f"{on_held}, or {last}" if judged and some_last else on_held if judged else last
    papers = "; the printed numbers of trajectory matching are of the iterate that is best on the test split"
    of_trajectories = any(config.distill.family == "trajectory" for config in configs)
    return f"Each set is {which}{papers * (beside_printed and of_trajectories)}."


def _protocols(configs: Sequence[Config]) -> str:
    """By which protocols the networks are trained; printed numbers have their papers' own."""
    asked = [config.evaluation for config in configs]
    names = list(dict.fromkeys(f"{WHOSE[own.protocol]} {own.protocol_on('distilled')}" for own in asked))
    return f"Protocol{'s' * (len(names) > 1)}: {'; '.join(names)}."


def _teachers(configs: Sequence[Config]) -> str:
    """Whose labels the networks learn from, where they are not the sets' own."""
    taught = [config.evaluation.teacher for config in configs if config.evaluation.taught]
    names = ", ".join(dict.fromkeys(teacher.network.label for teacher in taught))
    return f" The networks learn from a teacher's labels ({names}), not from those of the sets." if taught else ""


@dataclass(frozen=True)
class CellLine:
    """A cell of the table as it is stored and as `--json` prints it, accuracies in [0, 1].

    Attributes:
        others_mean, others_std: of the networks that did not diverge; None where none is left.
        printed_percent: the paper's number.
        missing: why ours is not there, or not whole.
    """

    row: str
    column: str
    mean: float | None
    std: float | None
    n: int
    values: list[float]
    networks: int
    diverged: int
    others_mean: float | None
    others_std: float | None
    printed_percent: str | None
    missing: str


def lines_of(cells: Sequence[Entry]) -> list[CellLine]:
    """The table, a line for each cell."""
    return [_line(entry) for entry in cells]


def _line(entry: Entry) -> CellLine:
    ours, printed = entry.ours, entry.printed
    return CellLine(
        row=entry.row,
        column=entry.column,
        mean=entry.mean if entry.values else None,
        std=entry.std if entry.values else None,
        n=len(entry.values),
        values=list(entry.values),
        networks=ours.networks,
        diverged=ours.diverged,
        others_mean=statistics.fmean(ours.others) if ours.others else None,
        others_std=_std(ours.others) if ours.others else None,
        printed_percent=None if printed is None else str(printed),
        missing=entry.missing,
    )


def as_csv(columns: dict[str, list[Any]]) -> bytes:
    """The cells' lines, each cell's values in one field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    lines = zip(*columns.values(), strict=True)
    writer.writerows([" ".join(map(str, v)) if isinstance(v, list) else v for v in line] for line in lines)
    return text.getvalue().encode()


def markdown(result: StudyResult, pictures: dict[str, str], beside: Sequence[str] = ()) -> str:
    """The whole table as a page of Markdown; `pictures` says of each file what it shows.

    Args:
        beside: lines that follow the table.
    """
    study, cells = result.study, entries(result.results)
    columns = list(dict.fromkeys(entry.column for entry in cells))
    lines = [f"# {heading(result)}", "", f"{source(study)} {sample(result)}", ""]
    lines += grid([f"{study.rows.title} \\ {study.columns.title}", *columns], _body(cells, columns))
    lines += beside
    if result.changed:
        lines += ["", "## Settings that differ from the full study", ""]
        lines += grid(["setting", "full study → this table"], [[f"`{k}`", pairs(v)] for k, v in result.changed])
    if study.notes:
        lines += ["", "## What settings cannot show", "", *(f"- {note}" for note in study.notes)]
    if pictures:
        lines += ["", *(f"{caption}\n\n![{name}]({name})\n" for name, caption in pictures.items())]
    return "\n".join(lines) + "\n"


def _body(cells: Sequence[Entry], columns: list[str]) -> list[list[str]]:
    texts = {(entry.row, entry.column): entry.text for entry in cells}
    return [[row, *(texts.get((row, c), "") for c in columns)] for row in dict.fromkeys(e.row for e in cells)]


def grid(head: list[str], body: list[list[str]]) -> list[str]:
    """A table in Markdown, line by line."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (head, *body)]
    return [f"| {' | '.join(row)} |" for row in (cells[0], ["---"] * len(head), *cells[1:])]


def pairs(values: list[tuple[Any, Any]]) -> str:
    """What cells have in place of what the full study has; the first few."""
    shown = "; ".join(f"{_short(before)} → {_short(after)}" for before, after in values[:_MOST_PAIRS])
    return shown + (f"; and {len(values) - _MOST_PAIRS} more" if len(values) > _MOST_PAIRS else "")


def _short(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict) and "name" in value[0]:
        return ", ".join(network["name"] for network in value)
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None or value == [] else str(value)


def lines_for_console(results: Sequence[CellResult]) -> tuple[list[str], list[list[str]]]:
    """The columns' names and the rows of texts, for a terminal."""
    cells = entries(results)
    columns = list(dict.fromkeys(entry.column for entry in cells))
    return columns, _body(cells, columns)
