"""The figures: each `draw_*` turns what its info function decided into the bytes of a PNG, in one theme.

Legend as in info.py: K classes, I images per class, L parameter tensors, T iterations, B bins of iterations.
"""

import textwrap
from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import FuncFormatter, NullFormatter

from padray.methods.figure_data import CountsInfo, Floats, RowsInfo, WeightsInfo
from padray.report.info import SOURCES, AccuracyInfo, LossInfo, Point
from padray.report.sample_figures import INCH_PER_LETTER
from padray.report.style import (
    LIGHT,
    Theme,
    legend_columns,
    percent,
    place,
    png,
    sheet,
    shorten,
    shorten_start,
    whole_numbers,
)

_FLOOR = 1e-4  # weights below it are drawn there


def draw_loss(info: LossInfo, theme: Theme = LIGHT) -> bytes:
    """Loss, validation accuracy (where it was taken) and the student's learning rate (if learned), over iterations."""
    blue, judged = theme.sources["distilled"], len(info.judged) > 0
    ratios = [2.4, *([1.6] if judged else []), *([1.0] if info.student_lr is not None else [])]
    with sheet(0.9 * sum(ratios) + 0.3, theme) as figure:
        panels = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]
        panels[0].plot(info.iterations, info.loss, color=blue, linewidth=0.5, alpha=0.45)
        panels[0].plot(info.iterations, info.median, color=blue, linewidth=1.8)
        panels[0].set_ylabel("matching loss")
        _log_if_wide(panels[0], info.loss)
        if judged:
            _validation(panels[1], info, theme)
        if info.student_lr is not None:
            panels[-1].plot(info.iterations, info.student_lr, color=theme.quiet, linewidth=1.4)
            panels[-1].set_ylabel("student lr")
            panels[-1].ticklabel_format(axis="y", useOffset=False)
        panels[-1].set_xlabel("iteration")
        for axes in panels:
            axes.axvline(info.chosen, color=theme.ink, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.margins(x=0.01)
        panels[0].xaxis.set_major_locator(whole_numbers(4 if theme.is_narrow else 8))
        figure.align_ylabels(list(panels))
        return png(figure)


def _log_if_wide(axes: Axes, values: Floats) -> None:
    """A logarithmic scale for values that span more than a factor of 20."""
    positive = values[values > 0]
    if len(positive) and positive.max() > 20 * positive.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _validation(axes: Axes, info: LossInfo, theme: Theme) -> None:
    colour = theme.sources["distilled"]
    axes.plot(info.judged_at, info.judged, color=colour, linewidth=1.4, marker="o", markersize=3)
    axes.set_ylabel(f"validation\n{info.measure}")
    axes.yaxis.set_major_formatter(FuncFormatter(percent))
    axes.margins(y=0.35)
    low, high = axes.get_ylim()
    axes.set_yticks([tick for tick in axes.get_yticks() if max(low, 0) <= tick <= min(high, 1)])  # shares, and in view
    if info.best is not None:
        ring = axes.plot([info.chosen], [info.best], "o", markersize=7, markerfacecolor=theme.paper, color=colour)
        ring[0].set_clip_on(False)  # the last iterate stands at the edge
        left = info.chosen > info.iterations.mean()
        axes.annotate(
            f"the set: {100 * info.best:.1f} %",
            (info.chosen, info.best),
            xytext=(-9 if left else 9, 5),
            textcoords="offset points",
            ha="right" if left else "left",
        )


def draw_rows(info: RowsInfo, theme: Theme = LIGHT) -> bytes:
    """Rows downwards, iterations to the right; the cut as a line, what is above it left out."""
    count = len(info.names)
    row = min(0.32, max(0.13, 5.0 / count))
    size = min(8.5, row * 50)
    beside = [""] * count if theme.is_narrow else [f"  {size:,}" for size in info.sizes] or [""] * count
    letters = int((150 if theme.is_narrow else 290) / size)
    labels = [f"{shorten_start(n, letters)}{b}" for n, b in zip(info.names, beside, strict=True)]
    left = 0.2 + INCH_PER_LETTER * size / 8.5 * max(map(len, labels))
    aside = 1.05 if info.cut is not None and not theme.is_narrow else 0.17
    width, top, height = theme.width - left - aside, 0.08, row * count
    with sheet(height + (1.3 if theme.is_narrow else 1.15), theme, layout=None) as figure:
        axes = place(figure, left, top, width, height)
        logs = np.ma.log2(np.ma.masked_invalid(info.values))
        limit = min(4.0, max(1.0, float(np.percentile(np.abs(logs).compressed(), 98)))) if logs.count() else 1.0
        box = (info.edges[0], info.edges[-1], count, 0)
        image = axes.imshow(logs, theme.balance, aspect="auto", extent=box, interpolation="nearest")
        image.set_clim(-limit, limit)
        axes.set_yticks(np.arange(count) + 0.5, labels, fontsize=size, color=theme.ink)
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(whole_numbers(4 if theme.is_narrow else 8))
        if info.cut is not None:
            _cut(axes, info.cut, count, theme)
        start = 0.2 if theme.is_narrow else left
        bar = place(figure, start, top + height + 0.55, min(3.2, theme.width - start - aside), 0.11)
        colours = figure.colorbar(image, cax=bar, orientation="horizontal")
        colours.outline.set_edgecolor(theme.line)
        ticks = [power for power in range(-4, 5) if abs(power) <= limit]
        colours.set_ticks(ticks, labels=[f"{2.0**power:g}" if power >= 0 else f"1/{2**-power}" for power in ticks])
        bar.set_xlabel(textwrap.fill(info.scale, 44) if theme.is_narrow else info.scale)
        bar.xaxis.label.set_horizontalalignment("left")
        bar.xaxis.label.set_x(0)
        return png(figure)


def _cut(axes: Axes, cut: float, count: int, theme: Theme) -> None:
    """The line, drawn a little beyond the map, and what lies on either side of it."""
    across = axes.get_yaxis_transform()
    axes.plot([0, 1.02], [cut, cut], color=theme.ink, linewidth=1.6, transform=across, clip_on=False)
    axes.axhspan(0, cut, facecolor="none", edgecolor=theme.quiet, hatch="////", linewidth=0, alpha=0.4)
    for text, side, colour in () if theme.is_narrow else (("↑ left out", 1, theme.quiet), ("↓ matched", -1, theme.ink)):
        axes.annotate(
            text,
            (1.03, cut),
            xycoords=across,
            xytext=(0, 4 * side),
            textcoords="offset points",
            color=colour,
            va="bottom" if side > 0 else "top",
        )
    axes.set_ylim(count, 0)


def draw_accuracy(info: AccuracyInfo, theme: Theme = LIGHT) -> bytes:
    """Test accuracy of each architecture: mean ± std of every source, and each network as a faint dot."""
    step, most = 0.22, 14 if theme.is_narrow else 30
    columns = legend_columns(theme, 3)
    legend = 0.18 * ((len(info.sources) - 1) // columns)
    with sheet(0.8 + legend + 0.24 * len(info.points) + 0.1 * len(info.architectures), theme) as figure:
        axes = figure.subplots()
        for source in info.sources:
            for point in (p for p in info.points if p.source == source):
                offset = step * (info.sources.index(source) - (len(info.sources) - 1) / 2)
                _point(axes, point, info.architectures.index(point.architecture) + offset, theme)
        axes.set_yticks(range(len(info.architectures)), [shorten(a, most) for a in info.architectures], color=theme.ink)
        axes.set_ylim(len(info.architectures) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(percent))
        axes.locator_params(axis="x", nbins=4 if theme.is_narrow else 9)
        if axes.get_xlim()[1] > 1:
            axes.set_xlim(right=1 + 0.02 * (1 - axes.get_xlim()[0]))
        axes.set_xlabel(f"test {info.measure}{'' if theme.is_narrow else ': mean ± std, and each network'}")
        handles = [axes.plot([], [], "o", color=theme.sources[s], markersize=5)[0] for s in info.sources]
        figure.legend(
            handles,
            [SOURCES[s] for s in info.sources],
            loc="outside upper left",
            ncols=columns,
            handletextpad=0.1,
            columnspacing=1.5,
        )
        return png(figure)


def _point(axes: Axes, point: Point, y: float, theme: Theme) -> None:
    colour = theme.sources[point.source]
    axes.plot(point.values, [y] * len(point.values), "|", color=colour, markersize=7, alpha=0.7)
    axes.errorbar(
        point.mean, y, xerr=point.std, color=colour, marker="o", markersize=5.5, elinewidth=1.4, capsize=0, linestyle=""
    )


def draw_weights(info: WeightsInfo, theme: Theme = LIGHT) -> bytes:
    """IADD: range and median of the weights, the share of parameters that they leave in play, and their histogram."""
    blue = theme.sources["distilled"]
    with sheet(6.3 if theme.is_narrow else 2.5, theme) as figure:
        spread, share, map_ = figure.subplots(3, 1) if theme.is_narrow else figure.subplots(1, 3)
        spread.fill_between(
            info.iterations, np.maximum(info.low, _FLOOR), info.high, color=blue, alpha=0.22, linewidth=0
        )
        spread.plot(info.iterations, info.median, color=blue, linewidth=1.8)
        spread.set(xlabel="iteration", ylabel="weights: range and median")
        _log_if_wide(spread, np.concatenate([np.maximum(info.low, _FLOOR), info.high]))
        share.plot(info.iterations, info.effective, color=blue, linewidth=1.8)
        share.set(xlabel="iteration", ylabel="effective share of parameters", ylim=(0, 1.04))
        share.yaxis.set_major_formatter(FuncFormatter(percent))
        _weights_map(map_, info, theme)
        for axes in (spread, share, map_):
            axes.xaxis.set_major_locator(whole_numbers(4))
            axes.margins(x=0.01)
        return png(figure)


def _weights_map(axes: Axes, info: WeightsInfo, theme: Theme) -> None:
    """The share of weights in each bin over iterations, cut to the bins that are ever used."""
    shares_TB = info.counts / info.counts.sum(axis=1, keepdims=True)
    used = np.flatnonzero(shares_TB.any(axis=0))
    first, last = max(0, used[0] - 1), min(len(info.edges) - 1, used[-1] + 2)
    across = np.append(info.iterations, info.iterations[-1] + 1)
    axes.grid(False)
    few_show = PowerNorm(0.4, vmin=0, vmax=1)  # a hundredth of the weights is worth seeing
    axes.pcolormesh(across, info.edges[first : last + 1], shares_TB.T[first:last], cmap=theme.ramp, norm=few_show)
    axes.set(xlabel="iteration", ylabel="log10 |w|")


def draw_counts(info: CountsInfo, theme: Theme = LIGHT) -> bytes:
    """How often each number was chosen, as bars."""
    with sheet(2.0, theme) as figure:
        axes = figure.subplots()
        axes.bar(info.values, info.counts, width=0.9, color=theme.sources["distilled"])
        axes.set(xlabel=info.label, ylabel="how often", xlim=(info.values[0] - 0.8, info.values[-1] + 0.8))
        axes.grid(False, axis="x")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(whole_numbers(8))
        return png(figure)


DRAWINGS: dict[type, Callable[..., bytes]] = {
    RowsInfo: draw_rows,
    WeightsInfo: draw_weights,
    CountsInfo: draw_counts,
}
