"""The folders that torchvision's dataset classes fill: CIFAR-10 and -100, MNIST, FashionMNIST, SVHN.

MNIST's idx files (raw or gzip) and SVHN's MATLAB files are read here; CIFAR's pickles only by torchvision, which
knows their checksums. Nothing is fetched.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from padray.data.listing import Listing, Listings, Source, of_arrays
from padray.errors import InputError

FOLDERS = {
    "cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "mnist": "MNIST/raw",
    "fashionmnist": "FashionMNIST/raw", "svhn": "",
}  # fmt: skip
_FETCH = {
    "cifar10": "CIFAR10(root, download=True)", "cifar100": "CIFAR100(root, download=True)",
    "mnist": "MNIST(root, download=True)", "fashionmnist": "FashionMNIST(root, download=True)",
    "svhn": "SVHN(root, split, download=True) for the splits train and test",
}  # fmt: skip
_IDX = {"train": "train", "test": "t10k"}
_FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_DIGITS = tuple("0123456789")


def find(root: Path, dataset: str) -> Source | None:
    """The files of a dataset below torchvision's root; None where there is no sign of it."""
    folder = root / FOLDERS.get(dataset, "")
    if dataset not in FOLDERS or not folder.is_dir():
        return None
    if dataset.startswith("cifar"):
        files = sorted(path for path in folder.iterdir() if path.is_file() and path.name[0] != ".")
        return Source("fetched", root, tuple(files), ())
    if dataset == "svhn":
        parts: list[tuple[Path, ...]] = [(folder / f"{part}_32x32.mat",) for part in ("train", "test")]
        if not any(path.is_file() for part in parts for path in part):
            return None
    else:
        parts = [_idx_pair(folder, prefix) for prefix in _IDX.values()]
    for path in (path for part in parts for path in part):
        if not path.is_file():
            raise InputError(f"{path} is missing; {_fetch(dataset)}")
    return Source("fetched", root, parts[0], parts[1])


def _idx_pair(folder: Path, prefix: str) -> tuple[Path, ...]:
    """Images and labels; unpacked files before packed ones."""
    names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    packed = (folder / f"{name}.gz" for name in names)
    return tuple(gz if gz.is_file() and not gz.with_suffix("").is_file() else gz.with_suffix("") for gz in packed)


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
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        axes = content[3] if content[:3] == b"\0\0\x08" else 0
        shape = np.frombuffer(content, ">i4", axes, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise InputError(f"{path} is no idx file or is damaged; {_fetch(dataset)}") from error


def _svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, H, W, C) and labels (N,); in the file the digit 0 has the label 10."""
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        pixels, labels = content["X"].transpose(3, 0, 1, 2), content["y"].reshape(-1).astype(np.int64)
    except Exception as error:  # readers of damaged files raise many kinds
        raise InputError(f"{path} is not SVHN's file or is damaged; {_fetch('svhn')}") from error
    return pixels, labels % 10


def _paired(pixels: np.ndarray, labels: np.ndarray, place: str) -> Listing:
    if pixels.ndim < 3 or labels.ndim != 1 or len(pixels) != len(labels):
        raise InputError(f"{place} has images {pixels.shape} and labels {labels.shape}, which do not belong together")
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
            f"{source.root / FOLDERS[dataset]} is not what torchvision fetched (a file is missing or damaged); "
            f"{_fetch(dataset)}"
        ) from error
    train, test = (
        _paired(part.data, np.asarray(part.targets), f"{dataset} ({name})")
        for part, name in zip(parts, ("train", "test"), strict=True)
    )
    return train, test, tuple(parts[0].classes)
