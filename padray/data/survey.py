"""A look at a dataset of one's own: which settings read it, and what it holds.

Of images only the heads are read; tables and series, which are small, are read whole.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from padray.data import columns, fetched, parquet, pictures, sources
from padray.data.columns import IMAGE_COLUMNS, LABEL_COLUMNS, SERIES_COLUMN
from padray.data.layouts import locate
from padray.data.listing import HOLDS, Content, Listing, some
from padray.data.settings import DataSettings
from padray.errors import InputError
from padray.machine.files import expanded, is_utf8, shown
from padray.machine.numerics import within_memory

MOST_PIXELS = 64  # of a side that is left as it is
SIDES = (64, 32, 16, 8)
_LIKELY_LABELS = frozenset({"class", "target", "y", "category", "species", "diagnosis", "outcome"})


@dataclass(frozen=True)
class Survey:
    """What was found. `settings` read it as it is described here.

    Attributes:
        shape: C, H, W of a sample.
        names: the classes.
        counts: the training samples of each class.
        test: how many samples there are to test on, and `test_place` where.
        found_sizes: how many sizes the images had, and the smallest and largest side.
    """

    settings: DataSettings
    content: Content
    shape: tuple[int, int, int]
    names: tuple[str, ...]
    counts: tuple[int, ...]
    test: int
    test_place: str
    found_sizes: tuple[int, int, int] = (1, 0, 0)

    @property
    def smallest(self) -> tuple[str, int]:
        """The class with the fewest training samples, and how many it has."""
        index = int(np.argmin(self.counts))
        return self.names[index], self.counts[index]

    @property
    def largest(self) -> tuple[str, int]:
        """The class with the most training samples, and how many it has."""
        index = int(np.argmax(self.counts))
        return self.names[index], self.counts[index]

    def summary(
        self, samples: str, remarks: Sequence[str], file: str, sized: str, following: Sequence[str]
    ) -> "SurveySummary":
        """What `--json` prints, with what is said of it, the settings' file and time, and the commands from there."""
        names, counts = self.names, self.counts
        return SurveySummary(
            dataset=self.settings.dataset,
            path=self.settings.path,
            holds=HOLDS[self.content],
            train=sum(counts),
            test=self.test,
            test_from=self.test_place,
            shape=self.shape,
            classes=len(names),
            class_names=names,
            train_per_class=counts,
            smallest=self.smallest,
            largest=self.largest,
            samples=samples,
            remarks=remarks,
            file=file,
            sized=sized,
            next=following,
        )


@dataclass(frozen=True)
class SurveySummary:
    """A survey in words and numbers: what the data hold, how many samples, of what shape (C, H, W) and classes.

    Attributes:
        test_from: where the test samples come from.
        smallest, largest: the classes with the fewest and most training samples, and how many.
        samples: what they are, in words.
        remarks: what was taken for what, and what is left out, in words.
        file: where the settings are.
        sized: for which time they are, and what it goes to.
        next: what to type next.
    """

    dataset: str
    path: str | None
    holds: str
    train: int
    test: int
    test_from: str
    shape: tuple[int, int, int]
    classes: int
    class_names: Sequence[str]
    train_per_class: Sequence[int]
    smallest: tuple[str, int]
    largest: tuple[str, int]
    samples: str
    remarks: Sequence[str]
    file: str
    sized: str
    next: Sequence[str]


def look(path: str, known: DataSettings) -> Survey:
    """Find out what lies at `path`.

    Args:
        known: what the user knows of it; the rest is found out.

    Raises:
        InputError: nothing that padray reads, or not told apart from something else; one class; damaged samples.
        InfrastructureError: more than this machine's memory holds.
    """
    with within_memory(f"the dataset {shown(path)}", sources.REMEDY):
        return _look(path, known)


