"""Parquet files: coded images as Hugging Face writes them, tables of numbers, and series as columns of lists.

Legend: N samples, F features, C channels, T steps. A file with an image column holds images, one with a column
`series` series, and one of numbers beside its labels a table, of which every other column is a feature. Labels
are whole numbers from 0, or text; the names of text labels are those of the training files, sorted.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from padray.config import DataSettings
from padray.data.listing import Content, Encoded, Listing, Listings, Source
from padray.errors import InputError

IMAGE_COLUMNS = ("img", "image")
SERIES_COLUMN = "series"
LABEL_COLUMNS = ("label", "labels", "fine_label")


@dataclass(frozen=True, eq=False)
class _File:
    """One file, its labels read. `columns` hold the sample: its image, its series, or a table's features."""

    path: Path
    name: str  # relative to the dataset's folder
    content: Content
    columns: tuple[str, ...]
    label: str
    labels: pa.ChunkedArray  # whole numbers or text, none missing
    class_names: tuple[str, ...]  # as the file declares them; mostly it does not

    @property
    def is_text(self) -> bool:
        return _is_text(self.labels.type)


def listings(source: Source, settings: DataSettings) -> Listings:
    """Train, test and the class names. Raises InputError for columns and labels that do not fit together."""
    first = _open(source.train[0], source, settings)
    train = [first, *(_open(path, source, settings, first) for path in source.train[1:])]
    test = [_open(path, source, settings, first) for path in source.test]
    names = _class_names([*train, *test], train)
    return _listing(train, names), _listing(test, names), names


def _class_names(files: list[_File], train: list[_File]) -> tuple[str, ...]:
    """The declared names, which must be the same everywhere; else those of text labels; else the classes' numbers."""
    declared = next((file for file in files if file.class_names), None)
    for file in files:
        if file.is_text != files[0].is_text:
            raise InputError(
                f"column {file.label!r} of {file.name} is {file.labels.type}, that of {files[0].name} is "
                f"{files[0].labels.type}; write the labels of all files in one way"
            )
        if declared and file.class_names and file.class_names != declared.class_names:
            raise InputError(
                f"{file.name} declares other class names, or another order, than the training files; "
                f"write them all with the same ClassLabel"
            )
    if declared:
        return declared.class_names
    if files[0].is_text:
        return tuple(sorted({name for file in train for name in file.labels.unique().to_pylist()}))
    most = max(pc.max(file.labels).as_py() or 0 for file in train)
    if most >= max(1, sum(len(file.labels) for file in train)):  # that of no samples at all is told elsewhere
        raise InputError(
            f"column {files[0].label!r} of {files[0].name} has the label {most}, more than there are training samples; "
            f"number the classes without gaps from 0"
        )
    return tuple(str(i) for i in range(most + 1))


def _listing(files: list[_File], names: tuple[str, ...]) -> Listing:
    """One split over several files."""
    starts = np.cumsum([0, *(len(file.labels) for file in files)])

    def where(row: int) -> str:
        index = int(np.searchsorted(starts, row, side="right")) - 1
        return f"row {row - starts[index]} (from 0) of {files[index].name}"

    def samples(rows: np.ndarray) -> Iterator[Encoded]:
        for file, start in zip(files, starts[:-1], strict=True):
            yield from _READERS[file.content](file, rows[(rows >= start) & (rows < start + len(file.labels))] - start)

    labels = np.concatenate([_numbers(file, names) for file in files])
    return Listing(", ".join(file.name for file in files), labels, samples, where, files[0].content)


# -- opening a file


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{name} cannot be read as Parquet ({reason}); fetch or write the file again") from error


def _open(path: Path, source: Source, settings: DataSettings, like: _File | None = None) -> _File:
    """Find the columns of a file, which holds what `like` holds, and read its labels."""
    name = path.relative_to(source.root).as_posix()
    with _reading(name), pq.ParquetFile(path) as parquet:
        schema = parquet.schema_arrow
        content = like.content if like else _content(schema, settings)
        columns = _sample_columns(schema, name, content, settings)
        label = _pick(schema, name, settings.label_column, LABEL_COLUMNS, "label")
        if like and content == "table" and set(columns) != set(like.columns):
            raise InputError(
                f"{name} and {like.name} have different columns ({', '.join(sorted({*columns} ^ {*like.columns}))} "
                f"in one of them only); all files of a table need the same"
            )
        kind = schema.field(label).type
        if not (pa.types.is_integer(kind) or _is_text(kind)):
            raise InputError(f"column {label!r} of {name} is {kind}; labels must be whole numbers or text")
        labels = parquet.read(columns=[label]).column(label)
        declared = _declared_names(schema, label)
    if labels.null_count:
        row = pc.index(labels.is_null(), True).as_py()
        raise InputError(f"row {row} (from 0) of {name} has no label in column {label!r}; every row needs one")
    return _File(path, name, content, like.columns if like and content == "table" else columns, label, labels, declared)


def _content(schema: pa.Schema, settings: DataSettings) -> Content:
    if settings.image_column or any(column in schema.names for column in IMAGE_COLUMNS):
        return "image"
    if SERIES_COLUMN in schema.names:
        return "series"
    return "table"


