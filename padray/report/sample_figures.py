"""The figures of samples: the set by class, what its soft labels say, and how it came about.

Legend: K classes, I samples per class, M = K * I, R rows, F features.
"""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from padray.methods.figure_data import Floats
from padray.report import values
from padray.report.info import ImagesInfo, LabelsInfo
from padray.report.nearest import NearestInfo
from padray.report.strip import StripInfo
from padray.report.style import LIGHT, Theme, legend_columns, place, png, readable_on, sheet, shorten

INCH_PER_LETTER = 0.073  # of the 8.5 point typeface, on average
_LEAST_COLUMN, _LEAST_NUMBER = 0.15, 0.21  # inches that a column needs for its name and for numbers
_CELL, _LEAST_CELL, _TALLEST = 1.4, 0.4, 12.0  # inches of a sample's side, and of a figure


def draw_images(info: ImagesInfo, theme: Theme = LIGHT) -> bytes:
    """A row per class: its name and its samples, as large as the sheet allows."""
    rows, columns = info.images.shape[:2]
    names, left = _names(info.names, theme)
    room = theme.width - left - 0.02
    cell = min(_CELL, max(_LEAST_CELL, _TALLEST / rows), room / columns)
    panel = columns * cell if info.content == "image" else min(2.4 * max(columns, 2), room)
    with sheet(0.3 + rows * cell + 0.04, theme, layout=None) as figure:
        axes = place(figure, left, 0.3, panel, rows * cell)
        if info.content == "image":
            _mosaic(axes, info.images, cell)
        else:
            values.paint(axes, info.content, info.images, theme)
        _rows_of(axes, names, theme)
        _heading(figure, left, values.NAMES[info.content], theme)
        return png(figure)


def _names(names: tuple[str, ...], theme: Theme) -> tuple[list[str], float]:
    """Names that leave room for what they name, and how many inches they take."""
    shown = [shorten(name, 12 if theme.is_narrow else 20) for name in names]
    return shown, 0.2 + INCH_PER_LETTER * max(map(len, shown))


def _rows_of(axes: Axes, names: list[str], theme: Theme) -> None:
    axes.set_yticks(np.arange(len(names)) + 0.5, names, color=theme.ink)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)


def _heading(figure: Figure, left: float, text: str, theme: Theme) -> None:
    figure.text(left / theme.width, 1 - 0.1 / figure.get_figheight(), text, va="top", color=theme.quiet)


def _mosaic(axes: Axes, images_KIHWC: Floats, cell: float) -> None:
    """All images in cells of one unit, each pixel a square where there are few of them."""
    rows, columns, height, width = images_KIHWC.shape[:4]
    smooth = max(height, width) > cell * 200
    ratio = min(1.0, max(0.2, height / width)), min(1.0, max(0.2, width / height))
    gap = 0.03
    for k in range(rows):
        for i in range(columns):
            high, wide = (1 - 2 * gap) * ratio[0], (1 - 2 * gap) * ratio[1]
            box = (i + 0.5 - wide / 2, i + 0.5 + wide / 2, k + 0.5 + high / 2, k + 0.5 - high / 2)
            axes.imshow(
                images_KIHWC[k, i], extent=box, aspect="auto", interpolation="antialiased" if smooth else "nearest"
            )
    axes.set(xlim=(0, columns), ylim=(rows, 0))


