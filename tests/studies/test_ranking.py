"""Ranks, critical differences and intervals, against published figures and by hand."""

import math

import pytest

from padray.studies import drawing
from padray.studies.comparison import Comparison, interval, sections
from padray.studies.significance import half_width, ranking_of
from padray.studies.table import Entry, Ours


def entries(values: dict[str, dict[str, tuple[float, ...]]]) -> list[Entry]:
    return [Entry(row, column, Ours(own), None) for row, cells in values.items() for column, own in cells.items()]


# AUC of four classifiers on 14 datasets: Demsar (2006), Table 6.
DEMSAR = {
    "C4.5": (0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957),
    "C4.5+m": (0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978),
    "C4.5+cf": (0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946),
    "C4.5+m+cf": (0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970),
}


def test_ranks_and_critical_difference_are_those_of_the_published_example():
    """Average ranks 3.143, 2.000, 2.893, 1.964 and a critical difference of 1.25, as its section 3.2.2 has them."""
    found = ranking_of(entries({row: {str(k): (v,) for k, v in enumerate(values)} for row, values in DEMSAR.items()}))
    assert dict(zip(found.rows, (round(rank, 3) for rank in found.ranks), strict=True)) == {
        "C4.5": 3.143,
        "C4.5+m": 2.0,
        "C4.5+cf": 2.893,
        "C4.5+m+cf": 1.964,
    }
    assert found.rows[0] == "C4.5+m+cf" and found.blocks == 14
    assert found.critical == pytest.approx(1.25, abs=0.01)
    assert 0.01 < found.p < 0.026  # that of its chi-square of 9.28, which is not corrected for ties
    assert "the rows differ" in found.sentence and "1.25" in found.sentence


def test_a_block_is_a_column_and_a_repetition_that_all_rows_have():
    values = {"a": {"x": (0.9, 0.8, 0.7), "y": (0.9,)}, "b": {"x": (0.5, 0.5), "y": (0.5,)}}
    values |= {"c": {"x": (0.1, 0.1), "y": (0.1,)}, "not there": {"x": (), "y": (0.3,)}}
    found = ranking_of(entries(values))
    assert found.blocks == 3
    assert found.rows == ("a", "b", "c") and found.ranks == (1.0, 2.0, 3.0)
    assert found.left_out == ("not there",)


def test_ranks_stand_under_the_study_s_name_for_its_rows():
    values = {row: {"x": (0.9 - k / 10, 0.8 - k / 10)} for k, row in enumerate("abc")}
    told = sections(Comparison(entries(values), ranking_of(entries(values)), {}, "method"))
    assert [section.head for section in told if section.title == "Ranks"] == [["method", "average rank"]]


def test_what_cannot_be_ranked_is_not():
    assert ranking_of(entries({"a": {"x": (1.0,)}, "b": {"x": (0.5,)}, "c": {"x": (0.1,)}})) is None  # one block
    assert ranking_of(entries({"a": {"x": (1.0, 2.0)}, "b": {"x": (0.5, 0.5)}})) is None  # two rows
    same = ranking_of(entries({row: {"x": (0.5, 0.5)} for row in "abc"}))
    assert same.p == 1 and "no difference" in same.sentence


def test_an_interval_is_student_s():
    values = (0.50, 0.52, 0.54)
    assert half_width(values) == pytest.approx(4.302653 * 0.02 / math.sqrt(3))
    assert interval(Entry("a", "x", Ours(values), None)) == "52.0 [47.0, 57.0]"
    assert interval(Entry("a", "x", Ours((0.2, 0.9)), None)) == "55.0 [0.0, 100.0]", "no accuracy lies beyond"
    assert interval(Entry("a", "x", Ours((0.5,)), None)) == "50.0"
    assert interval(Entry("a", "x", Ours(), None)) == ""


def test_ranks_are_drawn():
    found = ranking_of(entries({row: {str(k): (v,) for k, v in enumerate(values)} for row, values in DEMSAR.items()}))
    picture = drawing.draw_ranks(found, "Four classifiers")
    assert picture.startswith(b"\x89PNG")
    assert picture == drawing.draw_ranks(found, "Four classifiers")
