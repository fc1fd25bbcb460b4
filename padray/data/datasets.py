"""The dataset as every stage uses it: samples, labels, splits and the preprocessing of its training split.

Legend: N samples, C channels, H rows, W columns, K classes. Raw samples are kept (images as uint8, tables and
series as float32) and preprocessed when a split is asked for: on CPUs once for all processes of a machine, elsewhere
where they are needed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from padray.data import whitening
from padray.data.listing import Content, Feature
from padray.data.settings import DataSettings
from padray.data.sources import RawDataset
from padray.data.whitening import Preprocessing
from padray.draws import generator
from padray.errors import InputError
from padray.machine.memory import check_memory
from padray.store.shelf import Layout, Make, Shelf

SPLITS = ("train", "validation", "test")
Read = Callable[[], Tensor]
_MATRICES = 4  # of float64 that whitening holds at once
_FITTED = "preprocessing."  # before the names of a transform's tensors
_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Dataset:
    """All samples.

    Attributes:
        shape: C, H, W of one sample.
        read: gives `images`; a worker that finds its splits preprocessed never asks for them.
        labels: (N,) int64.
        splits: indices into the samples, by name.
        shelf: where preprocessed splits are shared with other processes.
        features: of a table's columns what they are called and measured in, where that is known.
    """

    shape: tuple[int, int, int]
    read: Read
    labels: Tensor
    class_names: tuple[str, ...]
    splits: dict[str, Tensor]
    preprocessing: Preprocessing
    shelf: Shelf = field(default_factory=Shelf)
    features: tuple[Feature, ...] = ()

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor,
        class_names: tuple[str, ...],
        splits: dict[str, Tensor],
        preprocessing: Preprocessing,
        features: tuple[Feature, ...] = (),
    ) -> "Dataset":
        """A dataset whose samples are in memory."""
        channels, height, width = images.shape[1:]
        shape = (channels, height, width)
        return cls(shape, lambda: images, labels, class_names, splits, preprocessing, features=features)

    @cached_property
    def images(self) -> Tensor:
        """The raw samples (N, C, H, W)."""
        return self.read()

    @property
    def classes(self) -> int:
        """K."""
        return len(self.class_names)

    @property
    def content(self) -> Content:
        """What the samples are."""
        return self.preprocessing.content

    def split(
        self, name: str, dtype: torch.dtype = torch.float32, device: torch.device = _CPU
    ) -> tuple[Tensor, Tensor]:
        """Preprocessed images (n, C, H, W) of `dtype` on `device`, and labels (n,), in the order of the split.

        On CPUs the images' bytes are the same in every process, however many threads it has; they may be mapped.
        """
        return self._of_shelf(self.shelf, name, self.splits[name], dtype, device)

    def samples(
        self, rows: Tensor, dtype: torch.dtype = torch.float32, device: torch.device = _CPU
    ) -> tuple[Tensor, Tensor]:
        """The same for any samples, by their rows: no others are preprocessed, and no file is made."""
        return self._of_shelf(Shelf(), "", rows, dtype, device)

    def _of_shelf(
        self, shelf: Shelf, name: str, rows: Tensor, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        layout = Layout((len(rows), *self.shape), dtype)
        if device.type == "cpu":
            return shelf.tensor(name, layout, lambda: self._preprocessed(rows, dtype, device)), self.labels[rows]
        images, part = torch.empty(layout.shape, dtype=dtype, device=device), self._preprocessed(rows, dtype, device)
        for first, last in layout.parts:
            images[first:last] = part(first, last)
        return images, self.labels[rows]

    def _preprocessed(self, rows: Tensor, dtype: torch.dtype, device: torch.device) -> Make:
        """What makes some of these samples, once all that it needs is read."""
        images, transform = self.images, self.preprocessing.transform(dtype, device)

        def make(first: int, last: int) -> Tensor:
            return transform(whitening.to_unit(images[rows[first:last]].to(device), dtype))

        return make

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
    return Dataset.of(images, labels, raw.class_names, splits, preprocessing, raw.features)


def _check_zca(settings: DataSettings, numbers: int) -> None:
    """Refuse to whiten samples of so many numbers that no memory holds the matrices. Raises InfrastructureError."""
    if settings.preprocessing == "zca":
        remedy = "use data.preprocessing: normalize, a smaller data.size, or a machine with more memory"
        check_memory(_MATRICES * 8 * numbers**2, f"data.preprocessing: zca of samples of {numbers:,} numbers", remedy)


def _check_finite(images_NCHW: Tensor, part: str) -> None:
    if not images_NCHW.is_floating_point():
        return
    bad = ~images_NCHW.isfinite().flatten(1).all(dim=1)
    if bool(bad.any()):
        raise InputError(
            f"row {int(bad.nonzero()[0])} (from 0) of the {part} samples holds NaN or infinity; "
            f"every value must be finite"
        )


def held_count(count: int, fraction: float) -> int:
    """How many of a class's `count` training samples go to validation."""
    held = math.floor(fraction * count + 1e-9)  # 0.29 * 100 is just below 29 in floating point
    return max(1, held) if fraction > 0 else 0