def _look(path: str, known: DataSettings) -> Survey:
    root = Path(os.path.abspath(expanded(path, "PATH")))  # links are kept: they are names that the user chose
    if not is_utf8(str(root)):
        raise InputError(f"PATH {shown(root)} is not UTF-8, as settings are; rename it, or link to it")
    settings = known.model_copy(update={"path": str(root)})
    if "dataset" not in known.model_fields_set:
        settings = settings.model_copy(update={"dataset": _dataset(root, settings)})
    settings = _with_columns(settings)
    train, test, names = sources.listed(settings)
    counts = tuple(int(count) for count in np.bincount(train.labels, minlength=len(names)))
    if train.content == "image":
        shapes = Counter(_shapes(train)) + Counter(_shapes(test))
        settings, shape, sizes = _sized(settings, shapes)
        return Survey(settings, "image", shape, names, counts, len(test.labels), test.place, sizes)
    channels, height, width = sources.read(settings).train.images.shape[1:]
    return Survey(settings, train.content, (channels, height, width), names, counts, len(test.labels), test.place)


def _dataset(root: Path, settings: DataSettings) -> str:
    """A name made of the folder's, or that of the torchvision dataset which lies there."""
    name = root.stem if os.path.isfile(root) else root.name  # pathlib raises for too long a name
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "mine"
    try:
        locate(settings.model_copy(update={"dataset": slug}))
    except InputError:
        names = [name for name in fetched.FOLDERS if fetched.find(root, name)]
        if len(names) > 1:
            raise InputError(
                f"{shown(root)} holds {' and '.join(names)}; say which one is meant: --set data.dataset={names[0]}"
            ) from None
        if not names:
            raise
        return names[0]
    return slug


# -- columns


def _with_columns(settings: DataSettings) -> DataSettings:
    """With the columns named that the reader would not find under its usual names. Raises InputError."""
    source = locate(settings)
    if source.kind != "parquet":
        return settings
    name = shown(source.train[0].name)
    schema = parquet.schema_of(source.train[0], name)
    chosen: dict[str, str] = {}
    known = (*IMAGE_COLUMNS, SERIES_COLUMN)
    if settings.image_column is None and not any(column in schema.names for column in known):
        coded = [field.name for field in schema if columns.is_coded(field.type)]
        chosen |= {"image_column": coded[0]} if len(coded) == 1 else {}
    if settings.label_column is None and not any(column in schema.names for column in LABEL_COLUMNS):
        chosen["label_column"] = _label_column(schema, name)
    return settings.model_copy(update=chosen)


def _label_column(schema: pa.Schema, name: str) -> str:
    """The only declared class label, the only text, a likely name, or beside images or series the only integers."""
    text = [field.name for field in schema if columns.is_text(field.type)]
    whole = [field.name for field in schema if pa.types.is_integer(field.type)]
    is_table = not any(columns.is_coded(field.type) or pa.types.is_nested(field.type) for field in schema)
    for chosen in (
        columns.class_labels(schema),
        text,
        [column for column in (*text, *whole) if column.lower() in _LIKELY_LABELS],
        [] if is_table else whole,
    ):
        if len(chosen) == 1:
            return chosen[0]
    known = some([repr(column) for column in schema.names])
    raise InputError(
        f"no column of {name} is plainly the labels; say which one it is, --set data.label_column=NAME, of [{known}]"
    )


# -- sizes


def _shapes(listing: Listing) -> list[tuple[int, int, int]]:
    rows = np.arange(len(listing.labels))
    samples = zip(rows, listing.samples(rows), strict=True)
    return [pictures.image_shape(encoded, listing.where(int(row))) for row, encoded in samples]


def _sized(
    settings: DataSettings, shapes: Counter[tuple[int, int, int]]
) -> tuple[DataSettings, tuple[int, int, int], tuple[int, int, int]]:
    """The settings with a size where the images need one, the shape they will have, and which sizes there were."""
    channels = max(shape[0] for shape in shapes)
    sizes = {shape[1:] for shape in shapes}
    sides = [side for size in sizes for side in size]
    counted = (len(sizes), min(sides), max(sides))
    if settings.size is None and len(sizes) == 1 and max(sides) <= MOST_PIXELS:
        return settings, (channels, *next(iter(sizes))), counted
    shorter = sorted(min(shape[1:]) for shape in shapes.elements())
    usual = shorter[len(shorter) // 2]
    size = settings.size or next((side for side in SIDES if usual >= 0.75 * side), 4)
    return settings.model_copy(update={"size": size}), (channels, size, size), counted
