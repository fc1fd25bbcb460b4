"""Large tensors as files of this machine: made once, and mapped by all processes that work with them.

Mapped memory is there once, however many processes use it, and goes first when memory runs short. The files are
entries of a cache (cache.py): bounded, deleted at any time without harm, and made again where they are gone or
damaged. Where they cannot be written, every process has the tensors to itself. The bytes are the same either way:
rows are made in parts of a fixed size, each by one thread.
"""

import errno
import hashlib
import json
import math
import os
import platform
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from padray.machine.files import open_file, user_cache
from padray.store.cache import CachedLocation, Entries
from padray.store.location import Location

LEAST = 32 << 20  # bytes of a tensor that is worth a file
_LIMIT = 20_000_000_000  # bytes of the folder that is used where the settings name none
_PART = 512  # rows
_MOST = 16  # parts that are made at once, each some three times in memory meanwhile
_PATIENCE_S = 120.0  # no part takes so long: whoever makes it was stopped
_FORMAT = 1

Make = Callable[[int, int], Tensor]  # the rows from one to before another
Prepare = Callable[[], Make]  # reads what they are made of


@dataclass(frozen=True)
class Layout:
    """The shape of a tensor, rows first, and its type.

    Its file holds the rows and then, as little-endian 32-bit numbers, the CRC-32 of each part.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of the rows."""
        return self.numbers * self.dtype.itemsize

    @property
    def parts(self) -> list[tuple[int, int]]:
        """First rows, and those after the last."""
        rows = self.shape[0]
        return [(first, min(first + _PART, rows)) for first in range(0, rows, _PART)]

    @property
    def file_size(self) -> int:
        return self.size + 4 * len(self.parts)


def cache_of(location: Location) -> CachedLocation | None:
    """A storage with the cache that it has on this machine, or else the user's; None where there is no home."""
    if isinstance(location, CachedLocation):
        return location
    root = user_cache()
    return None if root is None else CachedLocation(location, root, _LIMIT)


class Shelf:
    """The files of tensors that are made from some content.

    Args:
        entries: where they are; None: every process makes its own.
        content: what the tensors are made from, by digests.
    """

    def __init__(self, entries: Entries | None = None, content: Sequence[str] = ()) -> None:
        self.entries, self.content = entries, tuple(content)

    def tensor(self, name: str, layout: Layout, prepare: Prepare) -> Tensor:
        """The tensor of that name: mapped from its file, which is made if it is not there, or made for this process."""
        mapped = None
        if self.entries is not None and layout.size >= LEAST:
            mapped = self._mapped_or_written(self.entries, self._entry(name, layout), layout, prepare)
        return _filled(layout, prepare()) if mapped is None else mapped

    def _entry(self, name: str, layout: Layout) -> str:
        """It also means what the last bit of a product may depend on."""
        kind = (torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability())
        about = [_FORMAT, _PART, self.content, name, layout.shape, str(layout.dtype), kind]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def _mapped_or_written(self, entries: Entries, entry: str, layout: Layout, prepare: Prepare) -> Tensor | None:
        if (mapped := _mapped(entries.use(entry), layout)) is not None:
            return mapped
        with suppress(OSError), _turn(entries.folder / f".lock-{entry}") as going:
            if (mapped := _mapped(entries.use(entry), layout)) is None:  # nobody has made it meanwhile
                entries.make(entry, layout.file_size, lambda path: _write(path, layout, prepare, going))
                mapped = _mapped(entries.use(entry), layout, checked=True)
        return mapped


@contextmanager
def _turn(lock: Path) -> Iterator[Callable[[], None]]:
    """While no other process makes the same; gives what tells that the work is going on. It ends with the process.

    Raises:
        OSError: there is no lock to be had, or whoever has it has not been going on for long.
    """
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    turn = FileLock(lock)
    while not turn.is_locked:
        try:
            turn.acquire(timeout=_PATIENCE_S)
        except Timeout:
            if time.time() - lock.stat().st_mtime > _PATIENCE_S:
                raise

    def going() -> None:
        with suppress(OSError):
            os.utime(lock)

    try:
        going()
        yield going
    finally:
        turn.release()


def _filled(layout: Layout, make: Make) -> Tensor:
    """The tensor in this process's own memory."""
    rows = torch.empty(layout.shape, dtype=layout.dtype)

    def one(part: tuple[int, int]) -> None:
        rows[slice(*part)] = make(*part)

    _each(one, layout.parts, torch.get_num_threads())
    return rows


def _write(path: Path, layout: Layout, prepare: Prepare, going: Callable[[], None]) -> None:
    """Its rows and checksums, by as many threads as there are CPUs: other processes wait for them."""
    sums = dict.fromkeys(layout.parts, 0)
    row = layout.size // layout.shape[0]
    with path.open("wb") as file:
        _reserve(file.fileno(), layout.file_size)
        make = prepare()

        def one(part: tuple[int, int]) -> None:
            content = _bytes(make(*part).contiguous())
            sums[part] = zlib.crc32(content)
            _put(file.fileno(), content, part[0] * row)
            going()

        _each(one, layout.parts, _cpus())
        _put(file.fileno(), memoryview(struct.pack(f"<{len(sums)}I", *sums.values())), layout.size)


def _reserve(file: int, size: int) -> None:
    """Where there is no room, that shows before any work is done. Raises OSError."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # not every file system can tell
            raise


def _put(file: int, content: memoryview, offset: int) -> None:
    """Write all of it, which the system may do in pieces."""
    while len(content):
        count = os.pwrite(file, content, offset)
        content, offset = content[count:], offset + count


def _mapped(path: Path | None, layout: Layout, *, checked: bool = False) -> Tensor | None:
    """The tensor in a file; None if that does not hold it whole. What is written to it stays in this process."""
    if path is None:
        return None
    try:
        with open_file(path) as file:
            if os.fstat(file.fileno()).st_size != layout.file_size:
                return None
            file.seek(layout.size)
            sums = struct.unpack(f"<{len(layout.parts)}I", file.read())
        rows = torch.from_file(str(path), shared=False, size=layout.numbers, dtype=layout.dtype).view(layout.shape)
    except (OSError, RuntimeError):  # it went away just now, or there is no room for it
        return None
    if checked or all(zlib.crc32(_bytes(rows[slice(*p)])) == s for p, s in zip(layout.parts, sums, strict=True)):
        return rows
    return None


def _bytes(rows: Tensor) -> memoryview:
    return rows.numpy().data.cast("B")


def _each(work: Callable[[tuple[int, int]], None], parts: list[tuple[int, int]], threads: int) -> None:
    """Do all parts, each in one thread, so that the number of threads changes no result."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if min(threads, len(parts)) <= 1:
            for part in parts:
                work(part)
        else:
            with ThreadPoolExecutor(min(threads, len(parts))) as pool:
                list(pool.map(work, parts))
    finally:
        torch.set_num_threads(before)


def _cpus() -> int:
    """Those that this process may use, up to a number whose parts fit into memory."""
    return min(_MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
