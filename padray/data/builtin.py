"""The datasets that come without files: scikit-learn's digits, wine and breast cancer, and the made-up `waves`.

Legend: N samples, F features, T steps. Measured sets are split once and for all: 20 % of each class are the test
split. `waves` is made, not measured: it says whether a method works on series, and nothing about any real signal.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from padray.data.listing import Content, Feature, Listings, of_arrays
from padray.data.settings import DataSettings
from padray.draws import generator

TEST_SHARE = 0.2
WAVES = ("sine", "square", "saw", "chirp")
WAVE_STEPS, WAVE_CYCLES, WAVE_NOISE = 64, 3.0, 0.5
WAVE_COUNTS = {"train": 200, "test": 50}  # of each class


def is_built_in(settings: DataSettings) -> bool:
    """Whether the dataset is one of `BUILT_IN`; with a path, a name means the files that lie there."""
    return settings.path is None and settings.dataset in BUILT_IN


def digest(name: str) -> str:
    """SHA-256 (hex) of what stands for a built-in dataset's bytes."""
    return hashlib.sha256(BUILT_IN[name][0].encode()).hexdigest()


def listings(name: str) -> Listings:
    """Train, test and the class names of a built-in dataset."""
    return BUILT_IN[name][1]()


def _digits() -> Listings:
    """1797 grey 8x8 images, grey levels 0..16 spread over 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return _divided("digits", pixels, bunch, "image")


def _wine() -> Listings:
    """178 wines of three growers, 13 measured properties."""
    from sklearn.datasets import load_wine

    bunch = load_wine()
    return _divided("wine", _rows(bunch.data), bunch, "table")


def _breast_cancer() -> Listings:
    """569 tumours, malignant or benign, 30 measured properties (Wisconsin, diagnostic)."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    return _divided("breast_cancer", _rows(bunch.data), bunch, "table")


def _rows(features_NF: np.ndarray) -> np.ndarray:
    """Table rows as samples, (N, F, 1, 1) float32."""
    rows: np.ndarray = features_NF.astype(np.float32)[:, :, None, None]
    return rows


def _divided(name: str, samples: np.ndarray, bunch: Any, content: Content) -> Listings:
    """The test split is the same 20 % of each class for good."""
    labels = bunch.target.astype(np.int64)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(len(bunch.target_names)):
        rows = np.flatnonzero(labels == label)
        order = torch.randperm(len(rows), generator=generator(0, f"{name}-test-split", label)).numpy()
        is_test[rows[order[: round(TEST_SHARE * len(rows))]]] = True
    features = tuple(Feature(str(column)) for column in bunch.feature_names) if content == "table" else ()
    train, test = (
        of_arrays(samples[chosen], labels[chosen], f"{name} ({part})", content, features)
        for part, chosen in (("train", ~is_test), ("test", is_test))
    )
    return train, test, tuple(str(target) for target in bunch.target_names)


def _waves() -> Listings:
    """Four waveforms with random phase, frequency and noise, (1, 1, 64) float32; classes take turns."""
    parts = []
    for part, count in WAVE_COUNTS.items():
        series = np.stack([wave(shape, part, count) for shape in WAVES], axis=1)  # (count, K, T)
        labels = np.tile(np.arange(len(WAVES)), count)
        parts.append(of_arrays(series.reshape(-1, 1, 1, WAVE_STEPS), labels, f"waves ({part})", "series"))
    return parts[0], parts[1], WAVES


def wave(shape: str, part: str, count: int) -> np.ndarray:
    """`count` series of one shape, (count, T) float32, in [-1, 1] but for the noise.

    About three cycles (times 2^u, u uniform in [-1/2, 1/2]) from a uniform phase, and normal noise of deviation 1/2.
    A chirp is a sine whose frequency rises from half to one and a half of that.
    """
    source = generator(0, "waves", part, shape)
    phase, octave = torch.rand(2, count, 1, dtype=torch.float64, generator=source)
    noise = torch.randn(count, WAVE_STEPS, dtype=torch.float64, generator=source)
    time = torch.arange(WAVE_STEPS, dtype=torch.float64) / WAVE_STEPS
    passed = time * (0.5 + time / 2) if shape == "chirp" else time
    cycles = phase + WAVE_CYCLES * 2 ** (octave - 0.5) * passed
    clean = 2 * (cycles % 1) - 1 if shape == "saw" else (2 * math.pi * cycles).sin()
    clean = clean.sign() if shape == "square" else clean
    series: np.ndarray = (clean + WAVE_NOISE * noise).float().numpy()
    return series


BUILT_IN: dict[str, tuple[str, Callable[[], Listings]]] = {  # what stands for the bytes, and how the set is made
    "digits": ("sklearn-digits-1797", _digits),
    "wine": ("sklearn-wine-178", _wine),
    "breast_cancer": ("sklearn-breast-cancer-569", _breast_cancer),
    "waves": ("padray-waves-1", _waves),
}
