"""The layouts that a set is exported in, by name. A new one is a function in formats.py and an entry here.

`padray export --help` lists them, so this imports no PyTorch; formats.py is imported when a set is written.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from padray.errors import InputError

if TYPE_CHECKING:
    from padray.exchange.formats import Files, Outgoing

Write = Callable[["Outgoing"], "Files"]


def _of_formats(name: str) -> "Callable[[], Write]":
    def write() -> Write:
        from padray.exchange import formats

        writer: Write = getattr(formats, name)
        return writer

    return write


_NAMES = ("pt", "ddranking", "imagefolder", "hf", "csv", "parquet")
LAYOUTS: dict[str, Callable[[], Write]] = {name: _of_formats(name) for name in _NAMES}


def files_of(out: "Outgoing", layout: str) -> "Files":
    """The files of a set in a layout. Raises InputError for an unknown one, and for pictures of what is no image."""
    if layout not in LAYOUTS:
        raise InputError(f"--to {layout} is not known; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[layout]()(out)
