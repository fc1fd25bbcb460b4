"""A study's table as an HTML page, as good as a run's report: one file, light and dark, wide and narrow.

Legend: K' classes shown of each set.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from padray.report import gallery, info, templates
from padray.report.gallery import Thumbnail
from padray.report.rendering import Picture, picture
from padray.stages import stored
from padray.stages.base import Context
from padray.studies import drawing, table
from padray.studies.comparison import Comparison, Section, sections
from padray.studies.make import CellResult
from padray.studies.table import Entry, StudyResult

_MOST_CLASSES = 10


class SetShown(NamedTuple):
    """The first sample of each of the first classes of a cell's set."""

    row: str
    column: str
    samples: list[Thumbnail]


class Number(NamedTuple):
    """A cell of the table in words: ours, what else is to be said of it, and what the paper prints."""

    ours: str
    note: str
    printed: str


def html(context: Context, result: StudyResult, compared: Comparison | None, beside: dict[str, str]) -> str:
    """The page.

    Args:
        beside: the captions of the pictures that lie beside it, by their files.
    """
    study, entries = result.study, table.entries(result.results)
    columns = list(dict.fromkeys(entry.column for entry in entries))
    shown, names = _sets(context, result.results), _class_names(context, result.results)
    view = {
        "name": table.heading(result),
        "source": table.source(study),
        "sample_text": table.sample(result),
        "corner": f"{study.rows.title} \\ {study.columns.title}",
        "columns": columns,
        "axis": study.columns.title,
        "rows": _rows(entries, columns),
        "verdict": beside_controls(entries),
        "ranking": compared.ranking.sentence if compared and compared.ranking else "",
        "sections": _sections(compared),
        "sets": shown,
        "class_names": names[:_MOST_CLASSES],
        "classes": len(names),
        "changed": [(key, table.pairs(values)) for key, values in result.changed],
        "notes": study.notes,
        "beside": beside,
    }
    return templates.render("study.html.j2", view, _figures(result, entries, compared))


def beside_controls(entries: Sequence[Entry]) -> str:
    """How many sets clearly beat their control, equally many random real samples; nothing where none has both."""
    known = {(entry.row, entry.column): entry for entry in entries}
    signs = []
    for own in entries:
        control = known.get((table.CONTROL, own.column)) or known.get((f"{table.CONTROL}, {own.row}", own.column))
        if own.row.startswith(table.CONTROL) or control is None or min(len(own.values), len(control.values)) < 2:
            continue
        error = math.sqrt(own.std**2 / len(own.values) + control.std**2 / len(control.values))
        difference = own.mean - control.mean
        signs.append(0 if abs(difference) <= 2 * error else math.copysign(1, difference))
    if not signs:
        return ""
    cells = f"Of {len(signs)} cells with a control" if len(signs) > 1 else "Of the one cell with a control"
    better, worse = signs.count(1), signs.count(-1)
    return (
        f"{cells}, equally many random real samples, {better or 'none'} clearly beat{'s' * (better < 2)} it and "
        f"{worse or 'none'} {'are' if worse > 1 else 'is'} clearly worse, by more than two standard errors of the "
        f"difference."
    )


def _rows(entries: Sequence[Entry], columns: Sequence[str]) -> list[tuple[str, bool, list[Number]]]:
    """Each row's name, whether it is the control, and its cells."""
    known = {(entry.row, entry.column): entry for entry in entries}
    nothing = Number("", "", "")
    return [
        (
            row,
            row.startswith(table.CONTROL),
            [_number(known[row, c]) if (row, c) in known else nothing for c in columns],
        )
        for row in dict.fromkeys(entry.row for entry in entries)
    ]


def _number(entry: Entry) -> Number:
    ours, note = entry.spread_text, "; ".join(entry.remarks)
    return Number(ours, note, "" if entry.printed is None else f"paper {_spaced(entry.printed)}")


def _spaced(printed: float | str) -> str:
    """As ours are written, with less room: `46.2 ± 0.8`."""
    return "\N{NARROW NO-BREAK SPACE}±\N{NARROW NO-BREAK SPACE}".join(part.strip() for part in str(printed).split("±"))


def _sections(compared: Comparison | None) -> list[Section]:
    return sections(compared) if compared else []


def _figures(result: StudyResult, entries: Sequence[Entry], compared: Comparison | None) -> dict[str, Picture]:
    axis, measure = result.study.columns.title, table.measure(result.results)
    bars = "Bars: mean ± sample standard deviation."
    if any(entry.printed is not None for entry in entries):
        bars += " What the paper prints has a panel of its own, on a scale of its own."
    drawn = {"table": picture("The table", bars, lambda theme: drawing.draw_table(entries, "", axis, measure, theme))}
    ranking = compared.ranking if compared else None
    if ranking is not None:
        caption = "Bars are as long as the critical difference: rows whose bars overlap do not differ."
        drawn["ranks"] = picture("Average ranks", caption, lambda theme: drawing.draw_ranks(ranking, "", theme))
    return drawn


def _class_names(context: Context, results: Sequence[CellResult]) -> list[str]:
    for result in results:
        if result.rows and result.cell.source == "distilled":
            chain = result.evaluated[0]
            facts = stored.load_set(context.folder(chain.distilled), chain.config.distill.iterations).facts
            return [str(name) for name in facts["class_names"]]
    return []


def _sets(context: Context, results: Sequence[CellResult]) -> list[SetShown]:
    """Of every cell with a set its first distillation; sets that several cells share are shown once."""
    shown, known = list[SetShown](), set[str]()
    for result in results:
        if not result.rows or result.cell.source != "distilled":
            continue
        chain = result.evaluated[0]
        if chain.set_fingerprint in known:
            continue
        known.add(chain.set_fingerprint)
        synthetic = stored.load_set(context.folder(chain.distilled), chain.config.distill.iterations)
        firsts = synthetic.learned.images[:: synthetic.ipc][:_MOST_CLASSES]
        content = synthetic.preprocessing.content
        samples = gallery.thumbnails(content, info.seen(synthetic, firsts), f"{result.cell.row}, class")
        shown.append(SetShown(result.cell.row, result.cell.column, samples))
    return shown