def _split(labels_N: Tensor, names: tuple[str, ...], fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rising indices of train and validation; of each class floor(fraction * n), at least 1, go to validation."""
    held: list[Tensor] = [torch.empty(0, dtype=torch.int64)]
    sizes = torch.bincount(labels_N, minlength=len(names)).tolist()
    by_class = torch.split(labels_N.argsort(stable=True), sizes)
    for label, (name, rows) in enumerate(zip(names, by_class, strict=True)):
        count = held_count(len(rows), fraction)
        if count >= len(rows):
            raise InputError(
                f"class {name!r} has {len(rows)} training sample(s), too few to train on and to validate with; "
                f"add samples or set data.validation to 0"
            )
        held.append(rows[torch.randperm(len(rows), generator=generator(seed, "split", label))[:count]])
    validation = torch.cat(held).sort().values
    kept = torch.ones(len(labels_N), dtype=torch.bool)
    kept[validation] = False
    return kept.nonzero()[:, 0], validation


def to_objects(dataset: Dataset) -> dict[str, dict[str, Tensor]]:
    """Every tensor of the dataset under a flat name, contiguous, by the object that is to hold it.

    All are in `dataset`, but for large samples and a large preprocessing: who does without them shall not read them.
    """
    whole = {"labels": dataset.labels, **{f"splits.{name}": rows for name, rows in dataset.splits.items()}}
    samples = {"images": dataset.images}
    fitted = {f"{_FITTED}{name}": value for name, value in dataset.preprocessing.tensors().items()}
    objects = {"dataset": whole}
    for stem, tensors, large in (
        ("images", samples, dataset.images.nbytes >= whitening.LARGE),
        ("preprocessing", fitted, dataset.preprocessing.is_large),
    ):
        objects.setdefault(stem if large else "dataset", {}).update(tensors)
    return {stem: {name: value.contiguous() for name, value in part.items()} for stem, part in objects.items()}


def meta(dataset: Dataset) -> dict[str, Any]:
    """What `to_objects` leaves out, as plain JSON values, and what is to be known of objects before they are read."""
    header = {"class_names": list(dataset.class_names), "preprocessing": dataset.preprocessing.meta()}
    if dataset.preprocessing.is_large:
        header["preprocessing_sha256"] = dataset.preprocessing.digest
    header |= about_features(dataset.features)
    return header | {"shape": list(dataset.shape)} if dataset.images.nbytes >= whitening.LARGE else header


def about_features(features: Sequence[Feature]) -> dict[str, Any]:
    """Features as headers hold them; nothing where nothing is known."""
    known = {"features": [one.name for one in features], "units": [one.unit for one in features]}
    return {key: values for key, values in known.items() if any(values)}


def features_in(header: Mapping[str, Any]) -> tuple[Feature, ...]:
    """The inverse of `about_features`. Raises ValueError for what is none."""
    names, units = header.get("features", []), header.get("units")
    units = [""] * len(names) if units is None else units
    if not all(isinstance(text, str) for text in (*names, *units)):
        raise ValueError("features")
    return tuple(Feature(name, unit) for name, unit in zip(names, units, strict=True))


def from_objects(
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    read: Callable[[str], Mapping[str, Tensor]],
    shelf: Shelf | None = None,
) -> Dataset:
    """The inverse of `to_objects` and `meta`.

    Args:
        tensors: those of the object `dataset`.
        read: the tensors of another object, by its name; called when they are needed.
    """
    channels, height, width = tensors["images"].shape[1:] if "images" in tensors else meta["shape"]

    def samples() -> Tensor:
        return (tensors if "images" in tensors else read("images"))["images"]

    kind, digest = meta["preprocessing"], meta.get("preprocessing_sha256")
    preprocessing = (
        Preprocessing.from_tensors(kind, _under(_FITTED, tensors))
        if digest is None
        else Preprocessing.deferred(kind, digest, lambda: _under(_FITTED, read("preprocessing")))
    )
    return Dataset(
        (channels, height, width),
        samples,
        tensors["labels"],
        tuple(meta["class_names"]),
        _under("splits.", tensors),
        preprocessing,
        shelf or Shelf(),
        features_in(meta),
    )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
