"""What a study of kind `comparison` tells beside its table: intervals, ranks, and what each row's sets take."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import EngFormatter

from padray.stages.base import Context
from padray.stages.effort import Effort, effort_of
from padray.stages.facts import dataset_facts
from padray.studies.make import CellResult
from padray.studies.significance import LEVEL, Ranking, half_width, ranking_of
from padray.studies.table import Entry, grid


class Comparison(NamedTuple):
    """Rows beside each other.

    Attributes:
        ranking: None where too few rows have values everywhere.
        efforts: by row and column, of the sets that padray makes.
        rows: what rows are called.
    """

    entries: Sequence[Entry]
    ranking: Ranking | None
    efforts: dict[tuple[str, str], Effort]
    rows: str


def compare(context: Context, rows: str, entries: Sequence[Entry], results: Sequence[CellResult]) -> Comparison:
    """Everything that is told of the rows together; `rows`: what they are called."""
    efforts = {
        (result.cell.row, result.cell.column): effort_of(chain.config, dataset_facts(context.folder(chain.data)))
        for result in results
        if result.cell.source == "distilled"
        for chain in result.chains[:1]
    }
    return Comparison(entries, ranking_of(entries), efforts, rows)


class Section(NamedTuple):
    """A table beside the study's own: its heading, what is said above and below it, its columns and its lines."""

    title: str
    above: str
    head: list[str]
    body: list[list[str]]
    below: str = ""

    @property
    def markdown(self) -> list[str]:
        """As lines of a page."""
        lines = ["", f"## {self.title}", "", *([self.above, ""] if self.above else []), *grid(self.head, self.body)]
        return [*lines, "", self.below] if self.below else lines


def sections(comparison: Comparison) -> list[Section]:
    """What follows the table."""
    columns = list(dict.fromkeys(entry.column for entry in comparison.entries))
    intervals = Section(
        f"Means with {100 * LEVEL:g} % confidence intervals",
        "",
        [comparison.rows, *columns],
        _rows(comparison.entries, columns),
    )
    costs = {key: _cost(effort) for key, effort in comparison.efforts.items()}
    cost = Section(
        "Cost of a set in forward passes of a sample",
        "Scoring networks and experts that sets share are counted whole in each.",
        [comparison.rows, *columns],
        [[row, *(costs.get((row, c), "") for c in columns)] for row in dict.fromkeys(row for row, _ in costs)],
    )
    return [intervals, *_ranks(comparison), cost]


def _ranks(comparison: Comparison) -> list[Section]:
    ranking = comparison.ranking
    if ranking is None:
        return []
    left = f"Without values everywhere, and so without a rank: {', '.join(ranking.left_out)}." * bool(ranking.left_out)
    ranked = [[row, f"{rank:.2f}"] for row, rank in zip(ranking.rows, ranking.ranks, strict=True)]
    return [Section("Ranks", ranking.sentence, [comparison.rows, "average rank"], ranked, left)]


def _rows(entries: Sequence[Entry], columns: Sequence[str]) -> list[list[str]]:
    texts = {(entry.row, entry.column): interval(entry) for entry in entries}
    return [[row, *(texts.get((row, c), "") for c in columns)] for row in dict.fromkeys(e.row for e in entries)]


def interval(entry: Entry) -> str:
    """`51.0 [48.5, 53.5]`, in percent, as far as accuracies go; nothing where there is no number."""
    if not entry.values:
        return ""
    half, mean = half_width(entry.values), 100 * entry.mean
    if half is None:
        return f"{mean:.1f}"
    low, high = max(0.0, mean - 100 * half), min(100.0, mean + 100 * half)  # no accuracy lies beyond
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _cost(effort: Effort) -> str:
    """`1.4 M; 1.2 M of it for scores and experts`."""
    short, before = EngFormatter(places=1), effort.scores + effort.experts
    return short(effort.total) + (f"; {short(before)} of it for scores and experts" if before else "")
