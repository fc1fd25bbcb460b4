"""Tables and series in Parquet, labels as text, and each of their faults told with its place."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from padray.config import DataSettings
from padray.data import sources
from padray.errors import InputError


def settings(folder: Path, **kw) -> DataSettings:
    return DataSettings(dataset="own", path=str(folder), **kw)


def refused(folder: Path, *parts: str, **kw) -> None:
    with pytest.raises(InputError) as caught:
        sources.read(settings(folder, **kw))
    sentence = str(caught.value)
    assert "\n" not in sentence and not sentence.endswith(".") and len(sentence) < 400, sentence
    assert all(part in sentence for part in parts), sentence


def write(path: Path, **columns) -> None:
    pq.write_table(pa.table(columns), path, row_group_size=3)


def numbers(rows: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=rows)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two training files of 5 rows whose columns lie in different orders, text labels; a test file."""
    whole, flags = np.arange(10), np.arange(10) % 3 == 0
    labels = ["oak", "elm"] * 5
    write(tmp_path / "train-0.parquet", a=numbers(5), b=whole[:5], c=flags[:5], label=labels[:5])
    write(tmp_path / "train-1.parquet", label=labels[5:], c=flags[5:], b=whole[5:], a=numbers(5, 1))
    write(tmp_path / "test.parquet", a=numbers(2, 2), b=[7, 8], c=[True, False], label=pa.array(["elm", "oak"]))
    return tmp_path


def test_a_table_is_its_numeric_columns_in_the_order_of_the_first_file(table):
    raw = sources.read(settings(table))
    a = np.concatenate([numbers(5), numbers(5, 1)])
    expected = np.stack([a, np.arange(10), np.arange(10) % 3 == 0], axis=1).astype(np.float32)
    assert raw.content == "table" and raw.train.images.shape == (10, 3, 1, 1)
    assert np.array_equal(raw.train.images[:, :, 0, 0], expected)
    assert np.array_equal(raw.test.images[:, :, 0, 0], np.stack([numbers(2, 2), [7, 8], [1, 0]], 1).astype(np.float32))
    assert raw.class_names == ("elm", "oak"), "text labels are numbered in their sorted order"
    assert raw.train.labels.tolist() == [1, 0] * 5 and raw.test.labels.tolist() == [0, 1]
    few = sources.read(settings(table, limit_per_class=2))
    assert np.array_equal(few.train.images, raw.train.images[:4])


def test_the_label_may_have_another_name_and_be_a_number_or_a_category(tmp_path):
    for name in ("train", "test"):
        write(tmp_path / f"{name}.parquet", x=[0.5, 1.5, 2.5], kind=pa.array([2, 0, 1], pa.int8()))
    raw = sources.read(settings(tmp_path, label_column="kind"))
    assert raw.class_names == ("0", "1", "2") and raw.train.labels.tolist() == [2, 0, 1]
    assert raw.train.images.ravel().tolist() == [0.5, 1.5, 2.5]
    for name in ("train", "test"):
        write(tmp_path / f"{name}.parquet", x=[0.5, 1.5], label=pa.array(["q", "p"]).dictionary_encode())
    assert sources.read(settings(tmp_path)).train.labels.tolist() == [1, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39, None])
def test_a_missing_number_is_told_with_its_row_and_column(table, value):
    column = pa.array([0.0, 1.0, 2.0, value, 4.0])
    write(table / "train-1.parquet", a=numbers(5), b=column, c=[True] * 5, label=["oak", "elm"] * 2 + ["oak"])
    refused(table, "row 3 (from 0) of train-1.parquet", "no finite number", "column 'b'")
    assert len(sources.read(settings(table, limit_per_class=2)).train.labels) == 4, "rows that nobody needs may be bad"


