"""Where a dataset's files lie and what they list: labels first, images only when asked for, row by row.

Three layouts besides scikit-learn's digits: Parquet files as Hugging Face writes them, folders of image files
by class, and the folder that torchvision's CIFAR classes fill. Each becomes a `Listing` per split.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from padray.config import DataSettings
from padray.errors import InputError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "labels", "fine_label")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
CIFAR_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}

Encoded = bytes | Path | np.ndarray | None  # a coded image, its file, its pixels (H, W[, 3]), or nothing (null)


@dataclass(frozen=True, eq=False)
class Listing:
    """One split before decoding. `images(rows)` yields the images of rising `rows`; `where` names a row in errors."""

    place: str
    labels: np.ndarray  # (N,) int64
    images: Callable[[np.ndarray], Iterator[Encoded]]
    where: Callable[[int], str]


@dataclass(frozen=True)
class Source:
    """The files of one dataset: `train` and `test` in reading order, `root` the folder that names are relative to."""

    kind: str
    root: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]


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
        test = next((files for n in ("test", "validation", "val") if (files := _image_files(root / n))), ())
        return Source(
            "folder", root, _image_files(root / "train"), _required(test, root, "train/", "test/<class>/ images")
        )
    batches = root / CIFAR_FOLDERS.get(settings.dataset, "")
    if settings.dataset in CIFAR_FOLDERS and batches.is_dir():
        return Source(
            "torchvision", root, tuple(sorted(p for p in batches.iterdir() if p.is_file() and p.name[0] != ".")), ()
        )
    raise InputError(f"data.path {settings.path!r} holds no dataset that padray can read; {_LAYOUTS}")


_LAYOUTS = (
    "it reads train*.parquet with test*.parquet (Hugging Face), train/<class>/ with test/<class>/ (image files), or "
    "what torchvision.datasets.CIFAR10(root, download=True) and CIFAR100 fetch (for the datasets cifar10 and cifar100)"
)


def _required(test: tuple[Path, ...], folder: Path, there: str, missing: str) -> tuple[Path, ...]:
    if not test:
        raise InputError(f"{folder} holds {there} but no {missing} (or validation, val): add the samples to test on")
    return test


def _parquet_files(folder: Path, prefix: str) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob(f"{prefix}*.parquet")))


def _image_files(folder: Path) -> tuple[Path, ...]:
    """All image files below the class folders, hidden ones left out, sorted by their relative names."""
    walk = os.walk(folder, followlinks=True)  # classes are often links to a larger collection
    found = (Path(at, name).relative_to(folder) for at, _, names in walk for name in names)
    images = (p.parts for p in found if p.suffix.lower() in SUFFIXES)
    kept = sorted(n for n in images if len(n) > 1 and not any(part.startswith(".") for part in n))
    return tuple(folder.joinpath(*n) for n in kept)


def listings(source: Source, settings: DataSettings) -> tuple[Listing, Listing, tuple[str, ...]]:
    """Train, test and the class names of a located source."""
    if source.kind == "parquet":
        train, names = _parquet(source.root, source.train, settings)
        test, _ = _parquet(source.root, source.test, settings, names)
        return train, test, names or tuple(str(i) for i in range(int(train.labels.max(initial=-1)) + 1))
    if source.kind == "folder":
        return _folders(source)
    return _torchvision(source, settings.dataset)


# -- Parquet


@dataclass(frozen=True)
class _File:
    path: Path
    name: str  # relative to the dataset's folder
    image: str
    label: str
    rows: int


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{name} cannot be read as Parquet ({reason}); fetch or write the file again") from error


def _parquet(
    root: Path, paths: tuple[Path, ...], settings: DataSettings, names: tuple[str, ...] = ()
) -> tuple[Listing, tuple[str, ...]]:
    """One split over several files, and the class names that they declare, if any; these must equal `names`, if any."""
    files: list[_File] = []
    labels: list[np.ndarray] = []
    for path in paths:
        name = path.relative_to(root).as_posix()
        with _reading(name), pq.ParquetFile(path) as parquet:
            file = _columns(parquet.schema_arrow, path, name, parquet.metadata.num_rows, settings)
            column = parquet.read(columns=[file.label]).column(file.label)
            declared = _class_names(parquet.schema_arrow, file.label)
        if names and declared and declared != names:
            raise InputError(
                f"{name} declares other class names, or another order, than the training files; "
                f"write them all with the same ClassLabel"
            )
        names = names or declared
        files.append(file)
        labels.append(_whole_numbers(column, file))
    starts = np.cumsum([0, *(f.rows for f in files)])

    def where(row: int) -> str:
        index = int(np.searchsorted(starts, row, side="right")) - 1
        return f"row {row - starts[index]} (from 0) of {files[index].name}"

    def images(rows: np.ndarray) -> Iterator[Encoded]:
        for file, start in zip(files, starts[:-1], strict=True):
            yield from _read_images(file, rows[(rows >= start) & (rows < start + file.rows)] - start)

    return Listing(", ".join(f.name for f in files), np.concatenate(labels), images, where), names


def _columns(schema: pa.Schema, path: Path, name: str, rows: int, settings: DataSettings) -> _File:
    """Find the image and label columns and check their types."""

    def pick(wanted: str | None, usual: tuple[str, ...], what: str) -> str:
        found = next((c for c in ((wanted,) if wanted else usual) if c in schema.names), None)
        if found is None:
            missing = repr(wanted) if wanted else " or ".join(map(repr, usual))
            raise InputError(f"{name} has no column {missing}; set data.{what}_column to one of {schema.names}")
        return found

    image = pick(settings.image_column, IMAGE_COLUMNS, "image")
    label = pick(settings.label_column, LABEL_COLUMNS, "label")
    kind = schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError(f"column {image!r} of {name} is {kind}; images must be binary, or struct<bytes, path>")
    if not pa.types.is_integer(schema.field(label).type):
        raise InputError(f"column {label!r} of {name} is {schema.field(label).type}; labels must be whole numbers")
    return _File(path, name, image, label, rows)


def _whole_numbers(column: pa.ChunkedArray, file: _File) -> np.ndarray:
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise InputError(
            f"row {row} (from 0) of {file.name} has no label in column {file.label!r}; every row needs one"
        )
    labels: np.ndarray = column.to_numpy().astype(np.int64)
    return labels


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The names of the label's ClassLabel feature in the `huggingface` metadata; empty where there are none."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):  # not declared: numbered classes
        return ()


def _read_images(file: _File, rows: np.ndarray) -> Iterator[bytes | None]:
    """The coded images of rising `rows`, one row group in memory at a time; groups without a row are skipped."""
    if not len(rows):
        return
    with _reading(file.name), pq.ParquetFile(file.path) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            last = first + parquet.metadata.row_group(group).num_rows
            local = rows[(rows >= first) & (rows < last)] - first
            if len(local):
                column = parquet.read_row_group(group, columns=[file.image]).column(file.image).take(pa.array(local))
                is_struct = pa.types.is_struct(column.type)
                yield from (pc.struct_field(column, "bytes") if is_struct else column).to_pylist()
            first = last


# -- folders of image files


def _folders(source: Source) -> tuple[Listing, Listing, tuple[str, ...]]:
    names = tuple(sorted(p.name for p in (source.root / "train").iterdir() if p.is_dir() and p.name[0] != "."))
    train = _folder(source.root, source.train, "train", names)
    return train, _folder(source.root, source.test, "test", names), names


def _folder(root: Path, files: tuple[Path, ...], part: str, names: tuple[str, ...]) -> Listing:
    relative = [p.relative_to(root).as_posix() for p in files]
    classes = [name.split("/")[1] for name in relative]
    numbers = {name: i for i, name in enumerate(names)}
    strays = [name for name, label in zip(relative, classes, strict=True) if label not in numbers]
    if strays:
        raise InputError(f"{strays[0]} belongs to no class of train/, which has {', '.join(names) or 'none'}")
    labels = np.array([numbers[c] for c in classes], dtype=np.int64)
    place = relative[0].split("/")[0] if relative else part
    return Listing(f"{place}/", labels, lambda rows: (files[r] for r in rows), lambda row: relative[row])


# -- torchvision


def _torchvision(source: Source, dataset: str) -> tuple[Listing, Listing, tuple[str, ...]]:
    try:
        from torchvision import datasets  # optional: only this layout needs it
    except ImportError as error:
        raise InputError(f"reading {source.root} needs torchvision; pip install torchvision") from error
    factory = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[dataset]
    try:
        parts = [factory(str(source.root), train=train, download=False) for train in (True, False)]
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"{source.root / CIFAR_FOLDERS[dataset]} is not what torchvision fetched (a file is missing or damaged); "
            f"fetch it with torchvision.datasets.{factory.__name__}(root, download=True)"
        ) from error
    train, test = (_arrays(part.data, part.targets, name) for part, name in zip(parts, ("train", "test"), strict=True))
    return train, test, tuple(parts[0].classes)


def _arrays(pixels: np.ndarray, labels: Any, name: str) -> Listing:
    numbers = np.asarray(labels, dtype=np.int64)
    return Listing(name, numbers, lambda rows: iter(pixels[rows]), lambda row: f"row {row} (from 0) of {name}")
