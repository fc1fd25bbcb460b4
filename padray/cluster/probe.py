"""Whether a node sees the storage that the driver writes to: every worker asks, on the node where it begins.

Nodes come and go while a stage runs, so nothing that is asked once at its beginning would do.
"""

import contextlib
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from padray import __version__
from padray.errors import Failure, InfrastructureError, InputError, WorkError
from padray.store.location import LocalLocation, Location
from padray.store.opening import open_location

PREFIX = ".padray-probe-"


@dataclass(frozen=True)
class Probe:
    """A small object that the driver has stored. It travels to workers.

    Attributes:
        uri: the storage.
        key, text: the object there, and what it holds.
        padray: the driver's version.
    """

    uri: str
    key: str
    text: str
    padray: str = __version__

    def problem(self) -> Failure | None:
        """Why this process cannot work for the driver, or with its storage, if so; the sentence names its node."""
        if __version__ != self.padray:
            has = f"the node {socket.gethostname()} has padray {__version__}, and the driver {self.padray}"
            return InfrastructureError(f"{has}; give all nodes one image")
        try:
            location = open_location(self.uri)
            is_local, content = isinstance(location, LocalLocation), location.get(self.key)
            seen = "" if content == self.text.encode() else "it holds something else"
        except (InputError, WorkError) as error:
            is_local, seen = "://" not in self.uri, str(error)
        if not seen:
            return None
        where = f"the node {socket.gethostname()} does not see the storage {self.uri}"
        if is_local:
            return InputError(f"{where}; use a network folder that all nodes share, or an s3:// URI ({seen})")
        return InfrastructureError(f"{where}; its workers need the same AWS settings as this process ({seen})")


@contextmanager
def probing(location: Location) -> Iterator[Probe]:
    """A probe for as long as work is spread. Raises InputError or InfrastructureError if it cannot be stored."""
    probe = Probe(location.uri, f"{PREFIX}{secrets.token_hex(8)}", secrets.token_hex(16))
    location.put(probe.key, probe.text.encode())
    try:
        yield probe
    finally:
        with contextlib.suppress(InputError, WorkError):  # what is wrong with the storage, the work says itself
            location.delete(probe.key)
