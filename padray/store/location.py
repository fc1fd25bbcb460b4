"""Where the bytes are: one small interface to whole objects under keys.

A key is a relative path with `/` between its parts. An object is put whole: it is there completely or not at all.
In a folder an object is a regular file; whatever else stands under a key is none, and is never opened.
"""

import errno
import io
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from padray.errors import InfrastructureError, InputError
from padray.machine import files
from padray.store.pieces import Content, pieces_of

_PUT = ".put-"  # how the file of an unfinished put begins
_CHUNK = 64 << 20  # bytes read at a time of what is only looked through
# What fails for the machine's sake; every other error of the system is about what the user named.
_MACHINE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.ESTALE,
        errno.ENODEV,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
    }
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a link to no file"),
)


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


@dataclass(frozen=True)
class Stranger:
    """What stands where an object would, and is none.

    Attributes:
        what: in words, e.g. `a FIFO`.
        removable: whether nobody loses anything by its end: it is no folder that holds something.
    """

    key: str
    what: str
    removable: bool


class MissingError(InputError):
    """There is no such object, or no longer: others may work on the same root."""


class UnreadableError(InfrastructureError):
    """One object cannot be read, though the storage is there: its disk is damaged."""


class Location(Protocol):
    """A storage root."""

    @property
    def uri(self) -> str: ...
    def put(self, key: str, content: Content) -> None: ...
    def get(self, key: str, most: int | None = None) -> bytes: ...
    def get_range(self, key: str, offset: int, length: int) -> bytes | bytearray: ...
    def size(self, key: str) -> int | None: ...
    def keys(self, prefix: str) -> list[str]: ...
    def sizes(self, prefix: str) -> dict[str, int]: ...
    def strangers(self, prefix: str) -> list[Stranger]: ...
    def leads_out(self, prefix: str) -> bool: ...
    def delete(self, key: str) -> None: ...
    def age(self, key: str) -> float: ...
    def leftovers(self) -> list[Leftover]: ...
    def discard(self, leftover: Leftover) -> None: ...


def is_key(key: str) -> bool:
    """Whether a text names an object inside its root, by its one name, in characters that every line can hold."""
    path = PurePosixPath(key)
    one_name = path.parts and path.as_posix() == key  # `a//b` and `a/./b` would be other names of `a/b`
    inside = not path.is_absolute() and ".." not in path.parts and "\\" not in key
    return bool(one_name and inside and key.isprintable())


def check_key(key: str) -> str:
    """The key itself; manifests, which anybody may have written, hold such. Raises InputError if it is none."""
    if not is_key(key):
        raise InputError(f"{files.shown(key)!r} is not a key: it must be a relative path without `..`")
    return key


def chunks(location: Location, key: str, size: int) -> Iterator[memoryview]:
    """An object's first `size` bytes in their order, by reads that memory always holds."""
    for at in range(0, size, _CHUNK):
        yield memoryview(location.get_range(key, at, min(_CHUNK, size - at)))


