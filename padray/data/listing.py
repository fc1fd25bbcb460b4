"""What every source of data becomes before its samples are read: a `Listing` per split, made of a `Source`'s files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from padray.errors import InputError
from padray.machine.files import is_utf8, quoted, shown

Content = Literal["image", "table", "series"]  # what the samples are; a table's sample is one of its rows
HOLDS: dict[str, str] = {"image": "images", "table": "a table", "series": "series"}  # in sentences
MOST_NAME = 1000  # characters of a class's name

# a coded image, its file, its pixels (H, W[, 3]), nothing (null); of tables and series the numbers (C, H, W)
Encoded = bytes | Path | np.ndarray | None


class Feature(NamedTuple):
    """A column of a table: its name, and the unit of its numbers where that is known."""

    name: str
    unit: str = ""


@dataclass(frozen=True, eq=False)
class Listing:
    """One split before decoding. `samples(rows)` yields those of rising `rows`; `where` names a row in errors."""

    place: str
    labels: np.ndarray  # (N,) int64
    samples: Callable[[np.ndarray], Iterator[Encoded]]
    where: Callable[[int], str]
    content: Content = "image"
    features: tuple[Feature, ...] = ()

    def part(self, rows: np.ndarray, place: str) -> "Listing":
        """Some of its samples, by rising rows, as a split of their own."""
        return Listing(
            place,
            self.labels[rows],
            lambda wanted: self.samples(rows[wanted]),
            lambda row: self.where(int(rows[row])),
            self.content,
            self.features,
        )


Listings = tuple[Listing, Listing, tuple[str, ...]]  # train, test, class names


@dataclass(frozen=True)
class Source:
    """The files of one dataset: `train` and `test` in reading order, `root` the folder that names are relative to.

    Without test files, a part of each class is set aside (sources.py). `classes` are the class folders in the order of
    their numbers, where the layout has such; `tables` the files that say what the others are.
    """

    kind: Literal["parquet", "folder", "fetched"]
    root: Path
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    classes: tuple[str, ...] = ()
    tables: tuple[Path, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether a part of it must be set aside to test on. What torchvision fetches has test samples of its own."""
        return not self.test and self.kind != "fetched"


def of_arrays(
    samples: np.ndarray,
    labels: np.ndarray,
    place: str,
    content: Content = "image",
    features: tuple[Feature, ...] = (),
) -> Listing:
    """A listing of samples that are in memory already."""
    numbers = labels.astype(np.int64)

    def where(row: int) -> str:
        return f"row {row} (from 0) of {place}"

    return Listing(place, numbers, lambda rows: iter(samples[rows]), where, content, features)


def check_names(names: tuple[str, ...], place: str) -> None:
    """Refuse class names that cannot be stored or told apart. Raises InputError, which names the `place`."""
    known = set[str]()
    for name in names:
        fault = _fault(name) or ("is that of another class too; give every class its own" if name in known else None)
        if fault:
            raise InputError(f"the class name {quoted(name)} of {place} {fault}")
        known.add(name)


def _fault(name: str) -> str | None:
    if len(name) > MOST_NAME:
        return f"has more than {MOST_NAME:,} characters; shorten it"
    return None if is_utf8(name) else "is not UTF-8; rename it"


def some(names: Sequence[str]) -> str:
    """The first ten names, for a sentence."""
    return ", ".join(map(shown, names[:10])) + ", …" * (len(names) > 10)
