"""Splits, the preprocessing of the training split, and the round trip through tensors."""

import json

import numpy as np
import pytest
import torch

from padray.config import DataSettings
from padray.data import datasets, sources
from padray.data.sources import RawDataset, RawSplit
from padray.errors import InputError


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
    monkeypatch.setattr(datasets, "_CHUNK", 7)
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


@pytest.mark.parametrize("kind", ["none", "normalize", "zca"])
def test_round_trip_through_tensors(kind):
    data = datasets.make(DataSettings(preprocessing=kind), raw_dataset())
    tensors = {name: value.clone() for name, value in datasets.to_tensors(data).items()}
    assert all(value.is_contiguous() for value in tensors.values())
    back = datasets.from_tensors(tensors, json.loads(json.dumps(datasets.meta(data))))
    assert back.class_names == data.class_names and back.splits.keys() == data.splits.keys()
    assert back.preprocessing.meta() == data.preprocessing.meta() and torch.equal(back.images, data.images)
    for name in datasets.SPLITS:
        for ours, theirs in zip(back.split(name), data.split(name), strict=True):
            assert torch.equal(ours, theirs)


def test_split_preprocesses_in_the_precision_that_is_asked_for():
    data = datasets.make(DataSettings(), raw_dataset())
    double, _ = data.split("train", torch.float64)
    mean, std = (data.preprocessing.values[name].double().view(-1, 1, 1) for name in ("mean", "std"))
    exact = (data.images[data.splits["train"]].double() / 255 - mean) / std
    assert double.dtype == torch.float64 and torch.allclose(double, exact, rtol=0, atol=1e-14)
    assert not torch.allclose(data.split("train")[0].double(), exact, rtol=0, atol=1e-14)


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
    back = datasets.from_tensors(datasets.to_tensors(data), json.loads(json.dumps(datasets.meta(data))))
    assert back.content == data.content == "series"
    assert "content" not in datasets.meta(datasets.make(DataSettings(), raw))["preprocessing"]


def test_digits_from_end_to_end():
    settings = DataSettings(preprocessing="zca")
    data = datasets.make(settings, sources.read(settings))
    assert sum(len(rows) for rows in data.splits.values()) == 1797 and data.shape == (1, 8, 8)
    assert data.per_class("validation").min() >= 13
