"""Tables and series in the figure of the distilled samples: the numbers shown are theirs, and they are painted."""

import numpy as np
import pytest
import torch

from padray.config import DataSettings
from padray.data import whitening
from padray.draws import generator
from padray.report import info, sample_figures, values
from padray.report.style import DARK
from padray.synthetic.set import Learned, SyntheticSet


def make_set(content: str, kind: str, shape: tuple[int, int, int], classes: int = 3, ipc: int = 2) -> SyntheticSet:
    """Random samples far from [0, 1], and the preprocessing of others."""
    draw = generator(0, content, kind)
    real = torch.randn(50, *shape, generator=draw) * 30 + 200
    fitted = whitening.fit(DataSettings(preprocessing=kind), real, content)
    images = torch.randn(classes * ipc, *shape, generator=draw)
    learned = Learned(images, torch.zeros(classes * ipc, classes), torch.tensor(0.01))
    return SyntheticSet(learned, fitted, {"class_names": [f"class {k}" for k in range(classes)]})


def test_a_normalised_table_is_shown_in_the_deviations_that_it_was_learned_in() -> None:
    synthetic = make_set("table", "normalize", (5, 1, 1))
    found = info.images_info(synthetic)
    assert np.array_equal(found.images, synthetic.learned.images.double().view(3, 2, 1, 5).numpy())
    assert found.caption.startswith("All 3 classes, 2 samples each. Bars, a feature each")
    assert "standard deviations from each feature's mean in the training split;" in found.caption


@pytest.mark.parametrize(
    "numbers, spread, shown",
    [
        ([13.8, 13.8402], 0.81, ["13.80", "13.84"]),
        ([1144.2, 622.0, 406.61], 314, ["1144", "622", "407"]),
        ([0.2933, 0.4], 0.124, ["0.293", "0.400"]),
        ([2.9e-9, 1.5], 0.0, ["2.9e-09", "1.5"]),
        ([2e9, 1.23456e9], 1e9, ["2e+09", "1.235e+09"]),
    ],
)
def test_numbers_beside_each_other_have_the_decimals_that_their_spread_needs(numbers, spread, shown) -> None:
    assert values.in_digits(numbers, spread) == shown


@pytest.mark.parametrize("kind", ["none", "zca"])
def test_another_table_is_standardised_over_the_set(kind: str) -> None:
    synthetic = make_set("table", kind, (5, 1, 1))
    found = info.images_info(synthetic).images.reshape(6, 5)
    back = synthetic.preprocessing.invert(synthetic.learned.images.double()).flatten(1).numpy()
    assert np.allclose(found, (back - back.mean(axis=0)) / back.std(axis=0))
    assert "over the set" in info.images_info(synthetic).caption


def test_each_channel_of_series_has_one_scale_for_all() -> None:
    synthetic = make_set("series", "normalize", (2, 1, 12))
    found = info.images_info(synthetic).images.reshape(6, 2, 12)
    back = synthetic.preprocessing.invert(synthetic.learned.images.double())[:, :, 0].numpy()
    for c in range(2):
        low, high = back[:, c].min(), back[:, c].max()
        assert np.allclose(found[:, c], (back[:, c] - low) / (high - low))
    assert "clipped" not in info.images_info(synthetic).caption


def test_they_are_limited_as_images_are() -> None:
    found = info.images_info(make_set("series", "none", (1, 1, 6), classes=25, ipc=12))
    assert found.images.shape == (20, 10, 1, 6) and "The first 20 of 25 classes, 10 of 12 samples" in found.caption


@pytest.mark.parametrize("content, shape", [("table", (5, 1, 1)), ("series", (2, 1, 12))])
def test_what_is_painted_follows_the_numbers(content: str, shape: tuple[int, int, int]) -> None:
    synthetic = make_set(content, "normalize", shape)
    first = sample_figures.draw_images(info.images_info(synthetic))
    assert (
        first
        == sample_figures.draw_images(info.images_info(synthetic))
        != sample_figures.draw_images(info.images_info(synthetic), DARK)
    )
    synthetic.learned.images[3] *= -2
    assert sample_figures.draw_images(info.images_info(synthetic)) != first
