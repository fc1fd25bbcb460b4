"""Samples in the page itself: each a picture of its own that grows with the window, in classes with their names.

An image is a PNG of its own pixels, which the browser enlarges without smoothing; a series is a line, a row of a table
a bar per feature, both drawn as SVG in the page's colours.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from padray.methods.figure_data import Floats
from padray.report.info import ImagesInfo
from padray.report.real import Extremes, Pair, RealPart
from padray.report.strip import StripInfo
from padray.report.values import in_digits

_WIDTH, _HEIGHT = 120, 60  # of the drawing of a series or a table's row, in its own units
_OPEN = 10  # classes that are shown at once; the others are folded away
_LIMIT = 3.0  # standard deviations that a bar reaches


class Thumbnail(NamedTuple):
    """A sample: the bytes of its picture, or else lines and bars to draw; and what it is, for who cannot see it."""

    alt: str
    png: bytes = b""
    width: int = _WIDTH
    height: int = _HEIGHT
    lines: tuple[str, ...] = ()
    bars: tuple[tuple[float, float, float, float], ...] = ()

    @property
    def is_pixelated(self) -> bool:
        """Whether its pixels are to be seen as squares; large pictures are smoothed."""
        return max(self.width, self.height) < 128


class Shown(NamedTuple):
    """A sample and what stands under it."""

    picture: Thumbnail
    caption: str = ""


class Group(NamedTuple):
    """Samples under one heading."""

    name: str
    samples: list[Shown]


class Beside(NamedTuple):
    """A sample of the set, the real one nearest to it, and what is to be said of both."""

    own: Thumbnail
    real: Thumbnail
    name: str
    caption: str


class Gallery(NamedTuple):
    """All samples of a page.

    Attributes:
        single: whether there is one sample per class, so that all stand under one heading.
        strip: the names of its rows with their samples, in the order of `moments`.
        pairs: of each class the sample that is nearest to a real one, beside that.
        extremes: of each class the easiest and the hardest real samples.
        folded: how many of the groups are shown at once.
    """

    groups: list[Group]
    single: bool
    strip: list[Group]
    moments: tuple[str, ...]
    pairs: list[Beside]
    extremes: list[tuple[str, Group, Group]]
    folded: int = _OPEN


def gallery(images: ImagesInfo, strip: StripInfo | None, real: RealPart | None) -> Gallery:
    """What the page shows of samples."""
    groups = [
        Group(name, [Shown(one) for one in thumbnails(images.content, of_class, name)])
        for name, of_class in zip(images.names, images.images, strict=True)
    ]
    rows, moments = list[Group](), tuple[str, ...]()
    if strip is not None:
        moments = tuple(f"{number:,}" for number in strip.iterations)
        rows = [
            Group(name, [Shown(one) for one in thumbnails(strip.content, part, name)])
            for name, part in zip(strip.names, strip.images, strict=True)
        ]
    pairs = [_beside(images.content, pair) for pair in real.pairs] if real else []
    extremes = [_extremes(images.content, one) for one in real.extremes] if real else []
    return Gallery(groups, images.images.shape[1] == 1, rows, moments, pairs, extremes)


def _beside(content: str, pair: Pair) -> Beside:
    own, real = (
        thumbnails(content, part[None], f"{pair.name}, {what}")[0]
        for part, what in ((pair.own, "of the set"), (pair.real, "real"))
    )
    of = "" if pair.real_class == pair.name else f", of {pair.real_class}"
    return Beside(own, real, pair.name, f"{pair.distance:.3f} from sample\N{NO-BREAK SPACE}{pair.row}{of}")


def _extremes(content: str, one: Extremes) -> tuple[str, Group, Group]:
    half = len(one.easiest)
    groups, texts = [], _scores(one.scores)
    for what, part, scores in (("easiest", one.easiest, texts[:half]), ("hardest", one.hardest, texts[half:])):
        pictures = thumbnails(content, part, f"{one.name}, {what}")
        groups.append(Group(what, [Shown(p, score) for p, score in zip(pictures, scores, strict=True)]))
    return one.name, groups[0], groups[1]


def _scores(scores: Sequence[float]) -> list[str]:
    """Counts as such, other scores with the same decimals for all."""
    whole = all(score == round(score) for score in scores)
    return [f"{score:.0f}" for score in scores] if whole else in_digits(scores, max(scores) - min(scores))


def thumbnails(content: str, samples: Floats, name: str) -> list[Thumbnail]:
    """Samples as `info.seen` gives them: images (M, H, W, 3), series (M, C, T), tables (M, 1, F)."""
    draw = {"image": _image, "series": _series, "table": _bars}[content]
    several = len(samples) > 1
    return [draw(sample, f"{name} {place}" if several else name) for place, sample in enumerate(samples, start=1)]


def _image(pixels_HWC: Floats, alt: str) -> Thumbnail:
    buffer = io.BytesIO()
    values = np.rint(255 * pixels_HWC).astype(np.uint8)
    grey = bool((values == values[..., :1]).all())
    Image.fromarray(values[..., 0] if grey else values).save(buffer, "PNG", optimize=True)
    return Thumbnail(alt, buffer.getvalue(), pixels_HWC.shape[1], pixels_HWC.shape[0])


def _series(values_CT: Floats, alt: str) -> Thumbnail:
    across = np.linspace(0, _WIDTH, values_CT.shape[1])
    lines = [
        " ".join(f"{x:.4g},{_HEIGHT * (0.96 - 0.92 * value):.4g}" for x, value in zip(across, channel, strict=True))
        for channel in values_CT
    ]
    return Thumbnail(alt, lines=tuple(lines))


def _bars(values_1F: Floats, alt: str) -> Thumbnail:
    """A bar per feature, upwards above the mean and downwards below it."""
    values, middle = values_1F[0].clip(-_LIMIT, _LIMIT), _HEIGHT / 2
    step = _WIDTH / len(values)
    bars = []
    for place, value in enumerate(values):
        height = abs(value) / _LIMIT * middle
        bars.append((place * step + 0.1 * step, middle - height * (value > 0), 0.8 * step, height))
    return Thumbnail(alt, bars=tuple(tuple(round(number, 2) for number in bar) for bar in bars))  # type: ignore[misc]
