"""Real data in, arrays out: one reader for every dataset that padray knows.

Legend: N samples, C channels, H rows, W columns. A series of T steps is (C, 1, T), a row of a table with F columns
(F, 1, 1). Every fault of the data is an `InputError` of one sentence: what, where, what would be right. Nothing is
ever downloaded.
"""

import hashlib
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from padray.data import builtin
from padray.data.layouts import listings, locate
from padray.data.listing import HOLDS, Content, Feature, Listing, Listings, Source, check_names
from padray.data.pictures import pixels
from padray.data.settings import DataSettings
from padray.draws import generator
from padray.errors import InputError
from padray.machine.files import open_file, reason, shown
from padray.machine.memory import check_memory

REMEDY = "lower data.size or data.limit_per_class, or use a machine with more memory"
_COPIES = 3  # of all samples that live at once on their way into the stored dataset


@dataclass(frozen=True, eq=False)
class RawSplit:
    """Decoded samples: images (N, C, H, W) uint8 in 0..255, tables and series float32; `labels` (N,) int64.

    `place` says where they come from: file names or the like.
    """

    images: np.ndarray
    labels: np.ndarray
    place: str = ""


@dataclass(frozen=True, eq=False)
class RawDataset:
    """Train, as far as it is wanted, and test as it was found. `found`: how many training samples there were."""

    train: RawSplit
    test: RawSplit
    class_names: tuple[str, ...]
    content: Content = "image"
    available: int | None = None
    features: tuple[Feature, ...] = ()


def source_digest(settings: DataSettings) -> str:
    """SHA-256 (hex) over the source's files, nothing decoded; over a constant for what is built in."""
    return builtin.digest(settings.dataset) if builtin.is_built_in(settings) else _digest(locate(settings))


def listed(settings: DataSettings) -> Listings:
    """Train, test and the class names, labels checked, no sample decoded. Raises InputError."""
    source = None if builtin.is_built_in(settings) else locate(settings)
    _check_columns(settings, source)
    train, test, names = listings(source, settings) if source else builtin.listings(settings.dataset)
    check_names(names, train.place)
    if source is not None and source.is_whole:
        train, test = _set_aside(train, names, settings)
    elif settings.test_share is not None:
        raise InputError(f"data.test_share is for data without a test split, and {test.place} is one; leave it out")
    for listing in (train, test):
        _check_labels(listing, names)
    return train, test, names


def read(settings: DataSettings) -> RawDataset:
    """The dataset of `settings`. Raises InputError for anything that cannot be used."""
    train, test, names = listed(settings)
    kept = _kept(train.labels, settings)
    if train.content != "image":
        _check_for_images(settings, train)
        samples, test_samples = _stack(train, kept), _stack(test, np.arange(len(test.labels)))
        _check_lengths(test_samples.shape[1:], samples.shape[1:], "the test split")
    else:
        samples = _decode(train, kept, settings.size)
        test_samples = _decode(test, np.arange(len(test.labels)), settings.size)
        samples, test_samples = _alike(samples, test_samples)
    return RawDataset(
        RawSplit(samples, train.labels[kept], train.place),
        RawSplit(test_samples, test.labels, test.place),
        names,
        train.content,
        available=len(train.labels),
        features=train.features,
    )


@dataclass(frozen=True)
class Outline:
    """What is known of a dataset without keeping its samples: shape (C, H, W), training samples of each class."""

    shape: tuple[int, int, int]
    kept: tuple[int, ...]
    test: int
    class_names: tuple[str, ...]
    content: Content = "image"


def outline(settings: DataSettings) -> Outline:
    """The outline of what `read` gives; decodes images only until one of them has colours. Raises as `read` does."""
    train, test, names = listed(settings)
    kept, everything = _kept(train.labels, settings), np.arange(len(test.labels))
    if train.content != "image":
        _check_for_images(settings, train)
        shape = _stack(train, kept[:1]).shape[1:]
    else:
        shape = _image_shape(((train, kept), (test, everything)), settings.size)
    counts = np.bincount(train.labels[kept], minlength=len(names))
    channels, height, width = shape
    return Outline((channels, height, width), tuple(counts.tolist()), len(everything), names, train.content)


