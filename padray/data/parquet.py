"""Parquet files: coded images as Hugging Face writes them, tables of numbers, and series as columns of lists.

CSV files are read as such (csvfiles.py). Legend: N samples, F features, C channels, T steps. Labels are whole numbers
from 0, or text; the names of text labels are those of the training files, sorted. Text and images are read as
dictionaries: a value that many rows share, which a small file can hold, is in memory once.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from padray.data import columns, csvfiles
from padray.data.listing import Content, Encoded, Feature, Listing, Listings, Source, some
from padray.data.settings import DataSettings
from padray.errors import InputError
from padray.machine.files import open_file, quoted, reason, shown
from padray.machine.memory import check_memory

_VALUE_BYTES = 32  # of a label or a number while it is read
_MORE_MEMORY = "use a machine with more memory, or write the file in smaller row groups"


@dataclass(frozen=True, eq=False)
class _File:
    """One file, its labels read. `columns` hold the sample: its image, its series, or a table's features."""

    path: Path
    name: str  # relative to the dataset's folder, as errors show it
    content: Content
    columns: tuple[str, ...]
    coded: tuple[str, ...]  # of an image column that part which holds the bytes
    label: str
    label_kind: str
    labels: np.ndarray  # (N,) int64; places in `texts` where labels are text
    texts: tuple[str, ...] | None
    class_names: tuple[str, ...]  # as the file declares them; mostly it does not
    features: tuple[Feature, ...] = ()


def listings(source: Source, settings: DataSettings) -> Listings:
    """Train, test (empty without files), class names. Raises InputError for columns and labels that do not fit."""
    first = _open(source.train[0], source, settings)
    train = [first, *(_open(path, source, settings, first) for path in source.train[1:])]
    test = [_open(path, source, settings, first) for path in source.test]
    names = _class_names([*train, *test], train)
    whole = _listing(train, names)
    return whole, _listing(test, names) if test else whole.part(np.empty(0, dtype=np.int64), ""), names


