"""One CSV or Parquet file, or class folders alone, are a dataset; the test split is drawn by a seed that is said."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from padray.config import DataSettings
from padray.data import datasets, sources, survey
from padray.data.listing import Feature
from padray.errors import InputError

COUNTS = {"ale": 10, "beer": 20, "cider": 5}
HEAD = ("alcohol (% vol)", "mass [kg]", "hue")


def lines() -> list[list[object]]:
    draw = np.random.default_rng(0)
    rows = [[*draw.normal(size=3).round(4), name] for name, count in COUNTS.items() for _ in range(count)]
    return [rows[place] for place in draw.permutation(len(rows))]


def as_csv(path: Path, separator: str = ",", head: tuple[str, ...] = (*HEAD, "label")) -> Path:
    text = "\n".join(separator.join(map(str, row)) for row in ([head, *lines()] if head else lines()))
    path.write_text(text + "\n", encoding="utf-8-sig")
    return path


def as_parquet(path: Path) -> Path:
    columns = list(zip(*lines(), strict=True))
    pq.write_table(pa.table(dict(zip((*HEAD, "label"), columns, strict=True))), path)
    return path


def settings(path: Path, **parts: object) -> DataSettings:
    return DataSettings.model_validate({"dataset": "drinks", "path": str(path), **parts})


def rows_of(split: sources.RawSplit) -> set[tuple[float, ...]]:
    return {tuple(row) for row in split.images.reshape(len(split.images), -1).tolist()}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_csv_file_is_what_the_same_parquet_file_is(tmp_path: Path, separator: str) -> None:
    text = sources.read(settings(as_csv(tmp_path / "drinks.csv", separator)))
    parquet = sources.read(settings(as_parquet(tmp_path / "drinks.parquet")))
    assert np.array_equal(text.train.images, parquet.train.images) and text.class_names == ("ale", "beer", "cider")
    assert np.array_equal(text.test.labels, parquet.test.labels)
    assert text.features == parquet.features
    assert text.features == (Feature("alcohol", "% vol"), Feature("mass", "kg"), Feature("hue"))
    written = {tuple(np.float32(row[:3]).tolist()) for row in lines()}
    assert rows_of(text.train) | rows_of(text.test) == written and not rows_of(text.train) & rows_of(text.test)


def test_the_split_is_stratified_by_the_share_and_the_seed_and_says_so(tmp_path: Path) -> None:
    path = as_csv(tmp_path / "drinks.csv")
    usual = sources.read(settings(path))
    assert np.bincount(usual.test.labels).tolist() == [2, 4, 1]
    assert usual.test.place == "20 % of each class of drinks.csv, drawn by data.split_seed 0"
    more = sources.read(settings(path, test_share=0.4))
    assert np.bincount(more.test.labels).tolist() == [4, 8, 2] and "40 % of each class" in more.test.place
    other = sources.read(settings(path, split_seed=1))
    assert rows_of(other.test) != rows_of(usual.test) and "data.split_seed 1" in other.test.place
    assert rows_of(sources.read(settings(path)).test) == rows_of(usual.test)


def test_a_folder_with_one_table_is_that_table_and_two_files_are_train_and_test(tmp_path: Path) -> None:
    alone, pair = tmp_path / "alone", tmp_path / "pair"
    alone.mkdir(), pair.mkdir()
    whole = sources.read(settings(as_csv(alone / "drinks.csv")))
    assert len(whole.train.labels) + len(whole.test.labels) == 35
    as_csv(pair / "train.csv"), as_csv(pair / "test.csv")
    both = sources.read(settings(pair))
    assert len(both.train.labels) == len(both.test.labels) == 35
    with pytest.raises(InputError, match=r"data\.test_share is for data without a test split, and test\.csv is one"):
        sources.read(settings(pair, test_share=0.3))


def test_features_go_through_the_stored_dataset(tmp_path: Path) -> None:
    given = settings(as_csv(tmp_path / "drinks.csv"))
    made = datasets.make(given, sources.read(given))
    tensors, header = datasets.to_objects(made), datasets.meta(made)
    assert header["features"] == ["alcohol", "mass", "hue"] and header["units"] == ["% vol", "kg", ""]
    again = datasets.from_objects(tensors["dataset"], header, lambda stem: tensors[stem])
    assert again.features == made.features
    assert datasets.from_objects(tensors["dataset"], {**header, "features": [], "units": []}, dict).features == ()


def test_a_look_at_the_file_finds_its_name_and_its_labels(tmp_path: Path) -> None:
    found = survey.look(str(as_csv(tmp_path / "My drinks.csv", head=(*HEAD, "kind"))), DataSettings())
    assert (found.settings.dataset, found.settings.label_column) == ("my_drinks", "kind")
    assert found.content == "table" and sum(found.counts) == 28 and found.test == 7
    assert "data.split_seed 0" in found.test_place


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.5,2.5,3\n1,2,3\n", "the first line of bad.csv holds numbers"),
        ("a,b,label\n1,2,x\n1,x\n", "cannot be read as CSV"),
        ("a,b,label\n1,,x\n1,2,x\n1,2,y\n1,3,y\n", "no finite number in column 'b'"),
        ("a,b,label\n1,2,x\n1,2,x\n1,2,y\n", "class 'y' has one sample in bad.csv; it takes two"),
        ("a,b,label\n1,red,x\n1,blue,x\n1,red,y\n1,red,y\n", "a table's columns must be numbers"),
        ("a,b,kind\n1,2,x\n1,2,y\n", "set data.label_column to one of"),
        ("", "cannot be read as CSV"),
    ],
)
def test_what_is_no_table_is_told_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        sources.read(settings(tmp_path / "bad.csv"))


def pictures(folder: Path, *kinds: str) -> Path:
    for number, kind in enumerate(kinds):
        (folder / kind).mkdir(parents=True)
        for index in range(5):
            Image.fromarray(np.full((8, 8), 20 * index + 100 * number, dtype=np.uint8)).save(
                folder / kind / f"{index}.png"
            )
    return folder


def test_class_folders_alone_are_split_too(tmp_path: Path) -> None:
    raw = sources.read(settings(pictures(tmp_path / "pets", "cat", "dog")))
    assert raw.class_names == ("cat", "dog") and raw.content == "image"
    assert np.bincount(raw.train.labels).tolist() == [4, 4] and np.bincount(raw.test.labels).tolist() == [1, 1]
    darkest = [split.images[split.labels == 1].min() for split in (raw.train, raw.test)]
    assert min(darkest) == 100, "each image is of the class of its folder"
    assert raw.test.place == "20 % of each class of pets/, drawn by data.split_seed 0"
    before = sources.source_digest(settings(tmp_path / "pets"))
    assert sources.source_digest(settings((tmp_path / "pets").rename(tmp_path / "animals"))) == before


def test_folders_of_splits_under_names_of_ones_own_are_no_classes(tmp_path: Path) -> None:
    for split in ("Training", "Testing"):
        pictures(tmp_path / "pets" / split, "cat", "dog")
    with pytest.raises(InputError, match="that padray can read; it reads train"):
        sources.read(settings(tmp_path / "pets"))