def _image_shape(parts: Iterable[tuple[Listing, np.ndarray]], size: int | None) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for listing, rows in parts:
        for row, encoded in zip(rows, listing.samples(rows), strict=True):
            shape = pixels(encoded, size, listing.where(int(row))).shape
            if shape[0] == 3:  # grey images fill all three channels then
                return shape
    return shape


def _digest(source: Source) -> str:
    """Over the lines `name NUL sha256` of all files, sorted by their names relative to the dataset's folder."""
    total = hashlib.sha256()
    files = {path.relative_to(source.root).as_posix(): path for path in (*source.train, *source.test, *source.tables)}
    for name in sorted(files):
        try:
            with open_file(files[name]) as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{shown(name)} in {shown(source.root)} cannot be read: {reason(error)}") from None
        total.update(os.fsencode(name) + f"\0{digest}\n".encode())
    return total.hexdigest()


def _check_columns(settings: DataSettings, source: Source | None) -> None:
    if source is not None and source.kind == "parquet":
        return
    for key in ("image_column", "label_column"):
        if getattr(settings, key) is not None:
            raise InputError(
                f"data.{key} names a column of Parquet files, and {settings.dataset} has none; leave it out"
            )


# -- a test split for data that have none

_TEST_SHARE = 0.2


def _set_aside(whole: Listing, names: tuple[str, ...], settings: DataSettings) -> tuple[Listing, Listing]:
    """Train and test: of each class the same share, at least one sample, drawn by `data.split_seed`."""
    _check_labels(whole, names)
    share, seed = settings.test_share or _TEST_SHARE, settings.split_seed
    is_test = np.zeros(len(whole.labels), dtype=bool)
    for label, name in enumerate(names):
        rows = np.flatnonzero(whole.labels == label)
        if len(rows) < 2:
            raise InputError(
                f"class {name!r} has one sample in {whole.place}; it takes two, one to train on and one to test on"
            )
        order = torch.randperm(len(rows), generator=generator(seed, "test-split", label)).numpy()
        is_test[rows[order[: max(1, round(share * len(rows)))]]] = True
    drawn = f"drawn by data.split_seed {seed}"
    return (
        whole.part(np.flatnonzero(~is_test), f"{whole.place} without its test samples"),
        whole.part(np.flatnonzero(is_test), f"{100 * share:g} % of each class of {whole.place}, {drawn}"),
    )


# -- labels


def _check_labels(listing: Listing, names: tuple[str, ...]) -> None:
    labels = listing.labels
    if not len(labels):
        raise InputError(f"{listing.place} is empty; every split needs samples of each class")
    if len(names) < 2:
        raise InputError(f"{listing.place} has one class, {names[0]!r}; it takes two to tell them apart")
    outside = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(outside):
        row = int(outside[0])
        raise InputError(
            f"label {labels[row]} in {listing.where(row)} is outside 0..{len(names) - 1}, "
            f"the {len(names)} classes of the training data"
        )
    counts = np.bincount(labels, minlength=len(names))
    if not counts.all():
        label = int(np.argmin(counts))
        raise InputError(
            f"class {names[label]!r} (label {label}) has no samples in {listing.place}; "
            f"add some, or number the classes without gaps from 0"
        )


# -- which training samples are wanted


def _kept(labels: np.ndarray, settings: DataSettings) -> np.ndarray:
    """Rising rows of the first samples of each class: at most the limit, and of these a long tail's share."""
    classes = int(labels.max()) + 1
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    kept = [rows[: kept_count(len(rows), label, classes, settings)] for label, rows in enumerate(by_class)]
    return np.sort(np.concatenate(kept))


