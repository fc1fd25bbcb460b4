"""Tables and series as they read best: each feature's value by class, each class's course, beside the real ones.

Legend: K classes, I samples per class, F features, C channels, T steps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from padray.methods.figure_data import Floats
from padray.report.real import RealPart
from padray.report.style import LIGHT, Theme, legend_columns, png, sheet, shorten, two_lines, whole_numbers
from padray.report.values import in_digits
from padray.synthetic.set import SyntheticSet

MOST_FEATURES, _MOST_CLASSES, _MOST_COLUMNS = 40, 7, 9
_MOST_CHANNELS = 3
_ROW = 0.3  # inches of a feature


class ProfilesInfo(NamedTuple):
    """What the samples of a set are in the data's own units, (K, I, F) or (K, I, C, T), and the real ones' (K, …).

    Attributes:
        deviations: of each feature over all training samples, (F,); () of series.
        middles: of each feature the mean over all classes' means, likewise.
        features: their names, with units where they are known.
    """

    own: Floats
    means: Floats
    spreads: Floats
    middles: Floats
    deviations: Floats
    features: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def is_table(self) -> bool:
        return self.own.ndim == 3

    @property
    def caption(self) -> str:
        """What is drawn."""
        shown = min(len(self.names), _MOST_CLASSES)
        which = f"the first {shown} of {len(self.names)} classes" if shown < len(self.names) else "each class"
        if not self.is_table:
            channels = self.own.shape[2]
            cut = f" The first {_MOST_CHANNELS} of {channels} channels." if channels > _MOST_CHANNELS else ""
            return (
                f"Lines: the set's series of {which}, in the data's own units; band: mean ± standard deviation of the "
                f"class's real training samples at each step.{cut}"
            )
        cut = f" The first {MOST_FEATURES} features." if len(self.features) > MOST_FEATURES else ""
        return (
            f"Filled: the set's samples of {which}; rings: the mean of the class's real training samples. Each feature "
            f"in standard deviations from the mean of all classes.{cut}"
        )

    def columns(self) -> dict[str, Sequence[Any]]:
        """A line per class and sample, `real mean` and `real std` among them; a column per value."""
        lines = [
            (name, what, values.reshape(-1))
            for name, own, mean, spread in zip(self.names, self.own, self.means, self.spreads, strict=True)
            for what, values in (*enumerate(own), ("real mean", mean), ("real std", spread))
        ]
        count = len(lines[0][2])
        if self.is_table:
            heads = list(self.features)
        else:
            steps = self.own.shape[-1]
            heads = [f"{self.features[place // steps]}, step {place % steps}" for place in range(count)]
        values = {head: [line[2][place] for line in lines] for place, head in enumerate(heads)}
        return {"class": [line[0] for line in lines], "sample": [line[1] for line in lines], **values}


def feature_names(facts: dict[str, Any], count: int, noun: str = "feature") -> tuple[str, ...]:
    """Features, or channels, with their units: `alcohol (% vol)`; numbered where their names are not known."""
    names = [str(name) for name in facts.get("features") or ()]
    units = [str(unit) for unit in facts.get("units") or ()]
    if len(names) != count:
        return tuple(f"{noun} {place}" for place in range(count))
    if len(units) != count:
        return tuple(names)
    return tuple(f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True))


def profiles_info(synthetic: SyntheticSet, real: RealPart) -> ProfilesInfo | None:
    """The set beside the real samples; None of images."""
    if real.means is None or real.spreads is None:
        return None
    own = synthetic.preprocessing.invert(synthetic.learned.images.double())
    shape = real.means.shape[1:]
    values = own.reshape(synthetic.classes, synthetic.ipc, *shape).numpy()
    within, between = (real.spreads**2).mean(axis=0), real.means.var(axis=0)
    features = feature_names(synthetic.facts, shape[0], "feature" if len(shape) == 1 else "channel")
    names = tuple(str(name) for name in synthetic.facts["class_names"])
    deviations = np.sqrt(within + between)
    return ProfilesInfo(values, real.means, real.spreads, real.means.mean(axis=0), deviations, features, names)


class Values(NamedTuple):
    """A table's samples for the page: classes as headings with their columns, and a line of texts per feature."""

    names: tuple[str, ...]
    samples: int
    lines: list[tuple[str, list[list[str]]]]
    more: int


