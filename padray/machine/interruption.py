"""Ctrl-C and SIGTERM: the first one ends the work, which keeps what it has on its way out; the second ends it at once.

Nothing that is stored is ever torn, so the second may come at any moment. Python prints and drops what is raised while
it collects an object, a KeyboardInterrupt too; so loops ask (`check`) whether one came that was never heard.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_heard = False  # whether this process listens just now
_came = False  # whether a signal has come since it began to


@contextmanager
def listening() -> Iterator[None]:
    """In here the first signal raises KeyboardInterrupt in the main thread, and the next one kills the process.

    A signal that whoever started this process has it ignore, stays ignored.
    """
    global _heard, _came
    if threading.current_thread() is not threading.main_thread():  # only that one may choose what signals do
        yield
        return
    before = {each: signal.getsignal(each) for each in SIGNALS}
    _heard, _came = True, False
    renew()
    try:
        yield
    finally:
        _came = False
        if _heard:  # otherwise the process is on its way out, and the next signal kills it
            _heard = False
            for each, handler in before.items():
                signal.signal(each, handler or signal.SIG_DFL)


def renew() -> None:
    """Listen again where a library, such as Ray, has put its own answer in the place of ours."""
    if not _heard or threading.current_thread() is not threading.main_thread():
        return
    for each in SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, _first)


def check() -> None:
    """Raise KeyboardInterrupt in the main thread if a signal came and what it raised was dropped."""
    if _came and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def _first(number: int, frame: FrameType | None) -> None:
    global _heard, _came
    _heard, _came = False, True
    for each in SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    raise KeyboardInterrupt