def _class_names(files: list[_File], train: list[_File]) -> tuple[str, ...]:
    """The declared names, which must be the same everywhere; else those of text labels; else the classes' numbers."""
    declared = next((file for file in files if file.class_names), None)
    for file in files:
        if (file.texts is None) != (files[0].texts is None):
            raise InputError(
                f"column {quoted(file.label)} of {file.name} is {file.label_kind}, that of {files[0].name} is "
                f"{files[0].label_kind}; write the labels of all files in one way"
            )
        if declared and file.class_names and file.class_names != declared.class_names:
            raise InputError(
                f"{file.name} declares other class names, or another order, than the training files; "
                f"write them all with the same ClassLabel"
            )
    if declared:
        return declared.class_names
    if files[0].texts is not None:
        return tuple(sorted({file.texts[place] for file in train if file.texts for place in np.unique(file.labels)}))
    most = max(int(file.labels.max(initial=0)) for file in train)
    if most >= max(1, sum(len(file.labels) for file in train)):  # that of no samples at all is told elsewhere
        raise InputError(
            f"column {quoted(files[0].label)} of {files[0].name} has the label {most}, more than there are training "
            f"samples; number the classes without gaps from 0"
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
    place, first = some([file.name for file in files]), files[0]
    return Listing(place, labels, samples, where, first.content, first.features)


# -- opening a file


@contextmanager
def _opened(path: Path, name: str, dictionaries: tuple[str, ...] = ()) -> Iterator[pq.ParquetFile]:
    """A file with its footer read; `dictionaries` are columns of text or bytes, read as such.

    What Arrow raises in here becomes an InputError; memory that is not there stays a MemoryError.
    """
    try:
        with _stream(path, name) as stream, pq.ParquetFile(stream, read_dictionary=list(dictionaries)) as parquet:
            yield parquet
    except MemoryError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = reason(error) if isinstance(error, OSError) else str(error)
        why = shown((said.splitlines() or [type(error).__name__])[0].rstrip("."))
        raise InputError(f"{name} cannot be read as Parquet ({why}); fetch or write the file again") from error


def _stream(path: Path, name: str) -> AbstractContextManager[Any]:
    return pa.BufferReader(csvfiles.as_parquet(path, name)) if csvfiles.is_text(path) else open_file(path)


def schema_of(path: Path, name: str) -> pa.Schema:
    """The columns of a file and their types. Raises InputError, which calls it `name`."""
    with _opened(path, name) as parquet:
        schema = parquet.schema_arrow
        for column in schema.names:  # a name that is not UTF-8 raises here
            column.encode()
    return schema


def _open(path: Path, source: Source, settings: DataSettings, like: _File | None = None) -> _File:
    """Find the columns of a file, which holds what `like` holds, and read its labels."""
    name = shown(path.relative_to(source.root).as_posix())
    schema = schema_of(path, name)
    content = like.content if like else columns.content_of(schema, settings)
    samples = columns.sample_columns(schema, name, content, settings)
    label = columns.label_column(schema, name, settings)
    if like and content == "table":
        if set(samples) != set(like.columns):
            raise InputError(
                f"{name} and {like.name} have different columns ({some(sorted({*samples} ^ {*like.columns}))} "
                f"in one of them only); all files of a table need the same"
            )
        samples = like.columns
    labels, texts = _labels(path, name, label, columns.is_text(schema.field(label).type))
    kind, declared = shown(str(schema.field(label).type)), columns.declared_names(schema, label)
    coded = (columns.bytes_of(schema, samples[0]),) if content == "image" else ()
    features = columns.features(schema, samples) if content == "table" else ()
    return _File(path, name, content, samples, coded, label, kind, labels, texts, declared, features)


def _labels(path: Path, name: str, label: str, is_text: bool) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The labels (N,) int64, or where they are text their places in the texts that there are."""
    with _opened(path, name, (label,) if is_text else ()) as parquet:
        rows = parquet.metadata.num_rows
        check_memory(_VALUE_BYTES * rows, f"{name} with its {rows:,} labels", "use a machine with more memory")
        column = parquet.read(columns=[label]).column(label)
        if column.null_count:
            row = pc.index(column.is_null(), True).as_py()
            raise InputError(
                f"row {row} (from 0) of {name} has no label in column {quoted(label)}; every row needs one"
            )
        if not is_text:
            return _whole(column.to_numpy()), None
        whole = column.unify_dictionaries().combine_chunks()
        return whole.indices.to_numpy().astype(np.int64), _texts(whole.dictionary, name, label)


def _whole(labels: np.ndarray) -> np.ndarray:
    """As int64; numbers beyond it stay the largest one, which no class has."""
    if labels.dtype == np.uint64:
        labels = np.minimum(labels, np.uint64(np.iinfo(np.int64).max))
    whole: np.ndarray = labels.astype(np.int64)
    return whole


def _texts(dictionary: pa.Array, name: str, label: str) -> tuple[str, ...]:
    try:
        return tuple(dictionary.to_pylist())
    except UnicodeDecodeError:
        raise InputError(
            f"column {quoted(label)} of {name} has a label that is not UTF-8; write the file again, with its text "
            f"as UTF-8"
        ) from None


def _numbers(file: _File, names: tuple[str, ...]) -> np.ndarray:
    """The labels as class numbers (N,) int64."""
    if file.texts is None:
        return file.labels
    number = {name: i for i, name in enumerate(names)}
    labels: np.ndarray = np.array([number.get(text, -1) for text in file.texts], dtype=np.int64)[file.labels]
    strays = np.flatnonzero(labels < 0)
    if len(strays):
        row = int(strays[0])
        label = shown(file.texts[file.labels[row]])
        raise InputError(
            f"label {label!r} in row {row} (from 0) of {file.name} is none of the classes of the training data, which "
            f"are {some(names)}"
        )
    return labels


# -- reading samples


def _groups(file: _File, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Table]]:
    """Rising `rows` and their columns, one row group in memory at a time; groups without a row are skipped."""
    if not len(rows):
        return
    with _opened(file.path, file.name, file.coded) as parquet:
        first = 0
        for group in range(parquet.num_row_groups):
            metadata = parquet.metadata.row_group(group)
            last = first + metadata.num_rows
            chosen = rows[(rows >= first) & (rows < last)]
            if len(chosen):
                check_memory(_group_bytes(metadata, file), f"row group {group} of {file.name}", _MORE_MEMORY)
                table = parquet.read_row_group(group, columns=list(file.columns))
                yield chosen, table.take(pa.array(chosen - first))
            first = last


def _group_bytes(group: pq.RowGroupMetaData, file: _File) -> int:
    """What the row group's samples take in memory, as the file says."""
    chunks = [group.column(index) for index in range(group.num_columns)]
    own = [chunk for chunk in chunks if any(f"{chunk.path_in_schema}.".startswith(f"{c}.") for c in file.columns)]
    return sum(chunk.total_uncompressed_size + _VALUE_BYTES * chunk.num_values for chunk in own)


def _read_images(file: _File, rows: np.ndarray) -> Iterator[Encoded]:
    """Coded images."""
    for _, table in _groups(file, rows):
        column = table.column(file.columns[0])
        is_struct = pa.types.is_struct(column.type)
        yield from (value.as_py() for value in (pc.struct_field(column, "bytes") if is_struct else column))


def _read_table(file: _File, rows: np.ndarray) -> Iterator[Encoded]:
    """A table's rows, each (F, 1, 1) float32."""
    for chosen, table in _groups(file, rows):
        values_NF = np.stack([_floats(table.column(column)) for column in file.columns], axis=1)
        if not np.isfinite(values_NF).all():
            row, feature = np.argwhere(~np.isfinite(values_NF))[0]
            raise InputError(
                f"row {chosen[row]} (from 0) of {file.name} has no finite number in column "
                f"{quoted(file.columns[feature])}; fill it in, or leave the row or the column out"
            )
        yield from values_NF[:, :, None, None]


def _read_series(file: _File, rows: np.ndarray) -> Iterator[Encoded]:
    """Series, each (C, 1, T) float32."""
    for chosen, table in _groups(file, rows):
        for row, values in zip(chosen, table.column(file.columns[0]), strict=True):
            where = f"row {row} (from 0) of {file.name}"
            series = _series(values.values, where)
            if not series.size or not np.isfinite(series).all():
                raise InputError(
                    f"{where} has no finite number at some step of column {file.columns[0]!r}; fill it in, or leave "
                    f"the row out"
                )
            yield series[:, None, :]


def _series(values: pa.Array | None, where: str) -> np.ndarray:
    """The numbers of a row's list, or of its lists, one per channel: (C, T) float32, NaN where there is none."""
    if values is None:
        return np.empty((1, 0), dtype=np.float32)
    if not pa.types.is_nested(values.type):
        return _floats(values)[None]
    lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)  # of a missing channel NaN
    if len(lengths) and (lengths != lengths[0]).any():
        raise InputError(f"{where} has channels of unequal length; give all of them every step")
    return _floats(values.flatten()).reshape(len(values), -1) if len(values) else np.empty((1, 0), dtype=np.float32)


def _floats(numbers: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """As float32, NaN where there is none; what float32 cannot hold is infinite."""
    doubles = pc.cast(numbers, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        floats: np.ndarray = doubles.astype(np.float32)
    return floats


_READERS: dict[Content, Callable[[_File, np.ndarray], Iterator[Encoded]]] = {
    "image": _read_images,
    "table": _read_table,
    "series": _read_series,
}