def test_faults_of_tables(table, tmp_path):
    two = {"a": [0.0, 1.0], "b": [0, 1], "c": [True, False]}
    write(table / "test.parquet", **two, label=["elm", "ash"])
    refused(table, "label 'ash' in row 1 (from 0) of test.parquet", "elm, oak")
    write(table / "test.parquet", **two, label=[0, 1])
    refused(table, "column 'label' of test.parquet is int64", "train-0.parquet is string")
    write(table / "test.parquet", **two, label=["elm", None])
    refused(table, "row 1 (from 0) of test.parquet has no label")
    write(table / "test.parquet", a=[0.0, 1.0], d=[0, 1], c=[True, False], label=["elm", "oak"])
    refused(table, "test.parquet and train-0.parquet have different columns (b, d in one of them only)")
    write(table / "train-0.parquet", a=["red", "blue"], label=["elm", "oak"])
    refused(table, "column 'a' of train-0.parquet is string", "numbers", "0 and 1", "data.label_column")
    write(table / "train-0.parquet", label=["elm", "oak"])
    refused(table, "train-0.parquet has no column besides 'label'")
    write(table / "train-0.parquet", a=[1.0, 2.0], label=[0.5, 1.5])
    refused(table, "'label' of train-0.parquet is double", "whole numbers or text")
    write(table / "train-0.parquet", a=[1.0, 2.0], label=[0, 10**12])
    write(table / "test.parquet", a=[1.0, 2.0], label=[0, 1])
    (table / "train-1.parquet").unlink()
    refused(table, "the label 1000000000000", "without gaps")
    write(table / "train-0.parquet", a=pa.array([], pa.float64()), label=pa.array([], pa.int64()))
    refused(table, "train-0.parquet is empty")
    write(table / "train-0.parquet", a=[1.0, 2.0], label=[0, 0])
    refused(table, "train-0.parquet has one class, '0'")


# -- series


def write_series(path: Path, series: list, labels: list, kind: pa.DataType | None = None) -> None:
    write(path, series=pa.array(series, kind), label=labels, note=["ignored"] * len(labels))


def test_series_of_one_channel_and_of_several(tmp_path):
    one, two = numbers(40).reshape(4, 10), numbers(80).reshape(4, 2, 10)
    for name in ("train", "test"):
        write_series(tmp_path / f"{name}.parquet", one.tolist(), ["b", "a"] * 2)
    raw = sources.read(settings(tmp_path))
    assert raw.content == "series" and np.array_equal(raw.train.images, one[:, None, None].astype(np.float32))
    assert raw.class_names == ("a", "b") and raw.train.labels.tolist() == [1, 0, 1, 0]
    for name in ("train", "test"):
        write_series(tmp_path / f"{name}.parquet", two.tolist(), [0, 1] * 2)
    assert np.array_equal(sources.read(settings(tmp_path)).train.images, two[:, :, None].astype(np.float32))
    for name in ("train", "test"):
        write_series(tmp_path / f"{name}.parquet", one.tolist(), [0, 1] * 2, pa.list_(pa.float32(), 10))
    assert np.array_equal(sources.read(settings(tmp_path)).test.images, one[:, None, None].astype(np.float32))


@pytest.mark.parametrize(
    "last, parts",
    [
        ([[1.0, 2.0]], ("2 steps in 1 channel(s)", "3 in 1", "one length")),
        ([[1.0, 2.0, 3.0]] * 2, ("3 steps in 2 channel(s)", "3 in 1")),
        ([[1.0, 2.0, 3.0], [1.0]], ("unequal length",)),
        ([[1.0, None, 3.0]], ("no finite number", "'series'")),
        ([[1.0, np.nan, 3.0]], ("no finite number",)),
        ([], ("no finite number",)),
        (None, ("no finite number",)),
    ],
)
def test_faults_of_series_are_told_with_their_row(tmp_path, last, parts):
    good = [[1.0, 2.0, 3.0]]
    write_series(tmp_path / "test.parquet", [good, good], [0, 1])
    write_series(tmp_path / "train.parquet", [good] * 4 + [last], [0, 1, 0, 1, 0])
    refused(tmp_path, "row 4 (from 0) of train.parquet", *parts)


def test_series_must_be_numbers_of_one_length_in_both_splits(tmp_path):
    write_series(tmp_path / "train.parquet", [[1.0, 2.0]] * 2, [0, 1])
    write_series(tmp_path / "test.parquet", [[1.0, 2.0, 3.0]] * 2, [0, 1])
    refused(tmp_path, "the test split has 3 steps", "2 in 1")
    refused(tmp_path, "data.size", "train.parquet holds series", size=8)
    write_series(tmp_path / "train.parquet", [["a"], ["b"]], [0, 1])
    refused(tmp_path, "'series' of train.parquet is list", "lists of numbers")
