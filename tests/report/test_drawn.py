"""What a reader sees of figures, asked of what was drawn: nothing beyond the sheet, no names cut within words."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from padray.methods.figure_data import RowsInfo
from padray.report import figures, info, profiles, sample_figures, style
from padray.report.nearest import NearestInfo
from padray.report.style import LIGHT
from tests.conftest import DRAWN


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures of a test, as they were drawn."""
    made: list[Figure] = []

    def drawn(figure: Figure) -> np.ndarray:
        made.append(figure)
        return DRAWN(figure)

    monkeypatch.setattr(style, "drawn", drawn)
    return made


def labels(axis) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels() if label.get_text()]


def test_a_name_is_cut_between_words_or_goes_on_in_a_second_line() -> None:
    assert style.shorten_start("features.linear0.weight", 17) == "…linear0.weight"
    assert style.shorten_start("features.weight", 15) == "features.weight"
    assert style.shorten_start("a" * 20, 5) == "…aaaa"
    assert style.two_lines("nonflavanoid_phenols", 18) == "nonflavanoid_\nphenols"
    assert style.two_lines("mean radius of cells (mm)", 18) == "mean radius\nof cells (mm)"
    assert style.two_lines("one_of_far_too_many_words_for_two", 12) == "…for_two"


def test_no_share_is_more_than_all_of_it(drawings: list[Figure]) -> None:
    assert [style.percent(value) for value in (-0.02, 0.0, 1.0, 1.02)] == ["", "0 %", "100 %", ""]
    points = tuple(info.Point("net", source, 1.0, 0.0, (1.0, 1.0)) for source in ("distilled", "random"))
    figures.draw_accuracy(info.AccuracyInfo(("net",), ("distilled", "random"), points))
    axis = drawings[0].axes[0]
    assert labels(axis.xaxis)[-1] == "100 %" and axis.get_xlim()[1] < 1.01


@pytest.mark.parametrize("theme", [LIGHT, LIGHT.narrow])
def test_the_scale_below_a_map_stays_on_the_sheet(theme: style.Theme, drawings: list[Figure]) -> None:
    scale = "the squared distance to the ends of experts; 1 = no nearer than the start"
    rows = RowsInfo(np.ones((2, 3)), np.arange(4.0), ("classifier.weight", "bias"), (16, 4), None, "", scale)
    figures.draw_rows(rows, theme)
    extent = drawings[0].axes[1].xaxis.label.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= theme.width * drawings[0].dpi


def course(channels: int) -> profiles.ProfilesInfo:
    """Two classes of series, each channel a hundred times the one before it."""
    scale = 100.0 ** np.arange(channels)[:, None]
    means = np.stack([np.sin(np.arange(8)) + k for k in range(2)])[:, None] * scale
    names = tuple(f"channel {c}" for c in range(channels))
    return profiles.ProfilesInfo(means[:, None] + 0.5 * scale, means, means * 0, means[0], means[0], names, ("a", "b"))


@pytest.mark.parametrize("theme", [LIGHT, LIGHT.narrow])
def test_every_channel_of_a_series_has_its_own_scale(theme: style.Theme, drawings: list[Figure]) -> None:
    profiles.draw_profiles(course(2), theme)
    panels = [axes for axes in drawings[0].axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == [f"{k}, channel {c}" for k in "ab" for c in (0, 1)]
    spans = [np.ptp(axes.get_ylim()) for axes in panels]
    assert spans[0] == spans[2] and np.allclose(spans[1], 100 * spans[0]) and spans[1] == spans[3]
    profiles.draw_profiles(course(1), theme)
    assert [axes.get_title(loc="left") for axes in drawings[1].axes if axes.get_visible()] == ["a", "b"]
    assert "The first 3 of 5 channels." in course(5).caption


@pytest.mark.parametrize("count, seen", [(3, "Each dot is a sample."), (31, "")])
def test_a_handful_of_distances_is_seen_one_by_one(count: int, seen: str, drawings: list[Figure]) -> None:
    own = np.linspace(0.2, 0.4, count)
    found = NearestInfo(np.arange(count), np.arange(count), own, own + 0.1, "images", "so", count, ("a",) * count)
    sample_figures.draw_nearest(found)
    dots = [line.get_xdata() for line in drawings[0].axes[0].lines]
    assert found.caption.startswith(seen) and ("dot" in found.caption) == bool(dots) == bool(seen)
    assert not dots or np.array_equal(dots[0], own)


@pytest.mark.parametrize("count", [3, 31])
def test_numbers_below_distances_keep_apart_on_a_telephone(count: int, drawings: list[Figure]) -> None:
    own = np.linspace(0.06, 0.205, count)
    found = NearestInfo(np.arange(count), np.arange(count), own, own / 2, "images", "so", count, ("a",) * count)
    sample_figures.draw_nearest(found, LIGHT.narrow)
    axis = drawings[0].axes[0].xaxis
    boxes = [tick.label1.get_window_extent() for tick in axis.get_major_ticks() if tick.label1.get_text()]
    assert len(boxes) > 2 and all(b.x0 - a.x1 > 0.3 * a.width for a, b in pairwise(boxes))
