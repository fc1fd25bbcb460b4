"""Absolute matching errors of every tensor at three moments of a distillation: what PAD's Figure 5 shows.

info.py's `layers_info` tells the same errors relative to the expert's own way. Legend: L tensors, T iterations.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from padray.methods.figure_data import Floats, History
from padray.networks.flat import Span
from padray.report.style import LIGHT, Theme, png, sheet, shorten_start

_MOMENTS = (0.0, 0.1, 0.5)  # of all iterations; of the paper's 10,000 these are its 0, 1000 and 5000
_MEAN_OVER = 0.01  # of all iterations from each moment on, since each one has another expert and start


class ErrorsInfo(NamedTuple):
    """Mean squared error of a tensor's parameters at each moment (moments, L), NaN where no trajectory was finite."""

    values: Floats
    moments: tuple[int, ...]
    names: tuple[str, ...]
    window: int

    @property
    def caption(self) -> str:
        """What was measured, and when."""
        mean = f", mean of {self.window} iterations" if self.window > 1 else ""
        return f"Mean squared distance of a tensor's parameters to the expert's end (absolute){mean}."


def errors_info(history: History, spans: Sequence[Span]) -> ErrorsInfo | None:
    """The absolute errors of a history; None of one that an older padray wrote, which kept relative ones alone."""
    if not history or history[0].get("errors") is None:
        return None
    errors = np.array([row["errors"] for row in history], dtype=np.float64)  # (T, L)
    sizes = np.array([span.stop - span.start for span in spans], dtype=np.float64)
    window = max(1, int(len(errors) * _MEAN_OVER))
    moments = tuple(int(len(errors) * share) for share in _MOMENTS)
    values = np.stack([errors[at : at + window].mean(axis=0) / sizes for at in moments])
    first = int(history[0]["iteration"])
    return ErrorsInfo(values, tuple(first + at for at in moments), tuple(span.name for span in spans), window)


def draw_errors(info: ErrorsInfo, theme: Theme = LIGHT) -> bytes:
    """Tensors from shallow (left) to deep, one line per moment, on a logarithmic scale."""
    colours = (theme.quiet, theme.sources["random"], theme.sources["distilled"])
    with sheet(3.4, theme) as figure:
        axes = figure.subplots()
        for moment, values, colour in zip(info.moments, info.values, colours, strict=True):
            axes.plot(values, color=colour, marker="o", markersize=4, linewidth=1.4, label=f"iteration {moment:,}")
        if np.nanmax(info.values, initial=0.0) > 0:
            axes.set_yscale("log")
        names = [shorten_start(name, 24) for name in info.names]
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_ylabel("mean squared error")
        figure.legend(loc="outside upper left", ncols=len(info.moments))
        return png(figure)
