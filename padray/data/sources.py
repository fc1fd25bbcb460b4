"""Real data in, arrays out: one reader for every dataset that padray knows.

Legend: N samples, C channels, H rows, W columns. Every fault of the data is an `InputError` of one sentence:
what, where, what would be right. Nothing is ever downloaded.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from padray.config import DataSettings
from padray.data.layouts import Encoded, Listing, Source, listings, locate
from padray.draws import generator
from padray.errors import InputError

_DIGITS = "sklearn-digits-1797"
_GREY = frozenset({"1", "L", "LA", "La"})


@dataclass(frozen=True, eq=False)
class RawSplit:
    """Decoded samples: `images` (N, C, H, W) uint8 in 0..255, `labels` (N,) int64."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class RawDataset:
    """Train and test as they were found; `digest` is the SHA-256 (hex) of the source's bytes."""

    train: RawSplit
    test: RawSplit
    class_names: tuple[str, ...]
    digest: str


def source_digest(settings: DataSettings) -> str:
    """SHA-256 (hex) over the source's files, nothing decoded; for digits, which are built in, over a constant."""
    if _is_digits(settings):
        return hashlib.sha256(_DIGITS.encode()).hexdigest()
    return _digest(locate(settings))


def read(settings: DataSettings) -> RawDataset:
    """The dataset of `settings`. Raises InputError for anything that cannot be used."""
    if _is_digits(settings):
        train, test, names = _digits()
        digest = source_digest(settings)
    else:
        source = locate(settings)
        train, test, names = listings(source, settings)
        digest = _digest(source)
    for listing in (train, test):
        _check_labels(listing, names)
    kept = _first_of_each_class(train.labels, settings.limit_per_class)
    images = _decode(train, kept, settings.size)
    test_images = _decode(test, np.arange(len(test.labels)), settings.size)
    images, test_images = _alike(images, test_images)
    return RawDataset(RawSplit(images, train.labels[kept]), RawSplit(test_images, test.labels), names, digest)


def _digest(source: Source) -> str:
    """Over the lines `name NUL sha256` of all files, sorted by their names relative to the dataset's folder."""
    total = hashlib.sha256()
    files = {path.relative_to(source.root).as_posix(): path for path in (*source.train, *source.test)}
    for name in sorted(files):
        try:
            with files[name].open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{name} in {source.root} cannot be read ({error.strerror}); check its rights") from error
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


# -- scikit-learn's digits


def _is_digits(settings: DataSettings) -> bool:
    return settings.dataset == "digits" and settings.path is None


def _digits() -> tuple[Listing, Listing, tuple[str, ...]]:
    """1797 grey 8x8 images, grey levels 0..16 spread over 0..255; 20 % of each class are always the same test split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        is_test[rows[_permutation(len(rows), label)[: round(0.2 * len(rows))]]] = True

    def listing(rows: np.ndarray, name: str) -> Listing:
        part = pixels[rows]
        return Listing(name, labels[rows], lambda chosen: iter(part[chosen]), lambda row: f"row {row} of {name}")

    train, test = listing(np.flatnonzero(~is_test), "digits (train)"), listing(np.flatnonzero(is_test), "digits (test)")
    return train, test, tuple(str(i) for i in range(10))


def _permutation(count: int, label: int) -> np.ndarray:
    import torch  # here, so that reading files does not load it

    order: np.ndarray = torch.randperm(count, generator=generator(0, "digits-test-split", label)).numpy()
    return order


# -- labels


def _check_labels(listing: Listing, names: tuple[str, ...]) -> None:
    labels = listing.labels
    if not len(labels):
        raise InputError(f"{listing.place} is empty; every split needs samples of each class")
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


def _first_of_each_class(labels: np.ndarray, limit: int | None) -> np.ndarray:
    """Rising rows of the first `limit` samples of each class; all rows without a limit."""
    if limit is None:
        return np.arange(len(labels))
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:limit] for label in np.unique(labels)]))


# -- pixels


def _decode(listing: Listing, rows: np.ndarray, size: int | None) -> np.ndarray:
    """The images of `rows`, (N, C, H, W) uint8: C is 1 if all are grey, else 3."""
    decoded = np.empty((0, 1, 0, 0), dtype=np.uint8)
    for index, (row, encoded) in enumerate(zip(rows, listing.images(rows), strict=True)):
        pixels = _pixels(encoded, size, listing.where(int(row)))
        if not index:
            decoded = np.empty((len(rows), *pixels.shape), dtype=np.uint8)
        _check_shape(pixels.shape, decoded.shape, listing.where(int(row)))
        if pixels.shape[0] > decoded.shape[1]:
            decoded = np.repeat(decoded, 3, axis=1)
        decoded[index] = pixels  # a grey image fills all three channels
    return decoded


def _alike(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both with the same number of channels; their sides must agree."""
    _check_shape(test.shape[1:], train.shape, "the test split")
    channels = max(train.shape[1], test.shape[1])
    train, test = (s if s.shape[1] == channels else np.repeat(s, channels, axis=1) for s in (train, test))
    return train, test


def _check_shape(found: tuple[int, ...], expected: tuple[int, ...], where: str) -> None:
    if found[-2:] != expected[-2:]:
        raise InputError(
            f"{where} has {found[-1]}x{found[-2]} pixels per image, but {expected[-1]}x{expected[-2]} came before; "
            f"set data.size to bring all images to one size"
        )


def _pixels(encoded: Encoded, size: int | None, where: str) -> np.ndarray:
    """One image as (C, H, W) uint8; C is 1 for grey images. Resized to size x size, bilinear with antialiasing."""
    if encoded is None:
        raise InputError(f"{where} holds no image bytes; every row needs a coded image (a path alone is not read)")
    try:
        image = _eight_bit(_open(encoded))
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
    except Exception as error:  # decoders of damaged files raise many kinds
        raise InputError(f"{where} cannot be decoded as an image; replace it or leave it out") from error
    if image.mode in ("I", "F"):
        raise InputError(f"{where} has 32-bit pixels; save it with 8 or 16 bits, so that black and white are defined")
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _open(encoded: bytes | Path | np.ndarray) -> Image.Image:
    if isinstance(encoded, np.ndarray):
        return Image.fromarray(encoded)
    with Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded) as image:
        image.load()
        return image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey (L) or RGB. 16-bit grey keeps its high byte: Pillow's own conversion would clip at 255."""
    if image.mode in ("I", "F"):
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("L" if image.mode in _GREY else "RGB")
