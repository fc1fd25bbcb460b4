"""The dataset as every stage uses it: samples, labels, splits and the preprocessing of its training split.

Legend: N samples, C channels, H rows, W columns, K classes. Raw samples are kept (images as uint8, tables and
series as float32) and preprocessed when a split is asked for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from padray.config import DataSettings
from padray.data import whitening
from padray.data.listing import Content
from padray.data.sources import RawDataset
from padray.data.whitening import Preprocessing
from padray.draws import generator
from padray.errors import InputError
from padray.memory import check_memory

SPLITS = ("train", "validation", "test")
_CHUNK = 2048  # samples preprocessed at once
_MATRICES = 4  # of float64 that whitening holds at once


@dataclass(frozen=True, eq=False)
class Dataset:
    """All samples: `images` (N, C, H, W), `labels` (N,) int64; `splits` maps a name to indices into them."""

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    splits: dict[str, Tensor]
    preprocessing: Preprocessing

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of one sample."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def content(self) -> Content:
        """What the samples are."""
        return self.preprocessing.content

    def split(self, name: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """Preprocessed images (n, C, H, W) of `dtype` and labels (n,) of one split, in the order of its indices."""
        return self.samples(self.splits[name], dtype)

    def samples(self, rows: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """The same for any samples, by their rows: no others are preprocessed."""
        images = torch.empty(len(rows), *self.shape, dtype=dtype)
        for first in range(0, len(rows), _CHUNK):
            chunk = self.images[rows[first : first + _CHUNK]]
            images[first : first + _CHUNK] = self.preprocessing.apply(whitening.to_unit(chunk, dtype))
        return images, self.labels[rows]

    def per_class(self, name: str) -> Tensor:
        """Samples of each class in one split, (K,) int64."""
        return torch.bincount(self.labels[self.splits[name]], minlength=self.classes)


def make(settings: DataSettings, raw: RawDataset) -> Dataset:
    """Split off the validation samples and fit the preprocessing on the training samples that remain.

    Raises InputError for samples that are not finite and for classes too small to be split.
    """
    for name, part in (("train", raw.train), ("test", raw.test)):
        _check_finite(torch.from_numpy(part.images), name)
    images = torch.cat([torch.from_numpy(raw.train.images), torch.from_numpy(raw.test.images)])
    labels = torch.cat([torch.from_numpy(raw.train.labels), torch.from_numpy(raw.test.labels)])
    known = len(raw.train.labels)
    train, validation = _split(labels[:known], raw.class_names, settings.validation, settings.split_seed)
    splits = {"train": train, "validation": validation, "test": torch.arange(known, len(labels))}
    _check_zca(settings, math.prod(images.shape[1:]))
    preprocessing = whitening.fit(settings, images, raw.content, train)
    return Dataset(images, labels, raw.class_names, splits, preprocessing)


def _check_zca(settings: DataSettings, numbers: int) -> None:
    """Refuse to whiten samples of so many numbers that no memory holds the matrices. Raises InfrastructureError."""
    if settings.preprocessing == "zca":
        remedy = "use data.preprocessing: normalize, a smaller data.size, or a machine with more memory"
        check_memory(_MATRICES * 8 * numbers**2, f"data.preprocessing: zca of samples of {numbers:,} numbers", remedy)


def _check_finite(images: Tensor, part: str) -> None:
    if not images.is_floating_point():
        return
    bad = ~images.isfinite().flatten(1).all(dim=1)
    if bool(bad.any()):
        raise InputError(
            f"row {int(bad.nonzero()[0])} (from 0) of the {part} samples holds NaN or infinity; "
            f"every value must be finite"
        )


def held_count(count: int, fraction: float) -> int:
    """How many of a class's `count` training samples go to validation."""
    held = math.floor(fraction * count + 1e-9)  # 0.29 * 100 is just below 29 in floating point
    return max(1, held) if fraction > 0 else 0


def _split(labels: Tensor, names: tuple[str, ...], fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rising indices of train and validation; of each class floor(fraction * n), at least 1, go to validation."""
    held: list[Tensor] = [torch.empty(0, dtype=torch.int64)]
    sizes = torch.bincount(labels, minlength=len(names)).tolist()
    by_class = torch.split(labels.argsort(stable=True), sizes)
    for label, (name, rows) in enumerate(zip(names, by_class, strict=True)):
        count = held_count(len(rows), fraction)
        if count >= len(rows):
            raise InputError(
                f"class {name!r} has {len(rows)} training sample(s), too few to train on and to validate with; "
                f"add samples or set data.validation to 0"
            )
        held.append(rows[torch.randperm(len(rows), generator=generator(seed, "split", label))[:count]])
    validation = torch.cat(held).sort().values
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[validation] = False
    return kept.nonzero()[:, 0], validation


def to_tensors(dataset: Dataset) -> dict[str, Tensor]:
    """Every tensor of the dataset under a flat name, contiguous, for a store."""
    tensors = {"images": dataset.images, "labels": dataset.labels}
    tensors |= {f"splits.{name}": rows for name, rows in dataset.splits.items()}
    tensors |= {f"preprocessing.{name}": value for name, value in dataset.preprocessing.tensors().items()}
    return {name: value.contiguous() for name, value in tensors.items()}


def meta(dataset: Dataset) -> dict[str, Any]:
    """What `to_tensors` leaves out, as plain JSON values."""
    return {"class_names": list(dataset.class_names), "preprocessing": dataset.preprocessing.meta()}


def from_tensors(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Dataset:
    """The inverse of `to_tensors` and `meta`."""

    def under(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    preprocessing = Preprocessing.from_tensors(meta["preprocessing"], under("preprocessing."))
    names = tuple(meta["class_names"])
    return Dataset(tensors["images"], tensors["labels"], names, under("splits."), preprocessing)
