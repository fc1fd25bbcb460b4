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
    if os.path.isfile(root) and _is_table(root.name):
        return Source("parquet", root.parent, (root,), ())
    if not os.path.isdir(root):
        state = "is a file" if os.path.exists(root) else "does not exist"
        raise InputError(
            f"data.path {quoted(settings.path)} {state}; it must be the dataset's folder, or a CSV or "
            f"Parquet file that holds all of it"
        )
    inner = root / settings.dataset  # one folder for several datasets, each under its name: studies need that
    for folder in (root, inner) if os.path.isdir(inner) else (root,):
        if source := _at(folder, settings.dataset):
            return source
    raise InputError(
        f"data.path {quoted(settings.path)} holds no dataset {settings.dataset!r} that padray can read; {_LAYOUTS}"
    )


_LAYOUTS = (
    "it reads train*.parquet or .csv with test*, train/<class>/ with test/<class>/ of images, one such file or "
    "<class>/ alone, or what torchvision.datasets.CIFAR10(root, download=True) fetches (where data.dataset is cifar10, "
    "cifar100, mnist, fashionmnist or svhn)"
)


def _at(root: Path, dataset: str) -> Source | None:
    """What lies in just this folder."""
    for folder in (root, root / "data"):  # clones of Hugging Face repositories keep their files in data/
        if files := _tables(folder, "train"):
            test = _tables(folder, "test") or _tables(folder, "val")
            if not test:
                suffix = files[0].suffix
                raise InputError(
                    f"{shown(folder)} holds train*{suffix} but no test*{suffix} (or validation, val): add the samples "
                    f"to test on, or name one file as data.path, of which a part becomes the test split then"
                )
            return Source("parquet", root, files, test)
    if os.path.isdir(root / "train"):
        return folders.find(root, dataset)
    if source := fetched.find(root, dataset):
        return source
    alone = _tables(root)
    return Source("parquet", root, alone, ()) if len(alone) == 1 else folders.whole(root)


def _tables(folder: Path, prefix: str = "") -> tuple[Path, ...]:
    """The Parquet files of a folder whose names begin so; where there are none, its CSV files."""
    names = [entry.name for entry in entries(folder)] if os.path.isdir(folder) else []
    paths = [folder / name for name in names if name.startswith(prefix) and _is_table(name) and name[0] != "."]
    parquet = [path for path in paths if path.suffix == ".parquet"]
    return tuple(parquet or paths)


def _is_table(name: str) -> bool:
    return name.lower().endswith((".parquet", ".csv", ".tsv"))


def listings(source: Source, settings: DataSettings) -> Listings:
    """Train, test and the class names of a located source."""
    if source.kind == "parquet":
        from padray.data import parquet  # PyArrow takes its time, and most sources do without it

        return parquet.listings(source, settings)
    if source.kind == "fetched":
        return fetched.listings(source, settings.dataset)
    return folders.listings(source)
