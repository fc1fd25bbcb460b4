"""The picture of a study: its table as points, one panel for ours and one for what the paper prints.

Legend: R rows (series), C columns (places on the axis).
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from padray.report.style import LIGHT, Theme, legend_columns, png, sheet, shorten, two_lines
from padray.studies.significance import Ranking
from padray.studies.table import CONTROL, Entry

_MARKERS = ("o", "^", "D", "v")  # for as many times the colours


def draw_table(entries: Sequence[Entry], heading: str, axis: str, measure: str, theme: Theme = LIGHT) -> bytes:
    """Ours on the left, what the paper prints on the right (another dataset or size has another scale).

    Args:
        measure: what ours are, e.g. accuracy.
    """
    printed = [entry for entry in entries if _number(entry.printed) is not None]
    panels, columns = 2 if printed else 1, legend_columns(theme, 4)
    legend = 0.17 * -(-len({entry.row for entry in entries}) // columns)
    down, across = (panels, 1) if theme.is_narrow else (1, panels)
    with sheet(2.6 * down + 0.3 + legend, theme) as figure:
        if heading:
            figure.suptitle(shorten(heading, 50 if theme.is_narrow else 100), fontsize=9, color=theme.ink)
        axes = figure.subplots(down, across, squeeze=False).flat
        _panel(axes[0], entries, [(e.mean * 100, e.std * 100) if e.values else None for e in entries], theme)
        axes[0].set(xlabel=axis, ylabel=f"test {measure} in %, padray")
        if printed:
            values = [_number(entry.printed) for entry in entries]
            _panel(axes[1], entries, [None if v is None else (v, 0.0) for v in values], theme)
            axes[1].set(xlabel=axis, ylabel=f"test {measure} in %, as printed")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=columns)
        return png(figure)


def draw_ranks(ranking: Ranking, heading: str, theme: Theme = LIGHT) -> bytes:
    """Average ranks, and bars as long as the critical difference: rows whose bars overlap do not differ."""
    count = len(ranking.rows)
    with sheet(1.2 + 0.24 * count, theme) as figure:
        if heading:
            figure.suptitle(shorten(heading, 50 if theme.is_narrow else 100), fontsize=9, color=theme.ink)
        axes = figure.subplots()
        half = ranking.critical / 2
        axes.errorbar(ranking.ranks, range(count), xerr=half, fmt="o", color=theme.ink, ecolor=theme.quiet, capsize=3)
        names = [two_lines(row, 18) if theme.is_narrow else shorten(row, 40) for row in ranking.rows]
        axes.set_yticks(range(count), names, color=theme.ink)
        axes.invert_yaxis()
        axes.set(xlim=(1 - half, count + half), xticks=range(1, count + 1))
        whole = f"average rank over {ranking.blocks} blocks, 1 is the best; bars: the critical difference"
        axes.set_xlabel("average rank, 1 is the best" if theme.is_narrow else whole)
        return png(figure)


def _panel(axes: Axes, entries: Sequence[Entry], points: Sequence[tuple[float, float] | None], theme: Theme) -> None:
    columns = list(dict.fromkeys(entry.column for entry in entries))
    rows = list(dict.fromkeys(entry.row for entry in entries))
    step = min(0.12, 0.7 / max(1, len(rows)))
    for place, row in enumerate(rows):
        shown = [(e, p) for e, p in zip(entries, points, strict=True) if e.row == row and p is not None]
        if not shown:
            continue
        of = rows.index(row.removeprefix(f"{CONTROL}, ")) if row != CONTROL else place  # a row's own control
        colour = theme.quiet if row == CONTROL else theme.series[of % len(theme.series)]
        across = np.array([columns.index(e.column) for e, _ in shown]) + (place - (len(rows) - 1) / 2) * step
        axes.errorbar(
            across,
            [p[0] for _, p in shown],
            [p[1] for _, p in shown],
            label=shorten(row, 30),
            color=colour,
            fmt="s" if row.startswith(CONTROL) else _MARKERS[of // len(theme.series) % len(_MARKERS)],
            markersize=4,
            capsize=2,
            linewidth=1,
        )
    axes.set_xticks(range(len(columns)), [shorten(c, 14) for c in columns], rotation=30 if len(columns) > 5 else 0)
    axes.set_xlim(-0.5, len(columns) - 0.5)  # those too that nothing is known of, so that panels are alike


def _number(printed: float | str | None) -> float | None:
    """The printed mean: `46.1±0.6` is 46.1."""
    if isinstance(printed, str):
        try:
            return float(printed.split("±")[0])
        except ValueError:
            return None
    return printed
