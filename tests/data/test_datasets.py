"""Splits, the preprocessing of the training split, and the round trip through tensors."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from padray.config import DataSettings
from padray.data import datasets, sources, whitening
from padray.data.datasets import Dataset
from padray.data.sources import RawDataset, RawSplit
from padray.data.whitening import Preprocessing
from padray.errors import InputError
from padray.store import shelf
from padray.store.cache import Entries
from padray.store.shelf import Shelf


def raw_dataset(counts=(30, 100, 7), dtype=np.uint8, seed=0) -> RawDataset:
    """Unbalanced classes in shuffled order; 2 test samples of each class."""
    rng = np.random.default_rng(seed)

    def part(each):
        labels = rng.permutation(np.repeat(np.arange(len(each)), each)).astype(np.int64)
        pixels = rng.integers(0, 256, (len(labels), 3, 4, 5)).astype(np.uint8)
        return RawSplit(pixels if dtype == np.uint8 else (pixels / 255).astype(dtype), labels)

    return RawDataset(part(counts), part([2] * len(counts)), tuple("abcdefgh"[: len(counts)]))


def test_splits_are_disjoint_and_stratified():
    raw = raw_dataset()
    data = datasets.make(DataSettings(validation=0.29), raw)
    assert torch.equal(torch.cat(list(data.splits.values())).sort().values, torch.arange(143))
    assert data.per_class("validation").tolist() == [8, 29, 2] and data.per_class("train").tolist() == [22, 71, 5]
    assert data.per_class("test").tolist() == [2, 2, 2] and data.splits["test"].tolist() == list(range(137, 143))
    for rows in data.splits.values():
        assert rows.dtype == torch.int64 and torch.equal(rows, rows.sort().values)
    assert data.classes == 3 and data.shape == (3, 4, 5)
    assert np.array_equal(data.images[:137].numpy(), raw.train.images)


def test_small_classes_give_one_sample_and_zero_gives_none():
    assert datasets.make(DataSettings(validation=0.1), raw_dataset()).per_class("validation").tolist() == [3, 10, 1]
    none = datasets.make(DataSettings(validation=0.0), raw_dataset())
    assert len(none.splits["validation"]) == 0 and none.split("validation")[0].shape == (0, 3, 4, 5)
    with pytest.raises(InputError, match="class 'b' has 1 training"):
        datasets.make(DataSettings(validation=0.1), raw_dataset((5, 1, 7)))


def test_split_depends_on_the_split_seed_alone():
    def validation(raw=None, **kw):
        return datasets.make(DataSettings(**kw), raw or raw_dataset()).splits["validation"].tolist()

    first = validation()
    torch.manual_seed(123)
    assert first == validation(preprocessing="none") == validation(size=8, limit_per_class=500)
    assert first != validation(split_seed=1)
    other = raw_dataset()
    swapped = RawSplit(255 - other.train.images, other.train.labels)
    assert first == validation(RawDataset(swapped, other.test, other.class_names))


@pytest.mark.parametrize("kind", ["none", "normalize", "zca"])
def test_preprocessing_is_fitted_on_the_training_split_only(kind):
    settings, raw = DataSettings(preprocessing=kind, validation=0.3), raw_dataset()
    data = datasets.make(settings, raw)
    changed = raw.train.images.copy()
    changed[data.splits["validation"].numpy()] = 0
    again = RawDataset(
        RawSplit(changed, raw.train.labels), RawSplit(raw.test.images // 2, raw.test.labels), raw.class_names
    )
    other = datasets.make(settings, again)
    for name, value in data.preprocessing.tensors().items():
        assert torch.equal(value, other.preprocessing.tensors()[name])
    changed[data.splits["train"].numpy()[0]] = 0
    third = datasets.make(settings, again)
    assert kind == "none" or not torch.equal(
        data.preprocessing.tensors()["mean"], third.preprocessing.tensors()["mean"]
    )


def test_split_gives_preprocessed_floats(monkeypatch):
    data = datasets.make(DataSettings(), raw_dataset())
    images, labels = data.split("train")
    assert images.dtype == torch.float32 and torch.equal(labels, data.labels[data.splits["train"]])
    assert torch.allclose(images.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(images.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    monkeypatch.setattr(shelf, "_PART", 7)
    assert torch.equal(images, data.split("train")[0])
    plain = datasets.make(DataSettings(preprocessing="none"), raw_dataset())
    assert torch.equal(plain.split("test")[0], plain.images[plain.splits["test"]].float() / 255)


def test_float_samples_and_the_first_bad_row():
    raw = raw_dataset(dtype=np.float32)
    data = datasets.make(DataSettings(preprocessing="none"), raw)
    assert data.images.dtype == torch.float32
    assert np.array_equal(data.split("test")[0].numpy(), raw.test.images)
    raw.test.images[4, 0, 0, 0] = np.inf
    raw.test.images[3, 2, 1, 1] = np.nan
    with pytest.raises(InputError, match=r"row 3 \(from 0\) of the test samples"):
        datasets.make(DataSettings(), raw)


def back_from(data: Dataset) -> tuple[Dataset, list[str]]:
    """The dataset after its way through objects, and which of them were read since."""
    objects, asked = datasets.to_objects(data), []
    assert all(value.is_contiguous() for tensors in objects.values() for value in tensors.values())

    def read(stem):
        asked.append(stem)
        return {name: value.clone() for name, value in objects[stem].items()}

    return datasets.from_objects(objects["dataset"], json.loads(json.dumps(datasets.meta(data))), read), asked


@pytest.mark.parametrize("large", [1, 2**20])
@pytest.mark.parametrize("kind", ["none", "normalize", "zca"])
def test_round_trip_through_tensors(kind, large, monkeypatch):
    monkeypatch.setattr(whitening, "LARGE", large)
    data = datasets.make(DataSettings(preprocessing=kind), raw_dataset())
    back, asked = back_from(data)
    assert back.shape == data.shape and back.preprocessing.digest == data.preprocessing.digest and asked == []
    assert back.class_names == data.class_names and back.splits.keys() == data.splits.keys()
    assert back.preprocessing.meta() == data.preprocessing.meta() and torch.equal(back.images, data.images)
    for name in datasets.SPLITS:
        for ours, theirs in zip(back.split(name), data.split(name), strict=True):
            assert torch.equal(ours, theirs)
    apart = ["images"] if kind == "none" else ["images", "preprocessing"]
    assert sorted(asked) == (apart if large == 1 else [])


def test_a_preprocessing_that_lies_apart_must_be_of_its_kind(monkeypatch):
    monkeypatch.setattr(whitening, "LARGE", 1)
    data = datasets.make(DataSettings(), raw_dataset())
    objects, wrong = datasets.to_objects(data), {"preprocessing.mean": torch.zeros(3)}
    back = datasets.from_objects(objects["dataset"], datasets.meta(data), lambda stem: wrong)
    with pytest.raises(InputError, match=r"must hold the tensors \('mean', 'std'\) of a preprocessing"):
        back.preprocessing.apply(data.images.float())


def test_split_preprocesses_in_the_precision_that_is_asked_for():
    data = datasets.make(DataSettings(), raw_dataset())
    double, _ = data.split("train", torch.float64)
    mean, std = (data.preprocessing.values[name].double().view(-1, 1, 1) for name in ("mean", "std"))
    exact = (data.images[data.splits["train"]].double() / 255 - mean) / std
    assert double.dtype == torch.float64 and torch.allclose(double, exact, rtol=0, atol=1e-14)
    assert not torch.allclose(data.split("train")[0].double(), exact, rtol=0, atol=1e-14)


def whitened(count: int = 1200, side: int = 12) -> Dataset:
    """Large enough for products whose sums could be taken in more than one order; nothing is fitted."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, side, side), generator=draw, dtype=torch.uint8)
    values = {name: torch.randn(3 * side**2, 3 * side**2, generator=draw) / 20 for name in ("whiten", "unwhiten")}
    values["mean"] = torch.rand(3 * side**2, generator=draw)
    rows = torch.randperm(count, generator=draw)
    splits = {"train": rows[:1100], "validation": rows[1100:], "test": rows[:0]}
    return Dataset.of(images, torch.arange(count) % 2, ("a", "b"), splits, Preprocessing("zca", values, 0.1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_split_has_the_same_bytes_mapped_or_not_and_by_any_number_of_threads(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(shelf, "LEAST", 1)
    data, before, found = whitened(), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            shared = Shelf(Entries(tmp_path / str(threads), 1 << 30), ("a",))
            for place in (data.shelf, shared, shared):  # its own, made for others, and found
                found.append(dataclasses.replace(data, shelf=place).split("train", dtype)[0])
    finally:
        torch.set_num_threads(before)
    assert all(images.numpy().tobytes() == found[0].numpy().tobytes() for images in found)
    exact = whitening.to_unit(data.images[data.splits["train"]], torch.float64).flatten(1)
    values = {name: value.double() for name, value in data.preprocessing.values.items()}
    assert torch.allclose(found[0].double().flatten(1), (exact - values["mean"]) @ values["whiten"], atol=1e-4)


def test_what_is_found_preprocessed_reads_neither_samples_nor_matrices(tmp_path, monkeypatch):
    monkeypatch.setattr(shelf, "LEAST", 1)
    data, shared = whitened(), Shelf(Entries(tmp_path, 1 << 30), ("a",))
    made = dataclasses.replace(data, shelf=shared).split("validation")

    def read():
        raise AssertionError("nobody needs it")

    meta, digest = data.preprocessing.meta(), data.preprocessing.digest
    later = dataclasses.replace(data, shelf=shared, read=read, preprocessing=Preprocessing.deferred(meta, digest, read))
    assert all(torch.equal(*pair) for pair in zip(later.split("validation"), made, strict=True))


def test_on_another_device_samples_are_preprocessed_there_and_no_file_is_made(tmp_path, monkeypatch):
    """The device `meta` stands for one with memory of its own: what is calculated there has shapes, but no values."""
    monkeypatch.setattr(shelf, "LEAST", 1)
    monkeypatch.setattr(shelf, "_PART", 300)
    on, sent = torch.device("meta"), []
    to_unit = whitening.to_unit
    monkeypatch.setattr(whitening, "to_unit", lambda part, dtype: sent.append(part) or to_unit(part, dtype))
    data = dataclasses.replace(whitened(), shelf=Shelf(Entries(tmp_path / "cache", 1 << 30), ("a",)))
    images, labels = data.split("train", torch.float64, on)
    assert images.device == on and images.shape == (1100, 3, 12, 12) and images.dtype == torch.float64
    assert [(len(part), part.dtype, part.device) for part in sent] == [
        (n, torch.uint8, on) for n in (300, 300, 300, 200)
    ]
    assert torch.equal(labels, data.labels[data.splits["train"]]) and not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "imbalance, limit, validation", [(10.0, None, 0.1), (100.0, 120, 0.0), (100.0, 50, 0.1), (3.0, 50, 0.2)]
)
def test_a_long_tail_keeps_the_first_of_each_class(imbalance, limit, validation):
    whole = sources.read(DataSettings())
    settings = DataSettings(imbalance=imbalance, limit_per_class=limit, validation=validation)
    raw = sources.read(settings)
    for label in range(10):
        own = whole.train.images[whole.train.labels == label][:limit]
        least = 2 if validation else 1
        count = max(least, int(len(own) * (1 / imbalance) ** (label / 9) + 1e-6))
        assert np.array_equal(raw.train.images[raw.train.labels == label], own[:count])
    assert np.array_equal(raw.test.images, whole.test.images)
    data = datasets.make(settings, raw)
    assert data.per_class("train").min() >= 1
    assert data.per_class("validation").sum() + len(data.splits["train"]) == len(raw.train.labels)


def test_a_long_tail_ends_at_the_ratio_of_its_name():
    assert [sources.tail_count(5000, c, 10, 100.0) for c in (0, 4, 9)] == [5000, 645, 50]
    assert [sources.tail_count(500, c, 3, 4.0) for c in range(3)] == [500, 250, 125]
    assert sources.tail_count(1000, 9, 10, 10.0) == 100 and sources.tail_count(7, 0, 1, 10.0) == 7


def test_what_is_no_image_is_stored_and_read_back_as_what_it_is():
    raw = raw_dataset(dtype=np.float32)
    series = RawDataset(raw.train, raw.test, raw.class_names, "series")
    data = datasets.make(DataSettings(), series)
    back, _ = back_from(data)
    assert back.content == data.content == "series"
    assert "content" not in datasets.meta(datasets.make(DataSettings(), raw))["preprocessing"]


def test_digits_from_end_to_end():
    settings = DataSettings(preprocessing="zca")
    data = datasets.make(settings, sources.read(settings))
    assert sum(len(rows) for rows in data.splits.values()) == 1797 and data.shape == (1, 8, 8)
    assert data.per_class("validation").min() >= 13
