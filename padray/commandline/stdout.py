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
    """From here on stdout gets what a `Console` prints there and nothing else.

    What libraries print, and the processes that they start (Ray's, say), goes to stderr. A process's own stdout stays
    like that: at its end Ray's threads may still say which node it has lost, after the result.
    """
    global _result
    before = stdout, _ = sys.stdout, _result
    owned = isinstance(stdout, io.TextIOWrapper) and stdout is sys.__stdout__ and stdout.fileno() == 1
    if owned:
        stdout.flush()
        _result = os.fdopen(os.dup(1), "w", encoding=stdout.encoding, errors="backslashreplace")
        os.dup2(2, 1)
    elif _result is None:
        _result = stdout
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        _result.flush()
        if not owned:  # a test's, or a process's that an earlier command has taken
            sys.stdout, _result = before


def result() -> TextIO | None:
    """Where the result goes; None where that is whatever stdout is."""
    return _result
