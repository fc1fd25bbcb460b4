"""The folders that torchvision's dataset classes fill: CIFAR-10 and -100, MNIST, FashionMNIST, SVHN.

MNIST's idx files (raw or gzip) and SVHN's MATLAB files are read here; CIFAR's pickles only by torchvision, which
knows their checksums. Nothing is fetched, and nothing is inflated beyond `MOST_INFLATED`.
"""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from padray.data.listing import Listing, Listings, Source, of_arrays
from padray.data.pictures import MOST_PIXELS
from padray.errors import InputError
from padray.machine.files import entries, open_regular, read_regular, shown

FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "mnist": "MNIST/raw",
    "fashionmnist": "FashionMNIST/raw",
    "svhn": "",
}
_FETCH = {
    "cifar10": "CIFAR10(root, download=True)",
    "cifar100": "CIFAR100(root, download=True)",
    "mnist": "MNIST(root, download=True)",
    "fashionmnist": "FashionMNIST(root, download=True)",
    "svhn": "SVHN(root, split, download=True) for the splits train and test",
}
MOST_INFLATED = 2**30  # bytes of one file; the largest of these datasets, SVHN's, has 225 million
_NUMBERS = frozenset({"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))})
_IDX = {"train": "train", "test": "t10k"}
_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_DIGITS = tuple("0123456789")


def find(root: Path, dataset: str) -> Source | None:
    """The files of a dataset below torchvision's root; None where there is no sign of it."""
    folder = root / FOLDERS.get(dataset, "")
    if dataset not in FOLDERS or not os.path.isdir(folder):
        return None
    if dataset.startswith("cifar"):
        files = tuple(
            folder / entry.name for entry in entries(folder) if os.path.isfile(entry.path) and entry.name[0] != "."
        )
        return Source("fetched", root, files, ())
    if dataset == "svhn":
        parts: list[tuple[Path, ...]] = [(folder / f"{part}_32x32.mat",) for part in ("train", "test")]
        if not any(os.path.lexists(path) for part in parts for path in part):
            return None
    else:
        parts = [_idx_pair(folder, prefix) for prefix in _IDX.values()]
    for path in (path for part in parts for path in part):
        if not os.path.lexists(path):
            raise InputError(f"{shown(path)} is missing; {_fetch(dataset)}")
    return Source("fetched", root, parts[0], parts[1])


def _idx_pair(folder: Path, prefix: str) -> tuple[Path, ...]:
    """Images and labels; unpacked files before packed ones."""
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    packed = (folder / f"{name}.gz" for name in names)
    return tuple(
        gz if os.path.lexists(gz) and not os.path.lexists(gz.with_suffix("")) else gz.with_suffix("") for gz in packed
    )


def listings(source: Source, dataset: str) -> Listings:
    """Train, test and the class names. Raises InputError for files that are damaged."""
    if dataset.startswith("cifar"):
        return _cifar(source, dataset)
    train, test = (_split(files, dataset, part) for files, part in ((source.train, "train"), (source.test, "test")))
    return train, test, _FASHION if dataset == "fashionmnist" else _DIGITS


def _split(files: tuple[Path, ...], dataset: str, part: str) -> Listing:
    pixels, labels = _svhn(files[0]) if dataset == "svhn" else (_idx(path, dataset) for path in files)
    return _paired(pixels, labels, f"{dataset} ({part})")


def _fetch(dataset: str) -> str:
    return f"fetch it with torchvision.datasets.{_FETCH[dataset]}"


def _idx(path: Path, dataset: str) -> np.ndarray:
    """An idx file of bytes: two zeros, 8 (bytes), the number of axes, each axis' length (big endian), the values."""
    with open_regular(path, "the file") as packed:
        stream: gzip.GzipFile | io.BufferedReader = gzip.GzipFile(fileobj=packed) if path.suffix == ".gz" else packed
        try:
            head = stream.read(4)
            axes = head[3] if head[:3] == b"\0\0\x08" and len(head) == 4 else 0
            shape = struct.unpack(f">{axes}I", stream.read(4 * axes))
            size = math.prod(shape)
            content = stream.read(min(size, MOST_INFLATED) + 1)  # no more than it says, and one to see that it ends
        except (OSError, EOFError, zlib.error, struct.error) as error:
            raise _damaged(path, dataset) from error
    if axes == 0 or len(content) != size:
        raise _damaged(path, dataset)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _damaged(path: Path, dataset: str) -> InputError:
    return InputError(f"{shown(path)} is no file of {dataset} or is damaged; {_fetch(dataset)}")


def _svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, H, W, C) and labels (N,); in the file the digit 0 has the label 10."""
    from scipy.io import loadmat, whosmat

    content = read_regular(path, "the file", MOST_INFLATED)
    try:
        _check_inflated(content)
        kinds = {kind for name, _, kind in whosmat(io.BytesIO(content)) if name in ("X", "y")}
        if not kinds <= _NUMBERS:  # lists of lists are read by recursion
            raise ValueError(f"X and y are {kinds}")
        arrays = loadmat(io.BytesIO(content), variable_names=["X", "y"])
        pixels, labels = arrays["X"].transpose(3, 0, 1, 2), arrays["y"].reshape(-1)
        if pixels.dtype != np.uint8 or not np.isin(labels, np.arange(11)).all():
            raise ValueError("X or y has other numbers")
    except MemoryError:
        raise
    except Exception as error:  # readers of damaged files raise many kinds
        raise _damaged(path, "svhn") from error
    return pixels, labels.astype(np.int64) % 10


def _check_inflated(content: bytes) -> None:
    """Refuse a MATLAB file whose elements inflate to more than a dataset has. Raises ValueError, zlib.error."""
    order = "<" if content[126:128] == b"IM" else ">"  # the end of the head
    place, left = 128, MOST_INFLATED
    while place + 8 <= len(content):
        kind, length = struct.unpack_from(f"{order}II", content, place)
        if kind == 15:  # a compressed element
            inflater, waiting = zlib.decompressobj(), content[place + 8 : place + 8 + length]
            while waiting:
                left -= len(inflater.decompress(waiting, 2**24))
                waiting = inflater.unconsumed_tail
                if left < 0:
                    raise ValueError("too many bytes")
        place += 8 + length


def _paired(pixels: np.ndarray, labels: np.ndarray, place: str) -> Listing:
    fits = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)
    if not fits or labels.ndim != 1 or len(pixels) != len(labels):
        raise InputError(f"{place} has images {pixels.shape} and labels {labels.shape}, which do not belong together")
    height, width = pixels.shape[1:3]
    if not 0 < height * width <= MOST_PIXELS:
        raise InputError(f"{place} has images of {width}x{height} pixels; right are 1 to {MOST_PIXELS:,} in all")
    return of_arrays(pixels, labels, place)


def _cifar(source: Source, dataset: str) -> Listings:
    try:
        from torchvision import datasets  # here, because it is slow to load
    except ImportError as error:
        raise InputError(f"reading {source.root} needs torchvision; pip install torchvision") from error
    factory = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
    try:
        parts: list[Any] = [factory(str(source.root), train=train, download=False) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{shown(source.root / FOLDERS[dataset])} is not what torchvision fetched (a file is missing or damaged); "
            f"{_fetch(dataset)}"
        ) from error
    train, test = (
        _paired(part.data, np.asarray(part.targets), f"{dataset} ({name})")
        for part, name in zip(parts, ("train", "test"), strict=True)
    )
    return train, test, tuple(parts[0].classes)
