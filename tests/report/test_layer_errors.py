"""Absolute errors per tensor at three moments, as PAD's Figure 5 has them."""

import numpy as np
import pytest

from padray.networks.flat import Span
from padray.report import layer_errors
from padray.report.style import DARK, LIGHT, Theme

SPANS = (Span("first", (4,), 0, 4), Span("second", (6,), 4, 10))


def history(count: int) -> list[dict[str, object]]:
    return [{"iteration": i, "errors": [4.0 * i, 6.0]} for i in range(count)]


def test_errors_are_means_over_a_tensors_parameters_at_the_papers_moments() -> None:
    found = layer_errors.errors_info(history(10_000), SPANS)
    assert found is not None and found.moments == (0, 1000, 5000), "as the paper's figure"
    assert found.names == ("first", "second") and found.window == 100
    assert found.values[:, 0].tolist() == [49.5, 1049.5, 5049.5], "mean of 100 iterations, over 4 parameters"
    assert found.values[:, 1].tolist() == [1, 1, 1]
    assert "absolute" in found.caption and "mean of 100 iterations" in found.caption


def test_a_history_of_an_older_padray_has_none() -> None:
    assert layer_errors.errors_info([{"iteration": 0, "layers": [1.0, 1.0]}], SPANS) is None
    assert layer_errors.errors_info([], SPANS) is None


@pytest.mark.parametrize("theme", [LIGHT, DARK])
@pytest.mark.parametrize("count", [1, 7])
def test_the_drawing_is_png_and_the_same_bytes_again(theme: Theme, count: int) -> None:
    found = layer_errors.errors_info(history(count), SPANS)
    assert found is not None
    drawn = layer_errors.draw_errors(found, theme)
    assert drawn.startswith(b"\x89PNG") and drawn == layer_errors.draw_errors(found, theme)


def test_errors_that_are_not_finite_are_left_open() -> None:
    rows = [{"iteration": 0, "errors": [None, 6.0]}]
    found = layer_errors.errors_info(rows, SPANS)
    assert found is not None and np.isnan(found.values[:, 0]).all()
    assert layer_errors.draw_errors(found).startswith(b"\x89PNG")
