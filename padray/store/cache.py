"""A cache of object storage on this machine's disk: what was read and checked once needs no second request.

Only bytes that pass the check of whoever asks (a manifest's checksum) are kept, and they are checked again whenever
they come out. So a torn or flipped entry is read anew from the storage, and damage in the storage never gets in. Which
entries there are changes no result. Processes share the folder: a file that vanishes is a miss, and a disk that is
full or gone costs time, not the run.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from padray.errors import InputError
from padray.machine.files import open_file
from padray.store.location import Leftover, LocalLocation, Location, Stranger
from padray.store.pieces import Content

Bytes = bytes | bytearray
Check = Callable[[Bytes], bool]

STALE_S = 600.0  # no write takes so long: its process was killed
_SPARED = 0.875  # of the limit; the folder is listed when the limit is reached, and that shall be seldom
_TALLY = ".bytes"  # the entries' sum, and the lock on it
_ENTRY, _UNFINISHED = re.compile(r"[0-9a-f]{64}"), re.compile(r"\.part-[0-9a-f]{16}")  # other files are not ours


class Entries:
    """Files of at most `limit` bytes together, the least recently used of which make room for new ones."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._listed = False

    def check(self) -> None:
        """Raises InputError if the folder cannot be written."""
        try:
            self._write(lambda path: path.write_bytes(b"padray")).unlink()
        except OSError as error:
            raise InputError(
                f"storage.cache cannot be used: {error.strerror} ({self.folder}); name a folder that can be written"
            ) from None

    def use(self, name: str) -> Path | None:
        """An entry's file, which is now the most recently used one; None where there is none."""
        path = self.folder / name
        with suppress(OSError):
            if path.is_file():
                with suppress(OSError):
                    os.utime(path)
                return path
        return None

    def find(self, name: str) -> bytes | None:
        """An entry, which is now the most recently used one; None where there is none."""
        path = self.use(name)
        try:
            if path is None:
                return None
            with open_file(path) as file:
                return file.read()
        except OSError:
            return None

    def keep(self, name: str, content: Bytes) -> None:
        """Add an entry or put it in the place of another, if that can be done."""
        with suppress(OSError):  # whoever reads has the bytes
            self.make(name, len(content), lambda path: path.write_bytes(content))

    def make(self, name: str, size: int, write: Callable[[Path], object]) -> None:
        """Add an entry of `size` bytes, or put it in the place of another. `write` gives the file its content.

        Raises:
            OSError: this cannot be done.
        """
        if size > self.limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(self.folder))
        temporary = self._write(write)
        try:
            self._publish(temporary, name, size)
        finally:
            temporary.unlink(missing_ok=True)

    def _write(self, write: Callable[[Path], object]) -> Path:
        """A file that is no entry yet. Not synced: after a power cut, the check finds what is torn."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.folder / f".part-{secrets.token_hex(8)}"
        try:
            write(path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _publish(self, temporary: Path, name: str, size: int) -> None:
        """Make room and rename, one process at a time. A kill between the two lines counts too much, never too little.

        The first time, the folder is listed: killed processes may have left their files and a sum that is wrong.
        """
        tally = os.open(self.folder / _TALLY, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(tally, fcntl.LOCK_EX)  # ends with the process
            noted = os.pread(tally, 32, 0)
            total = int(noted) if self._listed and noted.isdigit() else self._reduce(self.limit)
            if total + size > self.limit:
                total = self._reduce(max(0, int(_SPARED * self.limit) - size))
            os.pwrite(tally, b"%020d" % (total + size), 0)
            os.replace(temporary, self.folder / name)
        finally:
            os.close(tally)

    def _reduce(self, most: int) -> int:
        """Remove the least recently used entries until `most` bytes are left; how many there are then."""
        entries = sorted(self._list())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= most:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._listed = True
        return total

    def _list(self) -> list[tuple[int, int, Path]]:
        """When each entry was last used, its size and its path. What killed processes left unfinished is removed."""
        entries = []
        for file in self.folder.iterdir():
            with suppress(FileNotFoundError):
                about = file.lstat()
                if _ENTRY.fullmatch(file.name):
                    entries.append((about.st_mtime_ns, about.st_size, file))
                elif _UNFINISHED.fullmatch(file.name) and time.time() - about.st_mtime > STALE_S:
                    file.unlink()
        return entries


class CachedLocation:
    """A location with a folder for what `read_checked` has read; everything else goes straight to the storage.

    Args:
        inner: the storage.
        folder: absolute; made on the machine that reads, so that it may travel to others.
        limit: the most bytes that the folder's entries may have together.
    """

    def __init__(self, inner: Location, folder: Path, limit: int) -> None:
        self.inner, self.entries = inner, Entries(folder, limit)

    def __reduce__(self) -> tuple[type, tuple[Location, Path, int]]:
        return CachedLocation, (self.inner, self.entries.folder, self.entries.limit)

    @property
    def uri(self) -> str:
        return self.inner.uri

    def put(self, key: str, content: Content) -> None:
        self.inner.put(key, content)

    def get(self, key: str, most: int | None = None) -> bytes:
        return self.inner.get(key, most)

    def get_range(self, key: str, offset: int, length: int) -> Bytes:
        return self.inner.get_range(key, offset, length)

    def size(self, key: str) -> int | None:
        return self.inner.size(key)

    def keys(self, prefix: str) -> list[str]:
        return self.inner.keys(prefix)

    def sizes(self, prefix: str) -> dict[str, int]:
        return self.inner.sizes(prefix)

    def strangers(self, prefix: str) -> list[Stranger]:
        return self.inner.strangers(prefix)

    def leads_out(self, prefix: str) -> bool:
        return self.inner.leads_out(prefix)

    def delete(self, key: str) -> None:
        self.inner.delete(key)

    def age(self, key: str) -> float:
        return self.inner.age(key)

    def leftovers(self) -> list[Leftover]:
        return self.inner.leftovers()

    def discard(self, leftover: Leftover) -> None:
        self.inner.discard(leftover)

    def entry(self, key: str, offset: int, length: int) -> str:
        """The name of the entry for what is read of an object."""
        return hashlib.sha256(json.dumps([self.uri, key, offset, length]).encode()).hexdigest()

    def read_checked(self, key: str, offset: int, length: int, is_right: Check) -> Bytes | None:
        """As the function of that name."""
        name = self.entry(key, offset, length)
        content: Bytes | None = self.entries.find(name)
        if content is None or not is_right(content):
            content = _read(self.inner, key, offset, length)
            if not is_right(content):
                return None
            self.entries.keep(name, content)
        return content


def read_checked(location: Location, key: str, offset: int, length: int, is_right: Check) -> Bytes | None:
    """`get_range`, from the location's cache if it has one; None if the bytes in storage do not pass the check."""
    if isinstance(location, CachedLocation):
        return location.read_checked(key, offset, length, is_right)
    content = _read(location, key, offset, length)
    return content if is_right(content) else None


def _read(location: Location, key: str, offset: int, length: int) -> Bytes:
    return location.get_range(key, offset, length) if offset else location.get(key, None if length < 0 else length)


def cached(location: Location, folder: str, gigabytes: float) -> CachedLocation:
    """A storage with a cache on this machine, and on all that the location travels to.

    Raises:
        InputError: the storage is itself a folder, or the cache is none that can be written.
    """
    if isinstance(location, LocalLocation):
        raise InputError(f"storage.cache is for object storage; {location.uri} is a folder already: leave it out")
    if not folder or "://" in folder or "\0" in folder:
        raise InputError(f"storage.cache {folder!r} cannot be used: name a folder on the machines that work")
    try:
        path = Path(folder).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise InputError(f"storage.cache {folder!r} cannot be used: {error}") from None
    location_with_cache = CachedLocation(location, path, int(gigabytes * 1e9))
    location_with_cache.entries.check()
    return location_with_cache
