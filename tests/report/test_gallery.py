"""The samples in the page: their own pixels, lines and bars; what stands beside them; and every figure as CSV."""

import csv
import io

import numpy as np
import pytest
import torch
from PIL import Image

from padray.data.datasets import Dataset
from padray.report import gallery, page, profiles, rendering
from padray.report.difficulty import Difficulty
from padray.report.real import real_part
from padray.report.rendering import Picture
from padray.report.subject import Subject
from padray.report.templates import breakable, unbroken
from padray.synthetic.set import Learned, SyntheticSet
from tests.report.test_nearest import dataset
from tests.report.test_page import subject


def scored(data: Dataset) -> Difficulty:
    """Training sample i has the score i."""
    from padray.config import ScheduleSettings, ScoreSettings

    rows = data.splits["train"].tolist()
    table = {"sample": rows, "split": ["train"] * 20, "label": data.labels[rows].tolist(), "el2n": list(range(20))}
    return Difficulty(ScoreSettings(networks=1), ScheduleSettings(), [table], [10, 10], 4)


@pytest.fixture(scope="module")
def told() -> Subject:
    data, synthetic = dataset("image")
    facts = {**subject().synthetic.facts, "class_names": ["no", "yes"], "iteration": 30}
    whole = SyntheticSet(synthetic.learned, synthetic.preprocessing, facts)
    real = real_part(whole, data, scored(data), "image")
    frames = [(10, synthetic.learned.images * 0), (0, synthetic.learned.images)]
    return subject(synthetic=whole, real=real, frames=frames)


@pytest.fixture(scope="module")
def drawn(told: Subject) -> dict[str, Picture]:
    return rendering.pictures(told)


def test_an_image_is_its_own_pixels() -> None:
    pixels = torch.rand(2, 5, 4, 3, generator=torch.Generator().manual_seed(0)).double().numpy()
    pixels[1] = pixels[1, ..., :1]
    for sample, shown in zip(pixels, gallery.thumbnails("image", pixels, "cat"), strict=True):
        decoded = np.asarray(Image.open(io.BytesIO(shown.png)).convert("RGB"))
        assert np.array_equal(decoded, np.rint(255 * sample)) and (shown.width, shown.height) == (4, 5)
        assert shown.is_pixelated
    assert [one.alt for one in gallery.thumbnails("image", pixels, "cat")] == ["cat 1", "cat 2"]
    assert not gallery.thumbnails("image", np.zeros((1, 128, 128, 3)), "cat")[0].is_pixelated


def test_a_series_is_a_line_per_channel_and_a_row_of_a_table_a_bar_per_feature() -> None:
    series = gallery.thumbnails("series", np.array([[[0.0, 1.0, 0.5], [1.0, 0.0, 0.0]]]), "s")[0]
    assert [line.split()[0] for line in series.lines] == ["0,57.6", "0,2.4"], "upwards is more"
    (bars,) = (one.bars for one in gallery.thumbnails("table", np.array([[[1.5, -3.0, 9.0]]]), "t"))
    assert [(y, height) for _, y, _, height in bars] == [(15, 15), (30, 30), (0, 30)], "cut at three deviations"


def test_the_page_shows_what_the_set_was_who_is_near_and_who_is_easy(told: Subject, drawn: dict[str, Picture]) -> None:
    html = page.render(told, drawn)
    assert html.count('class="sample pixelated"') == 2 + 2 * 3 + 2 * 2 + 2 * 6
    assert "<th>0</th><th>10</th><th>30</th>" in html.replace("\n", ""), "iterations in their order, then the set"
    assert "0.000 from sample\N{NO-BREAK SPACE}7" in html and "<b>yes</b>" in html, "a copy"
    shown = gallery.gallery(rendering.info.images_info(told.synthetic), None, told.real).extremes
    assert [name for name, _, _ in shown] == ["no", "yes"]
    assert [one.caption for one in shown[1][1].samples] == ["1", "3", "5"], "the easiest of the class first"
    assert [one.caption for one in shown[1][2].samples] == ["15", "17", "19"]


def test_every_figure_is_there_for_windows_and_telephones_and_as_numbers(drawn: dict[str, Picture]) -> None:
    for stem, picture in drawn.items():
        versions = (picture.light, picture.dark, picture.narrow, picture.narrow_dark)
        sizes = [Image.open(io.BytesIO(one)).size[0] for one in versions if one]
        assert sizes == ([1520] if picture.is_beside else [1520, 1520, 700, 700]), stem
        lines = list(csv.reader(io.StringIO(picture.table.decode())))
        assert len(lines) > 1 and {len(line) for line in lines} == {len(lines[0])}, stem
    accuracy = list(csv.DictReader(io.StringIO(drawn["accuracy"].table.decode())))
    assert [float(line["accuracy"]) for line in accuracy] == [0.876] * 4 + [0.717] * 4
    near = list(csv.DictReader(io.StringIO(drawn["nearest"].table.decode())))
    assert [line["nearest_real_sample"] for line in near][1] == "7"
    loss = list(csv.DictReader(io.StringIO(drawn["loss"].table.decode())))
    assert [line["validation"] for line in loss] == ["", "0.8", ""]


def test_the_paper_of_a_figure_is_exactly_that_of_the_page(drawn: dict[str, Picture]) -> None:
    corners = [
        Image.open(io.BytesIO(one)).convert("RGB").getpixel((0, 0))
        for one in (drawn["accuracy"].light, drawn["accuracy"].dark)
    ]
    assert corners == [(255, 255, 255), (0x15, 0x17, 0x1B)]


def test_a_table_is_told_in_its_own_units_beside_the_real_means() -> None:
    data, synthetic = dataset("table")
    facts = {"class_names": ["no", "yes"], "features": ["mass", "hue", "age"], "units": ["kg", "", "years"]}
    whole = SyntheticSet(Learned(synthetic.learned.images, torch.eye(2)), synthetic.preprocessing, facts)
    found = profiles.profiles_info(whole, real_part(whole, data, None, "sample"))
    assert found is not None and found.features == ("mass (kg)", "hue", "age (years)")
    assert np.allclose(found.own[1, 0], data.images[7].flatten(), rtol=1e-4), "a copy of training sample 7"
    train = data.images[:20].flatten(1)
    assert np.allclose(found.means[0], train[data.labels[:20] == 0].double().mean(dim=0))
    values = profiles.values_of(found)
    assert values.lines[0][0] == "mass (kg)" and values.lines[0][1][1][0] == f"{float(data.images[7, 0]):.0f}", (
        "of a spread of 70"
    )
    assert gallery._scores([0.0088, 0.738, 0.93]) == ["0.01", "0.74", "0.93"]
    assert found.columns()["mass (kg)"][0] == found.own[0, 0, 0] and found.columns()["sample"][1] == "real mean"


def test_long_names_go_on_after_a_dot_and_never_within_a_word() -> None:
    assert breakable("distill.validation_seeds=3") == "distill.<wbr>validation_<wbr>seeds=<wbr>3"
    assert breakable("<b>") == "&lt;b&gt;"
    assert breakable("[0.49, 1,000] set-0082") == "[0.49, 1,000] set-<wbr>0082", "a number is a word"
    assert breakable("front-0003-b7") == "front-<wbr>0003-<wbr>b7"


def test_a_number_stays_with_its_spread_and_its_unit() -> None:
    assert unbroken("reaches 90.6 ± 1.5 % on 3 sets") == "reaches 90.6\xa0±\xa01.5\xa0% on 3 sets"