def values_of(info: ProfilesInfo) -> Values:
    """The first samples of the first classes, and the mean of the real ones, in the data's own units."""
    classes = min(len(info.names), _MOST_CLASSES)
    samples = max(1, min(info.own.shape[1], _MOST_COLUMNS // classes))
    lines = [
        (name, [in_digits([*info.own[k, :samples, f], info.means[k, f]], info.deviations[f]) for k in range(classes)])
        for f, name in enumerate(info.features)
    ]
    return Values(info.names[:classes], samples, lines, len(info.names) - classes)


def draw_profiles(info: ProfilesInfo, theme: Theme = LIGHT) -> bytes:
    """A table's features downwards, or a panel per class of series."""
    return _table(info, theme) if info.is_table else _series(info, theme)


def _table(info: ProfilesInfo, theme: Theme) -> bytes:
    features = info.features[:MOST_FEATURES]
    count, classes = len(features), min(len(info.names), _MOST_CLASSES)
    scale = np.where(info.deviations > 0, info.deviations, 1.0)
    own, means = (info.own - info.middles) / scale, (info.means - info.middles) / scale
    columns = legend_columns(theme, 4)
    with sheet(0.75 + _ROW * count + 0.2 * -(-classes // columns), theme) as figure:
        axes = figure.subplots()
        for k in range(classes):
            rows = np.arange(count) + 0.12 * (k - (classes - 1) / 2)
            colour = theme.series[k]
            axes.plot(means[k, :count], rows, "o", color=colour, markerfacecolor="none", markersize=6.5, alpha=0.8)
            for sample in own[k]:
                axes.plot(sample[:count], rows, "o", color=colour, markersize=3.6)
            axes.plot([], [], "o", color=colour, markersize=4, label=shorten(info.names[k], 24))
        axes.axvline(0, color=theme.line, linewidth=0.8)
        letters = 18 if theme.is_narrow else 44
        axes.set_yticks(range(count), [two_lines(name, letters) for name in features], color=theme.ink)
        axes.set_ylim(count - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("standard deviations from the mean")
        figure.legend(loc="outside upper left", ncols=columns, handletextpad=0.1, columnspacing=1.2)
        return png(figure)


def _series(info: ProfilesInfo, theme: Theme) -> bytes:
    """Of a single channel the classes in two columns, else a row per class; on a telephone one below the other."""
    classes, channels = min(len(info.names), _MOST_CLASSES), min(info.own.shape[2], _MOST_CHANNELS)
    courses = [(k, c) for k in range(classes) for c in range(channels)]
    across = 1 if theme.is_narrow else max(2, channels)
    down = -(-len(courses) // across)
    with sheet(0.3 + 1.45 * down, theme) as figure:
        panels = figure.subplots(down, across, squeeze=False, sharex=True)
        for place, axes in enumerate(panels.flat):
            if place < len(courses):
                _course(axes, info, *courses[place], theme)
            else:
                axes.set_visible(False)
        for axes in panels[-1]:
            axes.set_xlabel("step")
        return png(figure)


def _course(axes: Axes, info: ProfilesInfo, k: int, c: int, theme: Theme) -> None:
    """A channel of a class, on the scale that the channel has in all classes."""
    colour, steps = theme.series[c], np.arange(info.own.shape[-1])
    lows, highs = info.means[:, c] - info.spreads[:, c], info.means[:, c] + info.spreads[:, c]
    axes.fill_between(steps, lows[k], highs[k], color=colour, alpha=0.18, linewidth=0)
    for sample in info.own[k]:
        axes.plot(steps, sample[c], color=colour, linewidth=1.2)
    title = info.names[k] if info.own.shape[2] == 1 else f"{info.names[k]}, {info.features[c]}"
    axes.set_title(shorten(title, 32), loc="left", fontsize=8.5, color=theme.ink)
    least, most = min(lows.min(), info.own[:, :, c].min()), max(highs.max(), info.own[:, :, c].max())
    room = 0.05 * (most - least) or 1.0
    axes.set_ylim(least - room, most + room)
    axes.xaxis.set_major_locator(whole_numbers(6))
    axes.margins(x=0.01)
