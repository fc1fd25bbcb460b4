"""What a study of kind `comparison` tells beside its table: intervals, ranks, and what each row's sets take."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.ticker import EngFormatter

from padray.stages.base import Context
from padray.stages.effort import Effort, effort_of
from padray.stages.facts import dataset_facts
from padray.studies.make import CellResult
from padray.studies.ranking import LEVEL, Ranking, half_width, ranking_of
from padray.studies.table import Entry, grid


class Comparison(NamedTuple):
    """Rows beside each other.

    Attributes:
        ranking: None where too few rows have values everywhere.
        efforts: by row and column, of the sets that padray makes.
    """

    entries: Sequence[Entry]
    ranking: Ranking | None
    efforts: dict[tuple[str, str], Effort]


def compare(context: Context, entries: Sequence[Entry], results: Sequence[CellResult]) -> Comparison:
    """Everything that is told of the rows together."""
    efforts = {
        (result.cell.row, result.cell.column): effort_of(chain.config, dataset_facts(context.folder(chain.data)))
        for result in results
        if result.cell.source == "distilled"
        for chain in result.chains[:1]
    }
    return Comparison(entries, ranking_of(entries), efforts)


def markdown(comparison: Comparison) -> list[str]:
    """The sections that follow the table."""
    columns = list(dict.fromkeys(entry.column for entry in comparison.entries))
    lines = ["", f"## Means with {100 * LEVEL:g} % confidence intervals", ""]
    lines += grid(["row", *columns], _rows(comparison.entries, columns))
    if comparison.ranking:
        lines += ["", "## Ranks", "", comparison.ranking.sentence, ""]
        ranked = zip(comparison.ranking.rows, comparison.ranking.ranks, strict=True)
        lines += grid(["row", "average rank"], [[row, f"{rank:.2f}"] for row, rank in ranked])
        if comparison.ranking.left_out:
            lines += [
                "",
                f"Without values everywhere, and so without a rank: {', '.join(comparison.ranking.left_out)}.",
            ]
    lines += ["", "## Cost of a set in forward passes of a sample", ""]
    lines += ["Scoring networks and experts that sets share are counted whole in each.", ""]
    costs = {key: _cost(effort) for key, effort in comparison.efforts.items()}
    rows = list(dict.fromkeys(row for row, _ in costs))
    return lines + grid(["row", *columns], [[row, *(costs.get((row, c), "") for c in columns)] for row in rows])


def _rows(entries: Sequence[Entry], columns: Sequence[str]) -> list[list[str]]:
    texts = {(entry.row, entry.column): interval(entry) for entry in entries}
    return [[row, *(texts.get((row, c), "") for c in columns)] for row in dict.fromkeys(e.row for e in entries)]


def interval(entry: Entry) -> str:
    """`51.0 [48.5, 53.5]`, in percent; nothing where there is no number."""
    if not entry.values:
        return ""
    half, mean = half_width(entry.values), 100 * entry.mean
    return f"{mean:.1f}" if half is None else f"{mean:.1f} [{mean - 100 * half:.1f}, {mean + 100 * half:.1f}]"


def _cost(effort: Effort) -> str:
    """`1.4 M; 1.2 M of it for scores and experts`."""
    short, before = EngFormatter(places=1), effort.scores + effort.experts
    return short(effort.total) + (f"; {short(before)} of it for scores and experts" if before else "")