class LocalLocation:
    """A folder. Objects are written to a temporary file beside their place, synced, then renamed into it."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()

    @property
    def uri(self) -> str:
        return str(self.root)

    @property
    def _shown(self) -> str:
        return files.shown(self.root)

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def put(self, key: str, content: Content) -> None:
        """Write an object whole.

        Raises:
            InputError: the folder cannot be written.
            InfrastructureError: its disk is full, or fails.
        """
        path = self._path(key)
        temporary = path.with_name(f"{_PUT}{secrets.token_hex(8)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.writelines(pieces_of(content))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            raise self._failure(
                f"cannot write to the storage {self._shown}", error, f" ({files.shown(path)})"
            ) from None
        finally:
            with suppress(OSError):
                temporary.unlink()  # only there if something went wrong

    def get(self, key: str, most: int | None = None) -> bytes:
        """Read an object whole, or its first `most` bytes. Raises MissingError if it is not there."""
        with self._opened(key) as file:
            return file.read(-1 if most is None else min(most, os.fstat(file.fileno()).st_size))

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
            with files.open_file(self._path(key)) as file:
                yield file
        except OSError as error:
            raise self._unread(key, error) from None
        except MemoryError:
            raise InfrastructureError(f"{key} in the storage {self._shown} does not fit into memory") from None

    def size(self, key: str) -> int | None:
        """Bytes of an object, None if it is not there."""
        try:
            about = self._path(key).stat()
        except (FileNotFoundError, NotADirectoryError):  # it may go while it is looked at
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
                return None
            raise self._unread(key, error) from None
        return about.st_size if stat.S_ISREG(about.st_mode) else None

    def keys(self, prefix: str) -> list[str]:
        """The keys below a folder, sorted; unfinished puts are not objects, nor is what is no regular file."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """The same with each object's bytes, by one look at the folder."""
        sizes = {}
        for key, entry in self._below(prefix):
            with suppress(OSError):  # it may go while it is looked at, or be a link to nowhere
                about = entry.stat()
                if stat.S_ISREG(about.st_mode):
                    sizes[key] = about.st_size
        return dict(sorted(sizes.items()))

    def strangers(self, prefix: str) -> list[Stranger]:
        """What stands below a folder and is no object, sorted; folders are among it."""
        strangers = []
        for key, entry in self._below(prefix):
            try:
                mode = entry.stat().st_mode
            except OSError:
                mode = stat.S_IFLNK
            if not stat.S_ISREG(mode):
                kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
                linked = entry.is_symlink() and mode != stat.S_IFLNK
                full = stat.S_ISDIR(mode) and not linked and bool(_entries(self._path(key)))
                strangers.append(Stranger(key, f"a link to {kind}" if linked else kind, removable=not full))
        return sorted(strangers, key=lambda stranger: stranger.key)

    def _below(self, prefix: str, unfinished: bool = False) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        """What is below a folder by its key, or the unfinished puts there; links to folders are not followed."""
        waiting = [(self._path(prefix) if prefix else self.root, prefix)]
        while waiting:
            folder, above = waiting.pop()
            for entry in _entries(folder):
                key = f"{above}/{entry.name}" if above else entry.name
                if entry.name.isprintable() and "\\" not in entry.name:  # or it is no key
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((folder / entry.name, key))
                    if entry.name.startswith(_PUT) == unfinished:
                        yield key, entry

    def leads_out(self, prefix: str) -> bool:
        """Whether a folder is kept outside the root, behind a link."""
        with suppress(OSError, RuntimeError):  # a link that leads to itself
            return not self._path(prefix).resolve().is_relative_to(self.root)
        return True

    def age(self, key: str) -> float:
        """Seconds since an object was put. Raises InputError if it is not there."""
        try:
            return time.time() - self._path(key).stat().st_mtime
        except OSError as error:
            raise self._unread(key, error) from None

    def _unread(self, key: str, error: OSError) -> InputError | InfrastructureError:
        doing = f"cannot read {key} in the storage {self._shown}"
        if isinstance(error, FileNotFoundError):
            return MissingError(f"{doing}: {error.strerror}")
        return (
            UnreadableError(f"{doing}: {error.strerror}") if error.errno == errno.EIO else self._failure(doing, error)
        )

    def _failure(self, doing: str, error: OSError, where: str = "") -> InputError | InfrastructureError:
        """What the system says, as a failure of the machine or of what the user named."""
        sentence = f"{doing}: {files.reason(error)}{where}"
        if error.errno not in _MACHINE:
            return InputError(sentence)
        room = "make room there; " if error.errno in _FULL else ""
        return InfrastructureError(f"{sentence}; {room}what is finished is kept, and the same command goes on")

    def leftovers(self) -> list[Leftover]:
        """The puts that are not finished, sorted."""
        leftovers = []
        for key, entry in self._below("", unfinished=True):
            with suppress(FileNotFoundError):  # finished just now
                leftovers.append(Leftover(key, time.time() - entry.stat(follow_symlinks=False).st_mtime))
        return sorted(leftovers, key=lambda leftover: leftover.key)

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
            raise self._failure(f"cannot write to the storage {self._shown}", error, f" ({above})") from None

    def delete(self, key: str) -> None:
        """Remove an object, or what stands in its place; one that is not there is no error."""
        path = self._path(key)
        try:
            if path.is_dir() and not path.is_symlink():
                path.rmdir()  # only an empty one goes
            else:
                path.unlink(missing_ok=True)
        except NotADirectoryError:  # neither is there what would hold it
            return
        except OSError as error:
            raise self._failure(f"cannot delete {key} in the storage {self._shown}", error) from None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing where there is none, or none that may be looked into."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def check_writable(location: Location) -> None:
    """Fail before any work is done if the storage cannot be written. A folder that is not there is not made yet."""
    if isinstance(location, LocalLocation) and not os.path.exists(location.root):
        return location.check_room()
    probe = ".padray-probe"  # always the same one: what a killed command leaves, the next one takes away
    location.put(probe, b"padray")
    return location.delete(probe)
