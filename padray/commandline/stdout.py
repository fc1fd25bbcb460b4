"""Standard output for a command's result alone, where it is to be read by a program."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_result: TextIO | None = None  # where the JSON object goes, if stdout is for that alone


@contextmanager
def for_the_result() -> Iterator[None]:
    """In here stdout gets what a `Console` prints there and nothing else.

    What libraries print, and the processes that they start (Ray's, say), goes to stderr.
    """
    global _result
    stdout = sys.stdout
    is_real = isinstance(stdout, io.TextIOWrapper) and stdout is sys.__stdout__ and stdout.fileno() == 1
    if is_real:
        stdout.flush()
        _result = os.fdopen(os.dup(1), "w", encoding=stdout.encoding, errors="backslashreplace")
        os.dup2(2, 1)
    else:
        _result = stdout
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        _result.flush()
        if is_real:
            os.dup2(_result.fileno(), 1)
            _result.close()
        sys.stdout, _result = stdout, None


def result() -> TextIO | None:
    """Where the result goes; None where that is whatever stdout is."""
    return _result
