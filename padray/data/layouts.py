"""Where a dataset's files lie and what they list: labels first, samples only when asked for, row by row.

Three layouts: Parquet files (parquet.py), folders of image files by class, and the folders that torchvision's
dataset classes fill (fetched.py). Each becomes a `Listing` per split.
"""

import os
from pathlib import Path

import numpy as np

from padray.config import DataSettings
from padray.data import fetched, imagenet, parquet
from padray.data.listing import Listing, Listings, Source
from padray.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})


def locate(settings: DataSettings) -> Source:
    """Find out which layout lies at `data.path`. Raises InputError if none does."""
    if settings.path is None:
        raise InputError(
            f"data.dataset {settings.dataset!r} is not built in: data.path must name its folder; {_LAYOUTS}"
        )
    root = Path(settings.path).expanduser()
    if not root.is_dir():
        state = "is a file" if root.exists() else "does not exist"
        raise InputError(f"data.path {settings.path!r} {state}; it must be the dataset's folder")
    for folder in (root, root / "data"):  # clones of Hugging Face repositories keep their files in data/
        if files := _parquet_files(folder, "train"):
            test = _parquet_files(folder, "test") or _parquet_files(folder, "val")
            return Source("parquet", root, files, _required(test, folder, "train*.parquet", "test*.parquet"))
    if (root / "train").is_dir():
        return _folders(root, settings.dataset)
    if source := fetched.find(root, settings.dataset):
        return source
    inner = root / settings.dataset  # one folder for several datasets, each under its name: studies need that
    if inner.is_dir():
        return locate(settings.model_copy(update={"path": str(inner)}))
    raise InputError(
        f"data.path {settings.path!r} holds no dataset {settings.dataset!r} that padray can read; {_LAYOUTS}"
    )


_LAYOUTS = (
    "it reads train*.parquet with test*.parquet (images, tables, series), train/<class>/ with test/<class>/ (images), "
    "or what torchvision.datasets.CIFAR10(root, download=True) and its like fetch (where data.dataset is cifar10, "
    "cifar100, mnist, fashionmnist or svhn)"
)


def _required(test: tuple[Path, ...], folder: Path, there: str, missing: str) -> tuple[Path, ...]:
    if not test:
        raise InputError(f"{folder} holds {there} but no {missing} (or validation, val): add the samples to test on")
    return test


def _parquet_files(folder: Path, prefix: str) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob(f"{prefix}*.parquet")))


def listings(source: Source, settings: DataSettings) -> Listings:
    """Train, test and the class names of a located source."""
    if source.kind == "parquet":
        return parquet.listings(source, settings)
    if source.kind == "fetched":
        return fetched.listings(source, settings.dataset)
    train = _folder(source, source.train, "train")
    return train, _folder(source, source.test, "test"), source.classes


# -- folders of image files


def _folders(root: Path, dataset: str) -> Source:
    """The image files of all classes, or of those that make a subset of ImageNet."""
    classes = tuple(sorted(p.name for p in (root / "train").iterdir() if p.is_dir() and p.name[0] != "."))
    wanted: tuple[str, ...] = ()
    if imagenet.is_subset(dataset):
        classes = wanted = imagenet.choose(dataset, classes, root / "train")
    test = next((files for n in ("test", "validation", "val") if (files := _image_files(root / n, wanted))), ())
    test = _required(test, root, "train/", "test/<class>/ images")
    return Source("folder", root, _image_files(root / "train", wanted), test, classes)


def _image_files(folder: Path, classes: tuple[str, ...]) -> tuple[Path, ...]:
    """Image files below the class folders (all, or some), hidden ones left out, sorted by their relative names."""
    tops = [folder / name for name in classes] or [folder]
    walk = (entry for top in tops for entry in os.walk(top, followlinks=True))  # classes are often links elsewhere
    found = (Path(at, name).relative_to(folder) for at, _, names in walk for name in names)
    images = (p.parts for p in found if p.suffix.lower() in SUFFIXES)
    kept = sorted(n for n in images if len(n) > 1 and not any(part.startswith(".") for part in n))
    return tuple(folder.joinpath(*n) for n in kept)


def _folder(source: Source, files: tuple[Path, ...], part: str) -> Listing:
    relative = [p.relative_to(source.root).as_posix() for p in files]
    classes = [name.split("/")[1] for name in relative]
    numbers = {name: i for i, name in enumerate(source.classes)}
    strays = [name for name, label in zip(relative, classes, strict=True) if label not in numbers]
    if strays:
        raise InputError(f"{strays[0]} belongs to no class of train/, which has {', '.join(source.classes) or 'none'}")
    labels = np.array([numbers[c] for c in classes], dtype=np.int64)
    place = relative[0].split("/")[0] if relative else part
    return Listing(f"{place}/", labels, lambda rows: (files[r] for r in rows), lambda row: relative[row])
