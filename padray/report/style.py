"""One look for all figures: two themes in two widths, one typeface, the same colour for the same source everywhere.

A sheet is 7.6 inches at 200 dots an inch, shown 760 pixels wide, or on a telephone 3.5: an inch is 100 CSS pixels, so
that text is as large on either. The colours are Okabe and Ito's, which colour-blind readers tell apart. matplotlib's
settings are set for one figure and then restored.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

WIDTH, NARROW = 7.6, 3.5
_DPI, _COLOURS = 200, 256
_WORD = re.compile(r"[./_\s-]+(?=\w)")  # what a name's next word begins after


@dataclass(frozen=True)
class Theme:
    """Colours of paper and ink, and of the sources of training samples; and how many inches wide a sheet is."""

    paper: str
    ink: str
    quiet: str
    line: str
    sources: dict[str, str]
    width: float = WIDTH

    @property
    def is_narrow(self) -> bool:
        """Whether what stands side by side has to stand one below the other."""
        return self.width < WIDTH

    @property
    def narrow(self) -> "Theme":
        """The same for a telephone."""
        return replace(self, width=NARROW)

    @property
    def series(self) -> tuple[str, ...]:
        """Colours of classes or rows beside each other, in their order."""
        return _ON_LIGHT if self.paper == LIGHT.paper else _ON_DARK

    @property
    def ramp(self) -> Colormap:
        """From nothing to everything."""
        return LinearSegmentedColormap.from_list("ramp", [self.paper, self.sources["distilled"]])

    @property
    def balance(self) -> Colormap:
        """Good below the middle, bad above it, no answer in grey."""
        colours = [self.sources["distilled"], self.paper, self.sources["random"]]
        return LinearSegmentedColormap.from_list("balance", colours).with_extremes(bad=self.line)


_ON_LIGHT = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_ON_DARK = ("#56b4e9", "#e69f00", "#00b383", "#cc79a7", "#f0e442", "#d55e00", "#e8eaed")
LIGHT = Theme(
    "#ffffff",
    "#1b1d21",
    "#646a73",
    "#d9dce1",
    {
        "distilled": "#0072b2",
        "random": "#d55e00",
        "random_soft": "#cc79a7",
        "hard_labels": "#009e73",
        "full": "#7a7f87",
    },
)
DARK = Theme(
    "#15171b",
    "#e8eaed",
    "#9aa1ab",
    "#363b44",
    {
        "distilled": "#56b4e9",
        "random": "#e69f00",
        "random_soft": "#cc79a7",
        "hard_labels": "#00b383",
        "full": "#a3a9b2",
    },
)


@contextmanager
def sheet(height: float, theme: Theme, *, layout: Literal["constrained"] | None = "constrained") -> Iterator[Figure]:
    """An empty figure of the common width, with matplotlib's settings at the theme's while it is drawn."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # the user's own matplotlibrc must not change a report's bytes
        matplotlib.rcParams.update(
            {
                "font.size": 8.5,
                "font.family": ["DejaVu Sans"],
                "text.parse_math": False,
                "text.color": theme.ink,
                "axes.labelcolor": theme.quiet,
                "axes.edgecolor": theme.line,
                "axes.facecolor": theme.paper,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.labelsize": 8.5,
                "axes.linewidth": 0.8,
                "xtick.color": theme.line,
                "ytick.color": theme.line,
                "xtick.labelcolor": theme.quiet,
                "ytick.labelcolor": theme.quiet,
                "figure.facecolor": theme.paper,
                "legend.frameon": False,
                "axes.grid": True,
                "axes.axisbelow": True,
                "grid.color": theme.line,
                "grid.linewidth": 0.5,
                "grid.alpha": 0.6,
                "lines.solid_capstyle": "round",
            }
        )
        figure = Figure(figsize=(theme.width, height), dpi=_DPI, layout=layout)
        FigureCanvasAgg(figure)
        yield figure


def png(figure: Figure) -> bytes:
    """The figure's bytes: a function of what was drawn (no date, no version)."""
    pixels, buffer = drawn(figure), io.BytesIO()
    picture = Image.fromarray(pixels).convert("RGB")
    few = picture.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)  # a third of the bytes
    palette = few.getpalette() or []
    corner = 3 * int(np.asarray(few)[0, 0])
    palette[corner : corner + 3] = pixels[0, 0, :3].tolist()  # the paper is exactly that of the page
    few.putpalette(palette)
    few.save(buffer, "PNG")
    return buffer.getvalue()


def drawn(figure: Figure) -> NDArray[np.uint8]:
    """The figure's pixels: height x width x RGBA."""
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts that the font lacks
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]


def legend_columns(theme: Theme, columns: int) -> int:
    """As many columns as the sheet has room for, `columns` on a wide one."""
    return max(1, columns // 2) if theme.is_narrow else columns


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes by the inch, measured from the top left corner, without a grid and without ticks."""
    total_width, total_height = figure.get_size_inches()
    box = (left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height)
    axes = figure.add_axes(box)
    axes.grid(False)
    axes.tick_params(length=0)
    return axes


def readable_on(colour: tuple[float, ...], theme: Theme) -> str:
    """Paper or ink, whichever stands out more from a cell of this colour (its contrast as WCAG measures it)."""
    own = _luminance(colour)
    lights = {text: _luminance(to_rgb(text)) for text in (theme.paper, theme.ink)}
    return max(lights, key=lambda text: (max(lights[text], own) + 0.05) / (min(lights[text], own) + 0.05))


def _luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def whole_numbers(most: int, least: int = 2) -> MaxNLocator:
    """At most so many ticks and one, at whole numbers that one counts in: 100, 200, 300 and not 80, 160, 240."""
    return MaxNLocator(most, integer=True, steps=[1, 2, 2.5, 5, 10], min_n_ticks=least)


def percent(value: float, _: object = None) -> str:
    """An axis's number in [0, 1] as a percentage; beyond these, where no share lies, nothing."""
    return f"{100 * value:.6g} %" if -1e-9 < value < 1 + 1e-9 else ""


def shorten(text: str, most: int) -> str:
    """A name on one line, cut with an ellipsis."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def shorten_start(text: str, most: int) -> str:
    """A name whose end tells most, cut at its start, between words where it has some."""
    if len(text) <= most:
        return text
    words = [word.end() for word in _WORD.finditer(text) if word.end() > len(text) - most]
    return "…" + text[words[0] if words else 1 - most :]


def two_lines(text: str, most: int) -> str:
    """A name of more than `most` letters on two lines, if its words allow for it, and else cut at its start."""
    fitting = [word for word in _WORD.finditer(text) if max(word.end(), len(text) - word.end()) <= most]
    if len(text) <= most or not fitting:
        return shorten_start(text, most)
    middle = min(fitting, key=lambda word: abs(2 * word.end() - len(text))).end()
    return f"{text[:middle].rstrip()}\n{text[middle:]}"
