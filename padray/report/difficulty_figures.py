"""The figures of the difficulty scores, drawn from what difficulty.py decided; the same looks as in figures.py."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from padray.methods.figure_data import Floats
from padray.report.difficulty import AgreementInfo, ScheduleInfo, named
from padray.report.style import LIGHT, Theme, place, png, readable_on, sheet, whole_numbers

_CELL, _ROW, _LEFT, _TOP = 0.37, 0.24, 1.25, 1.2  # inches
_LEAST_NUMBER = 0.26  # of a cell that has room for its number


def draw_schedule(info: ScheduleInfo, theme: Theme = LIGHT) -> bytes:
    """The samples of each epoch as steps, beside the whole training split."""
    with sheet(1.9, theme) as figure:
        axes = figure.subplots()
        edges = np.arange(len(info.counts) + 1)
        axes.stairs(info.counts, edges, baseline=None, color=theme.sources["distilled"], linewidth=1.8)
        axes.axhline(info.total, color=theme.quiet, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set(xlabel="epoch of an expert", ylabel="training samples", ylim=(0, 1.08 * info.total))
        axes.margins(x=0.01)
        axes.xaxis.set_major_locator(whole_numbers(5 if theme.is_narrow else 10))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        return png(figure)


def draw_agreement(info: AgreementInfo, theme: Theme = LIGHT) -> bytes:
    """A heat map of the methods' correlations and, beside or below it, how far each agrees with real difficulty."""
    count, narrow = len(info.methods), theme.is_narrow
    cell = min(_CELL, (theme.width - _LEFT - 0.05) / count)
    side, row = cell * count, max(cell, _ROW)
    barred = info.agreement is not None
    below = row * count + 0.85 if narrow and barred else 0.0
    with sheet(_TOP + side + (0.1 if narrow else 0.55) + below, theme, layout=None) as figure:
        axes = place(figure, _LEFT, _TOP, side, side)
        _heat_map(axes, info, theme, cell)
        if info.agreement is not None:
            chosen = info.methods.index(info.chosen)
            if narrow:
                axes = place(figure, _LEFT, _TOP + side + 0.25, side, row * count)
                _bars(axes, info.agreement, chosen, theme, info.methods)
            else:
                beside = _LEFT + side + 0.35
                axes = place(figure, beside, _TOP, theme.width - beside - 0.3, side)
                _bars(axes, info.agreement, chosen, theme)
        return png(figure)


def _heat_map(axes: Axes, info: AgreementInfo, theme: Theme, cell: float) -> None:
    colours = theme.balance.reversed()
    image = axes.imshow(info.correlations, cmap=colours, aspect="auto", interpolation="nearest")
    image.set_clim(-1, 1)
    names = [named(name) for name in info.methods]
    axes.set_yticks(range(len(names)), names, color=theme.ink)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.get_yticklabels()[info.methods.index(info.chosen)].set_fontweight("bold")
    for (row, column), value in np.ndenumerate(info.correlations):
        if np.isfinite(value) and cell >= _LEAST_NUMBER:
            colour = readable_on(colours(0.5 + 0.5 * value), theme)
            axes.text(column, row, _short(value), ha="center", va="center", color=colour, fontsize=7.5)


def _short(value: float) -> str:
    """`.87`, `−.05`, `1`."""
    text = f"{abs(value):.2f}".removeprefix("0").replace("1.00", "1")
    return f"−{text}" if value < 0 and text != ".00" else text


def _bars(axes: Axes, values: Floats, chosen: int, theme: Theme, names: tuple[str, ...] = ()) -> None:
    """A bar for each method in the heat map's rows; the one that the schedule used stands out.

    Args:
        names: where the heat map's names are not beside them.
    """
    colours = [theme.sources["distilled" if row == chosen else "full"] for row in range(len(values))]
    axes.barh(range(len(values)), np.nan_to_num(values), height=0.55, color=colours)
    axes.set_yticks(range(len(names)), [named(name) for name in names], color=theme.ink)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.axvline(0, color=theme.line, linewidth=0.8)
    low, high = min(0.0, float(np.nanmin(values, initial=0))), max(0.0, float(np.nanmax(values, initial=0)))
    room = (0.4 if names else 0.22) * (high - low or 1)  # for the numbers beside the bars
    axes.set_xlim(low - (room if low else 0), high + room)
    for row, value in enumerate(values):
        said = f"{round(value, 2) + 0:.2f}".replace("-", "−") if np.isfinite(value) else "constant"
        axes.annotate(
            said,
            (value if np.isfinite(value) else 0, row),
            xytext=(5 if not value < 0 else -5, 0),
            textcoords="offset points",
            va="center",
            ha="left" if not value < 0 else "right",
        )
    axes.grid(True, axis="x")
    axes.set_xlabel(f"agreement with failing{chr(10) if names else ' '}on unseen samples")
