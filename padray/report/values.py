"""Tables and series in the figure of the distilled samples: which numbers are shown, and how they are painted.

Legend: M samples, K classes, I samples per class, C channels, T steps, F features. A table's samples are (M, F, 1, 1),
shown as rows of a heat map; series are (M, C, 1, T), shown as lines.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from padray.report.style import Theme
from padray.synthetic.set import SyntheticSet

Floats = NDArray[np.float64]
NAMES = {"image": "images", "table": "rows of features, from left to right", "series": "series"}
_RESOLUTION = 30  # parts of a spread that its last digit tells apart, or up to ten times as many
_SPREAD = "Bars, a feature each: standard deviations from each feature's mean {}; upwards above it"


def in_digits(numbers: Sequence[float], spread: float) -> list[str]:
    """Numbers of one kind with as many decimals as their spread needs: `13.84`, `13.80`."""
    if not (math.isfinite(spread) and 1e-4 < spread < 1e7):
        return [f"{number:.4g}" for number in numbers]
    decimals = max(0, -math.floor(math.log10(spread / _RESOLUTION)))
    return [f"{number:.{decimals}f}" for number in numbers]


def rule(synthetic: SyntheticSet) -> str:
    """How the numbers to paint were made, as a sentence without its stop."""
    if synthetic.preprocessing.content == "series":
        return "A line per channel, the first the strongest, each on one scale for all samples, from least to most"
    return _SPREAD.format("in the training split" if synthetic.preprocessing.kind == "normalize" else "over the set")


def shown_values(synthetic: SyntheticSet, samples: Tensor) -> Floats:
    """The numbers to paint, (M, C, T) or (M, 1, F), of samples in the set's space, by the set's scale."""
    own, samples = synthetic.learned.images.double(), samples.double()
    preprocessing = synthetic.preprocessing
    shown: Floats
    if preprocessing.content == "series":
        series, given = (preprocessing.invert(part)[:, :, 0].numpy() for part in (own, samples))
        low, high = series.min(axis=(0, 2), keepdims=True), series.max(axis=(0, 2), keepdims=True)
        shown = ((given - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
        return shown
    if preprocessing.kind == "normalize":  # the space is that of the training split's deviations already
        shown = samples.flatten(1)[:, None].numpy()
        return shown
    rows, given_rows = (preprocessing.invert(part).flatten(1) for part in (own, samples))
    spread = rows.std(dim=0, correction=0)
    standard = (given_rows - rows.mean(dim=0)) / spread.where(spread > 0, spread.new_ones(()))
    shown = standard[:, None].numpy()
    return shown


def paint(axes: Axes, content: str, values_KICT: Floats, theme: Theme) -> None:
    """Class k on the height from k to k + 1; the axes' width is the number of samples per class."""
    rows, columns = values_KICT.shape[:2]
    if content == "series":
        _lines(axes, values_KICT, theme)
    else:
        limit = max(1.0, float(np.percentile(np.abs(values_KICT), 98)))
        for k, values_I1F in enumerate(values_KICT):
            box = (0, columns, k + 0.96, k + 0.04)
            image = axes.imshow(values_I1F[:, 0], theme.balance, aspect="auto", extent=box, interpolation="nearest")
            image.set_clim(-limit, limit)
    axes.set(xlim=(0, columns), ylim=(rows, 0))


def _lines(axes: Axes, values_KICT: Floats, theme: Theme) -> None:
    """One line per channel in the cell of each sample; later channels are fainter."""
    _, _, channels, steps = values_KICT.shape
    across = np.linspace(0.06, 0.94, steps)
    for k, i, c in np.ndindex(values_KICT.shape[:3]):
        strength = 1 - 0.7 * c / channels
        up = k + 0.92 - 0.84 * values_KICT[k, i, c]
        axes.plot(i + across, up, color=theme.sources["distilled"], alpha=strength, linewidth=1)