def _sample_columns(schema: pa.Schema, name: str, content: Content, settings: DataSettings) -> tuple[str, ...]:
    """The columns that hold the samples, their types checked."""
    if content == "table":
        return _features(schema, name, _pick(schema, name, settings.label_column, LABEL_COLUMNS, "label"))
    if content == "series":
        column = _pick(schema, name, None, (SERIES_COLUMN,), "image")
        kind = schema.field(column).type
        inner = kind.value_type if _is_list(kind) else None
        if inner is None or not _is_number(inner.value_type if _is_list(inner) else inner):
            raise InputError(f"column {column!r} of {name} is {kind}; series must be lists of numbers, one per channel")
        return (column,)
    column = _pick(schema, name, settings.image_column, IMAGE_COLUMNS, "image")
    kind = schema.field(column).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError(f"column {column!r} of {name} is {kind}; images must be binary, or struct<bytes, path>")
    return (column,)


def _features(schema: pa.Schema, name: str, label: str) -> tuple[str, ...]:
    """All columns but the label: those of a table, in the file's order."""
    columns = tuple(column for column in schema.names if column != label)
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"{name} has two columns {column!r}; name every column differently")
        kind = schema.field(column).type
        if pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            _pick(schema, name, None, IMAGE_COLUMNS, "image")  # images under another name: says which columns there are
        if not _is_number(kind):
            raise InputError(
                f"column {column!r} of {name} is {kind}, and a table's columns must be numbers; write categories as "
                f"numbers, e.g. a column of 0 and 1 for each, and name the label in data.label_column"
            )
    if not columns:
        raise InputError(f"{name} has no column besides {label!r}; add an image, a series, or numbers")
    return columns


def _pick(schema: pa.Schema, name: str, wanted: str | None, usual: tuple[str, ...], what: str) -> str:
    found = next((c for c in ((wanted,) if wanted else usual) if c in schema.names), None)
    if found is None:
        missing = repr(wanted) if wanted else " or ".join(map(repr, usual))
        raise InputError(f"{name} has no column {missing}; set data.{what}_column to one of {schema.names}")
    return found


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):  # how pandas writes categories
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _declared_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The names of the label's ClassLabel feature in the `huggingface` metadata; empty where there are none."""
    try:
        features: Any = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[label]["names"])
    except (KeyError, TypeError, ValueError):  # not declared: numbered classes
        return ()


def _numbers(file: _File, names: tuple[str, ...]) -> np.ndarray:
    """The labels as class numbers (N,) int64."""
    if not file.is_text:
        labels: np.ndarray = file.labels.to_numpy().astype(np.int64)
        return labels
    number, found = {name: i for i, name in enumerate(names)}, file.labels.to_pylist()
    for row, name in enumerate(found):
        if name not in number:
            raise InputError(
                f"label {name!r} in row {row} (from 0) of {file.name} is none of the classes of the training data, "
                f"which are {', '.join(names[:10])}{', …' * (len(names) > 10)}"
            )
    return np.array([number[name] for name in found], dtype=np.int64)


# -- reading samples


def _groups(file: _File, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """Rising `rows` and their columns, one row group in memory at a time; groups without a row are skipped."""
    if not len(rows):
        return
    with _reading(file.name), pq.ParquetFile(file.path) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            last = first + parquet.metadata.row_group(group).num_rows
            chosen = rows[(rows >= first) & (rows < last)]
            if len(chosen):
                table = parquet.read_row_group(group, columns=list(file.columns))
                yield chosen, table.take(pa.array(chosen - first))
            first = last


def _read_images(file: _File, rows: np.ndarray) -> Iterator[Encoded]:
    """Coded images."""
    for _, table in _groups(file, rows):
        column = table.column(file.columns[0])
        is_struct = pa.types.is_struct(column.type)
        yield from (pc.struct_field(column, "bytes") if is_struct else column).to_pylist()


def _read_table(file: _File, rows: np.ndarray) -> Iterator[Encoded]:
    """A table's rows, each (F, 1, 1) float32."""
    for chosen, table in _groups(file, rows):
        columns = [pc.cast(table.column(column), pa.float64(), safe=False).to_numpy() for column in file.columns]
        with np.errstate(over="ignore"):  # what float32 cannot hold is told as infinite
            values_NF = np.stack(columns, axis=1).astype(np.float32)
        if not np.isfinite(values_NF).all():
            row, feature = np.argwhere(~np.isfinite(values_NF))[0]
            raise InputError(
                f"row {chosen[row]} (from 0) of {file.name} has no finite number in column "
                f"{file.columns[feature]!r}; fill it in, or leave the row or the column out"
            )
        yield from values_NF[:, :, None, None]


def _read_series(file: _File, rows: np.ndarray) -> Iterator[Encoded]:
    """Series, each (C, 1, T) float32."""
    for chosen, table in _groups(file, rows):
        for row, values in zip(chosen, table.column(file.columns[0]).to_pylist(), strict=True):
            where = f"row {row} (from 0) of {file.name}"
            try:
                series = np.atleast_2d(np.asarray(values if values else [], dtype=np.float32))
            except (TypeError, ValueError):
                raise InputError(f"{where} has channels of unequal length; give all of them every step") from None
            if not series.size or not np.isfinite(series).all():
                raise InputError(
                    f"{where} has no finite number at some step of column {file.columns[0]!r}; fill it in, or leave "
                    f"the row out"
                )
            yield series[:, None, :]


_READERS = {"image": _read_images, "table": _read_table, "series": _read_series}