def kept_count(count: int, label: int, classes: int, settings: DataSettings) -> int:
    """How many of a class's `count` training samples are wanted."""
    least = 2 if settings.validation else 1  # one to train on, one to validate with
    limited = count if settings.limit_per_class is None else min(count, settings.limit_per_class)
    return min(limited, max(least, tail_count(limited, label, classes, settings.imbalance)))


def tail_count(count: int, label: int, classes: int, imbalance: float) -> int:
    """How many of `count` samples a class keeps: floor(n imbalance^(-c / (K - 1))). Source: Cui et al. 2019."""
    share: float = imbalance ** (-label / max(1, classes - 1))
    return math.floor(count * share + 1e-9)  # 1000 / 10 is just below 100 in floating point


# -- the numbers of tables and series


def _check_for_images(settings: DataSettings, listing: Listing) -> None:
    if settings.size is not None:
        raise InputError(f"data.size resizes images, and {listing.place} holds {HOLDS[listing.content]}; leave it out")


def _stack(listing: Listing, rows: np.ndarray) -> np.ndarray:
    """The samples of `rows`, (N, C, H, W) float32; all must have one shape."""
    stacked = np.empty((0, 0, 0, 0), dtype=np.float32)
    for index, (row, sample) in enumerate(zip(rows, listing.samples(rows), strict=True)):
        assert isinstance(sample, np.ndarray), "tables and series are listed as numbers"
        if not index:
            stacked = _room((len(rows), *sample.shape), np.dtype(np.float32), listing.place)
        _check_lengths(sample.shape, stacked.shape[1:], listing.where(int(row)))
        stacked[index] = sample
    return stacked


def _check_lengths(shape: tuple[int, ...], expected: tuple[int, ...], where: str) -> None:
    if shape != expected:
        raise InputError(
            f"{where} has {shape[-1]} steps in {shape[0]} channel(s), but {expected[-1]} in {expected[0]} came before; "
            f"cut or fill all series to one length"
        )


# -- pixels


def _decode(listing: Listing, rows: np.ndarray, size: int | None) -> np.ndarray:
    """The images of `rows`, (N, C, H, W) uint8: C is 1 if all are grey, else 3."""
    decoded = np.empty((0, 1, 0, 0), dtype=np.uint8)
    for index, (row, encoded) in enumerate(zip(rows, listing.samples(rows), strict=True)):
        image = pixels(encoded, size, listing.where(int(row)))
        if not index:
            decoded = _room((len(rows), *image.shape), np.dtype(np.uint8), listing.place)
        _check_shape(image.shape, decoded.shape, listing.where(int(row)))
        if image.shape[0] > decoded.shape[1]:
            decoded = _in_colour(decoded, listing.place)
        decoded[index] = image  # a grey image fills all three channels
    return decoded


def _in_colour(grey: np.ndarray, place: str) -> np.ndarray:
    coloured = _room((len(grey), 3, *grey.shape[2:]), grey.dtype, place)
    coloured[:] = grey
    return coloured


def _room(shape: tuple[int, ...], kind: np.dtype, place: str) -> np.ndarray:
    """Memory for samples (N, C, H, W). Raises InfrastructureError where this machine has not enough for them."""
    what = f"{shape[0]:,} samples of {'x'.join(map(str, shape[1:]))} numbers from {place}"
    check_memory(_COPIES * math.prod(shape) * kind.itemsize, what, REMEDY)
    return np.empty(shape, kind)


def _alike(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the same number of channels; their sides must agree."""
    _check_shape(test.shape[1:], train.shape, "the test split")
    if train.shape[1] < test.shape[1]:
        train = _in_colour(train, "the training split")
    elif test.shape[1] < train.shape[1]:
        test = _in_colour(test, "the test split")
    return train, test


def _check_shape(shape: tuple[int, ...], expected: tuple[int, ...], where: str) -> None:
    if shape[-2:] != expected[-2:]:
        raise InputError(
            f"{where} has {shape[-1]}x{shape[-2]} pixels per image, but {expected[-1]}x{expected[-2]} came before; "
            f"set data.size to bring all images to one size"
        )
