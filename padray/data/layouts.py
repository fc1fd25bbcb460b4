"""Where a dataset's files lie and what they list: labels first, samples only when asked for, row by row.

Three layouts: Parquet files (parquet.py), folders of image files (folders.py), and the folders that torchvision's
dataset classes fill (fetched.py). Each becomes a `Listing` per split.
"""

import os
from pathlib import Path

from padray.data import fetched, folders
from padray.data.listing import Listings, Source
from padray.data.settings import DataSettings
from padray.errors import InputError
from padray.machine.files import entries, expanded, quoted, shown


def locate(settings: DataSettings) -> Source:
    """Find out which layout lies at `data.path`. Raises InputError if none does."""
    if settings.path is None:
        raise InputError(
            f"data.dataset {settings.dataset!r} is not built in: data.path must name its folder; {_LAYOUTS}"
        )
    root = expanded(settings.path, "data.path")
    if not os.path.isdir(root):
        state = "is a file" if os.path.exists(root) else "does not exist"
        raise InputError(f"data.path {quoted(settings.path)} {state}; it must be the dataset's folder")
    inner = root / settings.dataset  # one folder for several datasets, each under its name: studies need that
    for folder in (root, inner) if os.path.isdir(inner) else (root,):
        if source := _at(folder, settings.dataset):
            return source
    raise InputError(
        f"data.path {quoted(settings.path)} holds no dataset {settings.dataset!r} that padray can read; {_LAYOUTS}"
    )


_LAYOUTS = (
    "it reads train*.parquet with test*.parquet (images, tables, series), train/<class>/ with test/<class>/ (images), "
    "or what torchvision.datasets.CIFAR10(root, download=True) and its like fetch (where data.dataset is cifar10, "
    "cifar100, mnist, fashionmnist or svhn)"
)


def _at(root: Path, dataset: str) -> Source | None:
    """What lies in just this folder."""
    for folder in (root, root / "data"):  # clones of Hugging Face repositories keep their files in data/
        if files := _parquet_files(folder, "train"):
            test = _parquet_files(folder, "test") or _parquet_files(folder, "val")
            if not test:
                raise InputError(
                    f"{shown(folder)} holds train*.parquet but no test*.parquet (or validation, val): add the samples "
                    f"to test on"
                )
            return Source("parquet", root, files, test)
    if os.path.isdir(root / "train"):
        return folders.find(root, dataset)
    return fetched.find(root, dataset)


def _parquet_files(folder: Path, prefix: str) -> tuple[Path, ...]:
    names = [entry.name for entry in entries(folder)] if os.path.isdir(folder) else []
    return tuple(folder / name for name in names if name.startswith(prefix) and name.endswith(".parquet"))


def listings(source: Source, settings: DataSettings) -> Listings:
    """Train, test and the class names of a located source."""
    if source.kind == "parquet":
        from padray.data import parquet  # PyArrow takes its time, and most sources do without it

        return parquet.listings(source, settings)
    if source.kind == "fetched":
        return fetched.listings(source, settings.dataset)
    return folders.listings(source)
