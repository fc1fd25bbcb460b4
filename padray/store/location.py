"""Where the bytes are: one small interface to whole objects under keys.

A key is a relative path with `/` between its parts. An object is put whole: it is there completely or not at all.
"""

import os
import secrets
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Protocol

from padray.errors import InputError


class Location(Protocol):
    """A storage root."""

    @property
    def uri(self) -> str: ...
    def put(self, key: str, content: bytes) -> None: ...
    def get(self, key: str) -> bytes: ...
    def get_range(self, key: str, offset: int, length: int) -> bytes: ...
    def size(self, key: str) -> int | None: ...
    def keys(self, prefix: str) -> list[str]: ...
    def delete(self, key: str) -> None: ...
    def age(self, key: str) -> float: ...
    def leftovers(self) -> list[str]: ...


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
        """Write an object whole. Raises InputError if the folder cannot be written."""
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
            raise InputError(f"cannot write to the storage {self.root}: {error.strerror} ({path})") from None
        finally:
            with suppress(OSError):
                temporary.unlink()  # only there if something went wrong

    def get(self, key: str) -> bytes:
        """Read an object whole. Raises InputError if it is not there."""
        return self.get_range(key, 0, -1)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset` on (fewer at the end of the object; -1: all)."""
        try:
            with self._path(key).open("rb") as file:
                there = os.fstat(file.fileno()).st_size  # a hostile manifest may ask for more than fits into memory
                file.seek(min(offset, there))
                return file.read(min(length, there))
        except OSError as error:
            raise InputError(f"cannot read {key} in the storage {self.root}: {error.strerror}") from None

    def size(self, key: str) -> int | None:
        """Bytes of an object, None if it is not there."""
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

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
            raise InputError(f"cannot read {key} in the storage {self.root}: {error.strerror}") from None

    def leftovers(self) -> list[str]:
        """The keys of puts that were never finished, sorted."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob(".put-*") if path.is_file())

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"cannot delete {key} in the storage {self.root}: {error.strerror}") from None


def open_location(uri: str) -> Location:
    """The storage root that a URI names.

    Raises:
        InputError: a scheme that this version cannot serve, or the home of nobody.
    """
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
    """Fail before any work is done if the storage cannot be written."""
    probe = f".padray-probe-{os.getpid()}"
    location.put(probe, b"padray")
    location.delete(probe)
