"""Tables as text: a CSV file is read once and taken for the Parquet file that it might have been.

Commas, semicolons and tabs separate; the first line names the columns. A name that ends in brackets, `alcohol (% vol)`
or `mass [kg]`, gives a unit. Raises InputError in one sentence for everything that is no such table.
"""

import re
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from padray.errors import InputError
from padray.machine.files import open_file, quoted, reason, shown
from padray.machine.memory import check_memory

SUFFIXES = (".csv", ".tsv")
_SEPARATORS = ",;\t"
_COPIES = 8  # of the file's bytes while it is read: text, columns, Parquet
_UNIT = re.compile(r"(.*\S)\s*[\[(]([^\[\]()]+)[\])]")


def is_text(path: Path) -> bool:
    """Whether a file is a table as text, by its name."""
    return path.suffix.lower() in SUFFIXES


def as_parquet(path: Path, name: str) -> pa.Buffer:
    """The bytes of the Parquet file with the same columns. Raises InputError, which calls the file `name`."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{name} cannot be read: {reason(error)}") from None
    check_memory(_COPIES * status.st_size, name, "use a machine with more memory, or write the table as Parquet")
    return _converted(path, name, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)  # its columns are asked for first, then its labels, then its samples
def _converted(path: Path, name: str, changed: int, size: int) -> pa.Buffer:
    try:
        with open_file(path) as stream:
            content = stream.read()
    except OSError as error:
        raise InputError(f"{name} cannot be read: {reason(error)}") from None
    head = content.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
    separator = max(_SEPARATORS, key=lambda one: head.count(one.encode()))
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(content),
            parse_options=pa_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(strings_can_be_null=True),
        )
    except (pa.ArrowException, UnicodeDecodeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(
            f"{name} cannot be read as CSV ({shown(said)}); write one line per sample, the columns' names in the first"
        ) from None
    _check_head(table, name)
    sink = pa.BufferOutputStream()
    pq.write_table(_decoded(table, name), sink)
    return sink.getvalue()


def _check_head(table: pa.Table, name: str) -> None:
    """Raises InputError where the first line is a sample and no line of names."""
    if table.num_columns and all(_is_number(column) for column in table.column_names):
        raise InputError(
            f"the first line of {name} holds numbers ({quoted(table.column_names[0])}, …); put a line with the "
            f"columns' names before it"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _decoded(table: pa.Table, name: str) -> pa.Table:
    """What is no UTF-8, and so was read as bytes, cannot be a label. Raises InputError."""
    for field in table.schema:
        if pa.types.is_binary(field.type):
            raise InputError(f"column {quoted(field.name)} of {name} is not UTF-8 text; write the file as UTF-8")
    return table


def parted(column: str) -> tuple[str, str]:
    """A column's name and its unit, which is empty where the name has none."""
    match = _UNIT.fullmatch(column)
    return (match[1], match[2].strip()) if match else (column, "")
