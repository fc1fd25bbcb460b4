"""Where the bytes are: one small interface to whole objects under keys.

A key is a relative path with `/` between its parts. An object is put whole: it is there completely or not at all.
"""

import errno
import io
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from padray.errors import InfrastructureError, InputError

# What a disk or the way to it does; everything else (no right, no folder, a wrong name) is for the user to put right.
_OF_MACHINES = {
    errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN, errno.ETIMEDOUT,
    errno.EHOSTDOWN, errno.EMFILE, errno.ENFILE, errno.ENOMEM,
}  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT}
_GOES_ON = "what is finished is kept, and the same command goes on"


@dataclass(frozen=True)
class Leftover:
    """A put that was begun and is not finished, or never will be.

    Attributes:
        key: the object that it is to become, or the file that holds it until then.
        age: seconds since it was begun.
        upload: the store's name for an upload in parts.
    """

    key: str
    age: float
    upload: str = ""


class MissingError(InputError):
    """There is no such object, or no longer: others may work on the same root."""


class Location(Protocol):
    """A storage root."""

    @property
    def uri(self) -> str: ...
    def put(self, key: str, content: bytes) -> None: ...
    def get(self, key: str) -> bytes: ...
    def get_range(self, key: str, offset: int, length: int) -> bytes | bytearray: ...
    def size(self, key: str) -> int | None: ...
    def keys(self, prefix: str) -> list[str]: ...
    def delete(self, key: str) -> None: ...
    def age(self, key: str) -> float: ...
    def leftovers(self) -> list[Leftover]: ...
    def discard(self, leftover: Leftover) -> None: ...


def check_key(key: str) -> str:
    """The key itself, if it stays inside its root; keys also come from manifests, which anybody may have written."""
    path = PurePosixPath(key)
    one_name = path.parts and path.as_posix() == key  # `a//b` and `a/./b` would be other names of `a/b`
    if not one_name or path.is_absolute() or ".." in path.parts or "\\" in key or "\0" in key:
        raise InputError(f"{key!r} is not a key: it must be a relative path without `..`")
    return key


class LocalLocation:
    """A folder. Objects are written to a temporary file beside their place, synced, then renamed into it."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()

    @property
    def uri(self) -> str:
        return str(self.root)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def put(self, key: str, content: bytes) -> None:
        """Write an object whole.

        Raises:
            InputError: the folder cannot be written.
            InfrastructureError: its disk is full, or fails.
        """
        path = self._path(key)
        temporary = path.with_name(f".put-{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise self._failed("write to", error, f" ({path})") from None
        finally:
            with suppress(OSError):
                temporary.unlink()  # only there if something went wrong

    def get(self, key: str) -> bytes:
        """Read an object whole. Raises MissingError if it is not there."""
        with self._opened(key) as file:
            return file.read()

    def get_range(self, key: str, offset: int, length: int) -> bytearray:
        """Read `length` bytes from `offset` on (fewer at the end of the object; -1: all), for the caller to keep."""
        with self._opened(key) as file:
            left = max(0, os.fstat(file.fileno()).st_size - offset)  # a hostile manifest may ask for more than there is
            content = bytearray(left if length < 0 else min(length, left))
            file.seek(offset if content else 0)
            del content[file.readinto(content) :]
            return content

    @contextmanager
    def _opened(self, key: str) -> Iterator[io.BufferedReader]:
        try:
            with self._path(key).open("rb") as file:
                yield file
        except OSError as error:
            raise self._unread(key, error) from None

    def size(self, key: str) -> int | None:
        """Bytes of an object, None if it is not there."""
        path = self._path(key)
        with suppress(FileNotFoundError):  # it may go while it is looked at
            return path.stat().st_size if path.is_file() else None
        return None

    def keys(self, prefix: str) -> list[str]:
        """The keys below a folder, sorted; unfinished puts are not objects."""
        folder = self._path(prefix) if prefix else self.root
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".put-"))
        return sorted(path.relative_to(self.root).as_posix() for path in files)

    def age(self, key: str) -> float:
        """Seconds since an object was put. Raises InputError if it is not there."""
        try:
            return time.time() - self._path(key).stat().st_mtime
        except OSError as error:
            raise self._unread(key, error) from None

    def _unread(self, key: str, error: OSError) -> InputError | InfrastructureError:
        if isinstance(error, FileNotFoundError):
            return MissingError(f"cannot read {key} in the storage {self.root}: {error.strerror}")
        return self._failed(f"read {key} in", error)

    def _failed(self, doing: str, error: OSError, where: str = "") -> InputError | InfrastructureError:
        """What is said of a folder that fails, told apart by who can put it right."""
        sentence = f"cannot {doing} the storage {self.root}: {error.strerror}{where}"
        if error.errno not in _OF_MACHINES:
            return InputError(sentence)
        room = "make room there; " if error.errno in _FULL else ""
        return InfrastructureError(f"{sentence}; {room}{_GOES_ON}")

    def leftovers(self) -> list[Leftover]:
        """The puts that are not finished, sorted."""
        found = []
        for path in sorted(self.root.rglob(".put-*")):
            with suppress(FileNotFoundError):  # finished just now
                found.append(Leftover(path.relative_to(self.root).as_posix(), time.time() - path.stat().st_mtime))
        return found

    def discard(self, leftover: Leftover) -> None:
        """Remove what an unfinished put holds."""
        self.delete(leftover.key)

    def check_room(self) -> None:
        """Raises as `put` does where the root could not be made: by a file without a name in what is above it."""
        above = next(folder for folder in self.root.parents if os.path.exists(folder))
        try:
            with tempfile.TemporaryFile(dir=above) as file:
                file.write(b"padray")
        except OSError as error:
            raise self._failed("write to", error, f" ({above})") from None

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(f"delete {key} in", error) from None


def open_location(uri: str) -> Location:
    """The storage root that a URI names.

    Raises:
        InputError: a scheme that this version cannot serve, or the home of nobody.
    """
    if not uri:
        raise InputError("--storage is empty; name a folder or s3://bucket/prefix, or leave it out")
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "s3":
        from padray.store.s3 import S3Location  # boto3 takes its time, and most runs do without it

        return S3Location(uri)
    if separator and scheme != "file":
        raise InputError(f"the storage {uri} cannot be used: there are local folders and s3://bucket/prefix")
    try:
        return LocalLocation(rest if separator else uri)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the storage {uri!r} cannot be used: {error}") from None


def check_writable(location: Location) -> None:
    """Fail before any work is done if the storage cannot be written. A folder that is not there is not made yet."""
    if isinstance(location, LocalLocation) and not os.path.exists(location.root):
        return location.check_room()
    probe = ".padray-probe"  # always the same one: what a killed command leaves, the next one takes away
    location.put(probe, b"padray")
    return location.delete(probe)
