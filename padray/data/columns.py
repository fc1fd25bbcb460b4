"""Which columns of a Parquet file hold the samples and the labels, and what its metadata say of them.

A file with an image column holds images, one with a column `series` series, and one of numbers beside its labels a
table, of which every other column is a feature.
"""

import json
from collections import Counter
from typing import Any

import pyarrow as pa

from padray.data.csvfiles import parted
from padray.data.listing import Content, Feature, some
from padray.data.settings import DataSettings
from padray.errors import InputError
from padray.machine.files import quoted, shown

IMAGE_COLUMNS = ("img", "image")
SERIES_COLUMN = "series"
LABEL_COLUMNS = ("label", "labels", "fine_label")


def content_of(schema: pa.Schema, settings: DataSettings) -> Content:
    """What the file's samples are."""
    if settings.image_column or any(column in schema.names for column in IMAGE_COLUMNS):
        return "image"
    return "series" if SERIES_COLUMN in schema.names else "table"


def sample_columns(schema: pa.Schema, name: str, content: Content, settings: DataSettings) -> tuple[str, ...]:
    """The columns that hold the samples: the image, the series, or a table's features.

    Args:
        name: what errors call the file.

    Raises:
        InputError: they are not there, are there twice, or have types that cannot be used.
    """
    if content == "table":
        return _features(schema, name, label_column(schema, name, settings))
    if content == "series":
        column = _pick(schema, name, None, (SERIES_COLUMN,), "image")
        kind = schema.field(column).type
        inner = kind.value_type if _is_list(kind) else None
        if inner is None or not _is_number(inner.value_type if _is_list(inner) else inner):
            raise InputError(
                f"column {column!r} of {name} is {_said(kind)}; series must be lists of numbers, one per channel"
            )
        return (column,)
    column = _pick(schema, name, settings.image_column, IMAGE_COLUMNS, "image")
    kind = schema.field(column).type
    if not _is_binary(kind.field("bytes").type if _is_struct_of_bytes(kind) else kind):
        raise InputError(
            f"column {quoted(column)} of {name} is {_said(kind)}; images must be binary, or struct<bytes, path>"
        )
    return (column,)


def label_column(schema: pa.Schema, name: str, settings: DataSettings) -> str:
    """The column of the labels, whole numbers or text. Raises InputError as `sample_columns` does."""
    label = _pick(schema, name, settings.label_column, LABEL_COLUMNS, "label")
    kind = schema.field(label).type
    if not (pa.types.is_integer(kind) or is_text(kind)):
        raise InputError(f"column {quoted(label)} of {name} is {_said(kind)}; labels must be whole numbers or text")
    return label


def bytes_of(schema: pa.Schema, column: str) -> str:
    """The path of an image column's bytes, which may lie beside a path in a struct."""
    return f"{column}.bytes" if _is_struct_of_bytes(schema.field(column).type) else column


def _features(schema: pa.Schema, name: str, label: str) -> tuple[str, ...]:
    """All columns but the label: those of a table, in the file's order."""
    columns = tuple(column for column in schema.names if column != label)
    for column, kind in ((field.name, field.type) for field in schema if field.name != label):
        if _is_number(kind):
            continue
        if is_coded(kind):
            _pick(schema, name, None, IMAGE_COLUMNS, "image")  # images under another name: says which columns there are
        raise InputError(
            f"column {quoted(column)} of {name} is {_said(kind)}, and a table's columns must be numbers; write "
            f"categories as numbers, e.g. a column of 0 and 1 for each, and name the label in data.label_column"
        )
    if not columns:
        raise InputError(f"{name} has no column besides {quoted(label)}; add an image, a series, or numbers")
    for column, count in Counter(columns).items():
        if count > 1:
            raise _two(name, column)
    return columns


def _pick(schema: pa.Schema, name: str, wanted: str | None, usual: tuple[str, ...], what: str) -> str:
    chosen = next((c for c in ((wanted,) if wanted else usual) if c in schema.names), None)
    if chosen is None:
        missing = repr(shown(wanted)) if wanted else " or ".join(map(repr, usual))
        known = some([repr(column) for column in schema.names])
        raise InputError(f"{name} has no column {missing}; set data.{what}_column to one of [{known}]")
    if schema.names.count(chosen) > 1:
        raise _two(name, chosen)
    return chosen


def _two(name: str, column: str) -> InputError:
    return InputError(f"{name} has two columns {quoted(column)}; name every column differently")


def features(schema: pa.Schema, samples: tuple[str, ...]) -> tuple[Feature, ...]:
    """A table's features with their units: those of the fields' metadata `unit`, or in brackets behind their names."""
    features = []
    for column in samples:
        name, unit = parted(column)
        written = (schema.field(column).metadata or {}).get(b"unit", b"").decode(errors="replace")
        features.append(Feature(column, written) if written else Feature(name, unit))
    return tuple(features)


# -- types


def is_text(kind: pa.DataType) -> bool:
    """Text, or categories of text, which is how pandas writes them."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner))


def is_coded(kind: pa.DataType) -> bool:
    """Bytes, as coded images are."""
    return _is_struct_of_bytes(kind) or _is_binary(kind)


def _is_struct_of_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _said(kind: pa.DataType) -> str:
    return shown(str(kind))


# -- metadata


def declared_names(schema: pa.Schema, label: str) -> tuple[str, ...]:
    """The names of the label's ClassLabel feature in the `huggingface` metadata; empty where there are none."""
    feature = _declared(schema).get(label)
    names = feature.get("names") if isinstance(feature, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str | int) for name in names):
        return ()
    return tuple(str(name) for name in names)


def class_labels(schema: pa.Schema) -> list[str]:
    """The columns that the `huggingface` metadata declare as class labels."""
    features = _declared(schema).items()
    return [name for name, of in features if isinstance(of, dict) and of.get("_type") == "ClassLabel"]


def _declared(schema: pa.Schema) -> dict[str, Any]:
    """The features by their columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):  # not declared, or in no way that anybody reads
        return {}
    return features if isinstance(features, dict) else {}
