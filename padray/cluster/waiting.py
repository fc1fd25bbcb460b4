"""A call of Ray's that blocks, waited for so that the driver can look around meanwhile, and be interrupted."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class InThread(Generic[T]):
    """A call in a thread of its own.

    Attributes:
        value: what it gave, once it is over.
        error: what it raised instead.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self.value: T | None = None
        self.error: Exception | None = None
        self._call = call
        # Not the thread's join: interrupted, Python 3.11 takes a live thread for an ended one.
        self._over = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.value = self._call()
        except Exception as error:  # handed to the driver's thread
            self.error = error
        finally:
            self._over.set()

    def wait(self, seconds: float) -> bool:
        """Whether it is over, after so long at the most."""
        return self._over.wait(seconds)
