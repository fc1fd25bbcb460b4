"""The datasets that come without files: complete, split once and for all, and what their names promise."""

import hashlib

import numpy as np
import pytest
import torch
from sklearn import datasets as sklearn_datasets

from padray.config import DataSettings
from padray.data import builtin, datasets, sources
from padray.errors import InputError


@pytest.mark.parametrize(
    "name, features, names, test_counts",
    [
        ("wine", 13, ("class_0", "class_1", "class_2"), [12, 14, 10]),
        ("breast_cancer", 30, ("malignant", "benign"), [42, 71]),
    ],
)
def test_tables_are_scikit_learns_rows_each_once(name, features, names, test_counts):
    raw, known = sources.read(DataSettings(dataset=name)), getattr(sklearn_datasets, f"load_{name}")()
    rows = np.concatenate([raw.train.images, raw.test.images])[:, :, 0, 0]
    assert raw.content == "table" and raw.class_names == names and rows.dtype == np.float32
    assert raw.train.images.shape[1:] == raw.test.images.shape[1:] == (features, 1, 1)
    labelled = np.column_stack([rows, np.concatenate([raw.train.labels, raw.test.labels])])
    expected = np.column_stack([known.data.astype(np.float32), known.target])
    assert sorted(map(tuple, labelled)) == sorted(map(tuple, expected))
    assert np.bincount(raw.test.labels).tolist() == test_counts  # a fifth of each class, rounded


def test_tables_are_standardised_by_the_training_split():
    settings = DataSettings(dataset="wine", validation=0.2)
    data = datasets.make(settings, sources.read(settings))
    train, (test, _) = data.images[data.splits["train"]].double(), data.split("test", torch.float64)
    mean, std = train.mean(dim=0), train.std(dim=0, correction=0)
    expected = (data.images[data.splits["test"]].double() - mean) / std
    assert torch.allclose(test, expected, atol=1e-4) and data.content == "table"


def test_waves_are_what_they_are_called():
    raw = sources.read(DataSettings(dataset="waves"))
    assert raw.content == "series" and raw.class_names == ("sine", "square", "saw", "chirp")
    assert raw.train.images.shape == (800, 1, 1, 64) and raw.test.images.shape == (200, 1, 1, 64)
    assert raw.train.images.dtype == np.float32
    assert np.bincount(raw.train.labels).tolist() == [200] * 4 and np.bincount(raw.test.labels).tolist() == [50] * 4
    everything = np.concatenate([raw.train.images, raw.test.images]).reshape(1000, 64)
    assert len(np.unique(everything, axis=0)) == 1000


def test_waves_without_their_noise_have_their_shapes(monkeypatch):
    monkeypatch.setattr(builtin, "WAVE_NOISE", 0.0)
    sine, square, saw, chirp = (builtin.wave(shape, "train", 50) for shape in builtin.WAVES)
    assert set(np.unique(square)) <= {-1, 0, 1} and np.abs(sine).max() <= 1
    spectrum = np.abs(np.fft.rfft(sine, axis=1)).argmax(axis=1)
    assert spectrum.min() >= 2 and spectrum.max() <= 5, "3 cycles, times 2^u with |u| <= 1/2"
    rises = np.diff(saw, axis=1)
    for series in rises:  # one slope, but for the drops
        assert np.allclose(series[series > 0], series[series > 0][0], atol=1e-5) and (series < -1).any()
    turns = np.diff(np.sign(chirp), axis=1) != 0
    assert turns[:, 32:].sum() > 1.4 * turns[:, :32].sum(), "a chirp's frequency rises"


def test_what_is_built_in_needs_no_path_and_with_one_is_read_from_there(tmp_path):
    digests = {name: sources.source_digest(DataSettings(dataset=name)) for name in builtin.BUILT_IN}
    assert len(set(digests.values())) == 4
    assert digests["waves"] == hashlib.sha256(b"padray-waves-1").hexdigest()
    with pytest.raises(InputError, match="holds no dataset"):
        sources.read(DataSettings(dataset="wine", path=str(tmp_path)))
    with pytest.raises(InputError, match=r"data\.size resizes images, and wine \(train\) holds a table"):
        sources.read(DataSettings(dataset="wine", size=8))