def draw_labels(info: LabelsInfo, theme: Theme = LIGHT) -> bytes:
    """Mean class probabilities (K', K) row by row; numbers and names where there is room for them."""
    rows, columns = info.probabilities.shape
    names, left = _names(info.names, theme)
    width = min(0.62, (theme.width - left - 0.05) / columns)
    height = min(0.34, max(0.2, width))
    most = 12 if theme.is_narrow else 20
    longest = INCH_PER_LETTER * min(most, max(map(len, info.all_names)))
    turned, named = longest > width, width > _LEAST_COLUMN
    top = 0.12 + (longest if turned else 0.15) * named
    with sheet(top + rows * height + 0.06, theme, layout=None) as figure:
        axes = place(figure, left, top, columns * width, rows * height)
        _rows_of(axes, names, theme)
        axes.spines[:].set_visible(True)
        box = (0, columns, rows, 0)
        axes.imshow(info.probabilities, theme.ramp, vmin=0, vmax=1, aspect="auto", extent=box, interpolation="nearest")
        if named:
            all_names = [shorten(name, most) for name in info.all_names]
            axes.set_xticks(np.arange(columns) + 0.5, all_names, rotation=90 if turned else 0)
            axes.xaxis.tick_top()
        if width >= _LEAST_NUMBER:
            for k, j in np.argwhere(info.probabilities >= 0.005):
                share = info.probabilities[k, j]
                colour = readable_on(theme.ramp(share), theme)
                text = f"{100 * share:.0f}"
                axes.text(j + 0.5, k + 0.5, text, ha="center", va="center", color=colour, fontsize=7.5)
        return png(figure)


def draw_strip(info: StripInfo, theme: Theme = LIGHT) -> bytes:
    """A row per class, a column per iteration that was kept, and the set at the end."""
    rows, columns = info.images.shape[:2]
    names, left = _names(info.names, theme)
    cell = min(1.0, (theme.width - left - 0.02) / columns)
    with sheet(0.3 + rows * cell + 0.04, theme, layout=None) as figure:
        axes = place(figure, left, 0.3, columns * cell, rows * cell)
        if info.content == "image":
            _mosaic(axes, info.images, cell)
        else:
            values.paint(axes, info.content, info.images, theme)
        _rows_of(axes, names, theme)
        axes.set_xticks(np.arange(columns) + 0.5, [f"{number:,}" for number in info.iterations])
        axes.xaxis.tick_top()
        return png(figure)


def draw_nearest(info: NearestInfo, theme: Theme = LIGHT) -> bytes:
    """How near the samples come to real ones, and how near those come to one another: dots, or two histograms."""
    if info.is_few:
        return _dots(info, theme)
    everything = np.concatenate([info.distances, info.yardstick])
    edges = np.linspace(0, float(everything.max()) * 1.05 or 1.0, 41)
    with sheet(2.3 if theme.is_narrow else 2.0, theme) as figure:
        axes = figure.subplots()
        for name, distances, source in _compared(info):
            shares = np.histogram(distances, edges)[0] / max(1, len(distances))
            colour = theme.sources[source]
            axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(shares, edges, color=colour, linewidth=1.6, label=name)
        axes.set(xlabel="distance to the nearest real training sample", ylabel="share of them")
        _along(axes, edges[-1], theme)
        figure.legend(loc="outside upper left", ncols=legend_columns(theme, 2))
        return png(figure)


def _along(axes: Axes, most: float, theme: Theme) -> None:
    """Distances from 0 to `most`, with as many numbers below as there is room for."""
    axes.set_xlim(0, most)
    axes.locator_params(axis="x", nbins=4 if theme.is_narrow else 9)


def _compared(info: NearestInfo) -> tuple[tuple[str, Floats, str], ...]:
    yardstick = ("as many random real samples", info.yardstick, "random")
    return (info.which, info.distances, "distilled"), yardstick


def _dots(info: NearestInfo, theme: Theme) -> bytes:
    """A row of dots for the set, and one below it for the real samples."""
    with sheet(1.4 if theme.is_narrow else 1.2, theme) as figure:
        axes = figure.subplots()
        for row, (name, distances, source) in enumerate(_compared(info)):
            colour = theme.sources[source]
            axes.plot(distances, [row] * len(distances), "o", color=colour, alpha=0.7, markersize=6, label=name)
        axes.set(xlabel="distance to the nearest real training sample", yticks=[], ylim=(1.7, -0.7))
        _along(axes, float(max(info.distances.max(), info.yardstick.max())) * 1.05 or 1.0, theme)
        figure.legend(loc="outside upper left", ncols=legend_columns(theme, 2), handletextpad=0.1)
        return png(figure)


DRAWINGS: dict[type, Callable[..., bytes]] = {
    ImagesInfo: draw_images,
    LabelsInfo: draw_labels,
    StripInfo: draw_strip,
    NearestInfo: draw_nearest,
}
