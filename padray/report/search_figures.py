"""The figures of a search, drawn from what search.py decided; the same looks as in figures.py."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from padray.report.front import Front, short
from padray.report.search import HistoryInfo, ImportanceInfo
from padray.report.style import LIGHT, Theme, legend_columns, percent, png, sheet, shorten_start, whole_numbers

_WIDE = 5  # times the smallest cost, from which on costs are drawn by their logarithm
_MANY = 60  # trials beyond which dots get smaller


def draw_history(info: HistoryInfo, theme: Theme = LIGHT) -> bytes:
    """The value of every trial by its number with its spread, the best so far as steps, failures along the floor."""
    blue, size = theme.sources["distilled"], 5 if len(info.numbers) <= _MANY else 3
    with sheet(2.9, theme) as figure:
        axes = figure.subplots()
        line = axes.step(info.steps, info.best_so_far, where="post", color=theme.quiet, linewidth=1.4, zorder=1)[0]
        dots = axes.errorbar(
            info.numbers,
            info.values,
            yerr=info.spreads,
            color=blue,
            marker="o",
            markersize=size,
            elinewidth=1.2,
            capsize=0,
            linestyle="",
        )
        dots.lines[2][0].set_alpha(0.45)
        handles, labels = [dots.lines[0], line], ["a trial: mean ± std", "the best so far"]
        if info.failed:
            floor = axes.get_xaxis_transform()
            crosses = axes.plot(
                info.failed,
                np.full(len(info.failed), 0.035),
                "x",
                color=theme.sources["random"],
                markersize=size + 1.5,
                markeredgewidth=1.6,
                transform=floor,
                clip_on=False,
            )
            handles, labels = [*handles, crosses[0]], [*labels, "failed"]
        if info.stopped:
            hollow = axes.plot(
                *zip(*info.stopped, strict=True), "o", markersize=size, markerfacecolor="none", color=blue, alpha=0.6
            )
            handles, labels = [*handles, hollow[0]], [*labels, "stopped"]
        if info.best in info.numbers:
            _mark_best(axes, info, theme)
        everyone = (*info.numbers, *info.failed, *(number for number, _ in info.stopped))
        axes.set_xlim(min(everyone) - 0.5, max(everyone) + 0.5)
        axes.margins(y=0.16)
        axes.set(xlabel="trial", ylabel="validation accuracy")
        axes.xaxis.set_major_locator(whole_numbers(6 if theme.is_narrow else 12, least=1))
        axes.yaxis.set_major_formatter(FuncFormatter(percent))
        figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=legend_columns(theme, 4),
            columnspacing=1.5,
            handletextpad=0.6,
        )
        return png(figure)


def _mark_best(axes: Axes, info: HistoryInfo, theme: Theme) -> None:
    """A ring around the best trial, and its value."""
    place = info.numbers.index(info.best)
    value = info.values[place]
    axes.plot([info.best], [value], "o", markersize=9, markerfacecolor=theme.paper, color=theme.sources["distilled"])
    late = place > 0.75 * (len(info.numbers) - 1)
    axes.annotate(
        f"trial {info.best}: {100 * value:.1f} %",
        (info.best, value),
        xytext=(-9 if late else 9, 6),
        textcoords="offset points",
        ha="right" if late else "left",
        bbox={"facecolor": theme.paper, "edgecolor": "none", "alpha": 0.85, "pad": 1},
    )


def draw_front(front: Front, theme: Theme = LIGHT) -> bytes:
    """Every trial's accuracy by its cost, the front as steps through its members, the defaults marked."""
    blue = theme.sources["distilled"]
    with sheet(2.9, theme) as figure:
        axes = figure.subplots()
        others = [point for point in front.points if not point.on_front]
        axes.plot([one.cost for one in others], [one.value for one in others], "o", color=theme.quiet, markersize=4)
        costs, values = [one.cost for one in front.members], [one.value for one in front.members]
        axes.step(costs, values, where="post", color=blue, linewidth=1.2, zorder=1)
        axes.plot(costs, values, "o", color=blue, markersize=6)
        for one in front.members:
            axes.annotate(str(one.trial), (one.cost, one.value), xytext=(4, 5), textcoords="offset points")
        if front.default is not None:
            own = front.default
            axes.plot([own.cost], [own.value], "D", markersize=8, markerfacecolor="none", color=theme.sources["random"])
            axes.annotate("defaults", (own.cost, own.value), xytext=(8, -12), textcoords="offset points")
        axes.margins(0.08, 0.16)
        axes.set(xlabel=front.unit, ylabel="validation accuracy")
        if min(costs) > 0 and max(one.cost for one in front.points) > _WIDE * min(costs):
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(3 if theme.is_narrow else 6))
        axes.xaxis.set_major_formatter(FuncFormatter(short))
        axes.yaxis.set_major_formatter(FuncFormatter(percent))
        return png(figure)


def draw_importances(info: ImportanceInfo, theme: Theme = LIGHT) -> bytes:
    """A bar for each parameter, the most important on top."""
    with sheet(0.55 + 0.28 * len(info.names), theme) as figure:
        axes = figure.subplots()
        rows = range(len(info.names))
        axes.barh(rows, info.shares, height=0.55, color=theme.sources["distilled"])
        for row, share in zip(rows, info.shares, strict=True):
            axes.annotate(
                f"{100 * share:.0f} %",
                (share, row),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(
            rows, [shorten_start(name, 18 if theme.is_narrow else 40) for name in info.names], color=theme.ink
        )
        axes.set_ylim(len(info.names) - 0.5, -0.5)
        axes.set_xlim(0, max(info.shares) * 1.1 or 1)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(FuncFormatter(percent))
        axes.set_xlabel("share of the variance of the trials' values")
        return png(figure)
