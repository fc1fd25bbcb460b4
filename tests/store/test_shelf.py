"""Tensors that the processes of a machine share: the same bytes as their own, whatever happens to the files."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from padray.store import cache, shelf
from padray.store.cache import CachedLocation, Entries
from padray.store.location import LocalLocation
from padray.store.shelf import Layout, Shelf, cache_of

ROWS = torch.arange(1300 * 6.0).view(1300, 2, 3)
LAYOUT = Layout((1300, 2, 3), torch.float32)


class Source:
    """What makes the rows; it counts what is asked of it."""

    def __init__(self, do: Callable[[int], object] = lambda first: None) -> None:
        self.prepared, self.parts, self.do = 0, list[tuple[int, int]](), do

    def __call__(self) -> shelf.Make:
        self.prepared += 1
        return self._make

    def _make(self, first: int, last: int) -> torch.Tensor:
        self.parts.append((first, last))
        self.do(first)
        return ROWS[first:last].clone()


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "LEAST", 1)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def take(place: Path | None, source: Source, limit: int = 1 << 20, content: tuple[str, ...] = ("a",)) -> torch.Tensor:
    """As another process would."""
    found = Shelf(Entries(place, limit) if place else None, content).tensor("train", LAYOUT, source)
    assert torch.equal(found, ROWS) and found.dtype == torch.float32
    return found


def files(place: Path, *patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns or ("[0-9a-f]*",) for path in place.glob(pattern))


def is_mapped(rows: torch.Tensor) -> bool:
    """Whether its memory is a file's."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, _, end = line.split()[0].partition("-")
        if int(begin, 16) <= rows.data_ptr() < int(end, 16):
            return line.split()[4] != "0"  # the inode
    return False


# -- made once


def test_one_makes_and_all_others_map(place):
    first, later = Source(), Source()
    rows = take(place, first)
    assert is_mapped(rows) and sorted(first.parts) == [(0, 512), (512, 1024), (1024, 1300)] and first.prepared == 1
    others = [take(place, later) for _ in range(3)]
    assert later.prepared == 0 and all(is_mapped(one) for one in others)
    others[0][0] = 7.0  # stays with whoever wrote it
    assert torch.equal(others[1], ROWS) and torch.equal(take(place, later), ROWS)
    assert len(files(place)) == 1 and not files(place, ".part-*")


def test_a_file_means_what_it_was_made_from(place):
    sources = [Source() for _ in range(2)]
    take(place, sources[0])
    take(place, sources[1], content=("b",))
    assert sources[1].prepared == 1
    doubles = Shelf(Entries(place, 1 << 20), ("a",)).tensor(
        "train", Layout(LAYOUT.shape, torch.float64), lambda: lambda first, last: ROWS[first:last].double()
    )
    assert torch.equal(doubles, ROWS.double()) and len(files(place)) == 3


def test_what_is_small_is_made_without_a_file(place, monkeypatch):
    monkeypatch.setattr(shelf, "LEAST", LAYOUT.size + 1)
    assert not is_mapped(take(place, Source())) and not place.exists()


@pytest.mark.parametrize("threads", [1, 3])
def test_parts_are_made_by_one_thread_each_and_the_process_keeps_its_number(place, threads):
    seen, before = set(), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for where in (place, None):
            take(where, Source(lambda first: seen.add(torch.get_num_threads())))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert seen == {1}


def test_two_at_once_wait_for_one_another(place):
    begun, go = threading.Event(), threading.Event()

    def hold(first: int) -> None:
        begun.set()
        assert go.wait(10)

    slow, other, found = Source(hold), Source(), []
    threads = [threading.Thread(target=lambda s=source: found.append(take(place, s))) for source in (slow, other)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    time.sleep(0.2)
    assert other.prepared == 0 and not files(place)
    go.set()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and slow.prepared == 1 and other.prepared == 0


def test_who_makes_no_headway_is_not_waited_for(place, monkeypatch):
    monkeypatch.setattr(shelf, "_PATIENCE_S", 0.1)
    take(place, Source())
    (lock,), (file,) = files(place, ".lock-*"), files(place)
    file.unlink()
    with FileLock(lock):
        os.utime(lock, (time.time() - 60,) * 2)
        stopped = Source()
        assert not is_mapped(take(place, stopped)) and stopped.prepared == 1 and not files(place)
        os.utime(lock, (time.time() + 60,) * 2)
        halted = list[bool]()
        halt = threading.Timer(0.5, lambda: halted.append(True) or os.utime(lock, (time.time() - 60,) * 2))
        halt.start()
        take(place, Source())
        assert halted, "as long as it goes on, it is"
        halt.join()


# -- what goes wrong


def torn(content: bytes) -> bytes:
    return content[: len(content) // 2] + bytes(len(content) - len(content) // 2)


@pytest.mark.parametrize(
    "damage", [torn, lambda b: b[:-1], lambda b: b"", lambda b: b[:900] + b"\xff" + b[901:], lambda b: b + b"x"]
)
def test_a_torn_or_damaged_file_is_made_again(place, damage):
    take(place, Source())
    (file,) = files(place)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    again = Source()
    assert is_mapped(take(place, again)) and again.prepared == 1 and file.read_bytes() == whole


def test_a_file_may_go_at_any_time(place):
    rows = take(place, Source())
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    assert torch.equal(rows, ROWS), "what is mapped stays"
    assert is_mapped(take(place, Source()))


def test_the_least_recently_used_make_room_and_what_cannot_fit_stays_out(place):
    size = LAYOUT.file_size
    for number in range(5):
        take(place, Source(), limit=3 * size, content=(str(number),))
    assert 1 <= len(files(place)) <= 3
    last = Source()
    take(place, last, limit=3 * size, content=("4",))
    assert last.prepared == 0
    assert not is_mapped(take(place, Source(), limit=size - 1, content=("5",)))


DYING = """
import os, signal, sys
from pathlib import Path
import torch
from padray.store import shelf
from padray.store.cache import Entries
shelf.LEAST = 1
def make(first, last):
    if first: os.kill(os.getpid(), signal.SIGKILL)
    return torch.zeros(last - first, 2, 3)
shelf.Shelf(Entries(Path(sys.argv[1]), 1 << 20), ("a",)).tensor(
    "train", shelf.Layout((1300, 2, 3), torch.float32), lambda: make)
"""


def test_a_kill_in_the_middle_leaves_the_work_to_the_next(place):
    assert subprocess.run([sys.executable, "-c", DYING, str(place)]).returncode == -signal.SIGKILL
    (unfinished,) = files(place, ".part-*")
    assert not files(place)
    assert is_mapped(take(place, Source())) and len(files(place)) == 1
    os.utime(unfinished, (time.time() - cache.STALE_S - 1,) * 2)
    take(place, Source(), content=("b",))
    assert not files(place, ".part-*")


def test_what_stops_the_making_stops_the_process_and_leaves_nothing(place):
    def stop(first: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take(place, Source(stop))
    assert not files(place) and not files(place, ".part-*")
    assert is_mapped(take(place, Source())), "and holds up nobody"


def test_on_a_full_disk_every_process_has_its_own(place):
    """The system itself refuses the bytes, and before any work is done."""
    full, limits = Source(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LAYOUT.size // 2, limits[1]))
    try:
        assert not is_mapped(take(place, full))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.prepared == 1 and not files(place) and not files(place, ".part-*")
    assert is_mapped(take(place, Source()))


@pytest.mark.parametrize("failing", ["posix_fallocate", "pwrite", "replace", "utime", "mkdir", "flock"])
def test_a_disk_that_fails_is_no_reason_to_fail(place, monkeypatch, failing):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    of = {"mkdir": Path, "flock": cache.fcntl}.get(failing, os)
    monkeypatch.setattr(of, failing, fail)
    assert is_mapped(take(place, Source())) == (failing == "utime")
    assert not files(place, ".part-*")


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS])
def test_room_that_cannot_be_reserved_is_taken_as_it_comes(place, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, "not here")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    assert is_mapped(take(place, Source()))


def test_what_is_written_in_pieces_is_whole(place, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, content, at: write(file, content[:1000], at))
    assert is_mapped(take(place, Source()))
    again = Source()
    take(place, again)
    assert again.prepared == 0


def test_a_folder_that_cannot_be_written_serves_what_it_holds(place, monkeypatch):
    take(place, Source())

    def refuse(*_, **__):
        raise PermissionError(errno.EROFS, "Read-only file system")

    for module, name in ((os, "utime"), (os, "replace"), (Path, "mkdir"), (Path, "write_bytes")):
        monkeypatch.setattr(module, name, refuse)
    monkeypatch.setattr(shelf, "FileLock", refuse)
    there, missing = Source(), Source()
    assert is_mapped(take(place, there)) and there.prepared == 0
    assert not is_mapped(take(place, missing, content=("b",))) and missing.prepared == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_the_right_to_write(place):
    place.mkdir(mode=0o500)
    assert not is_mapped(take(place, Source()))


def test_a_file_where_the_folder_should_be(place):
    place.write_bytes(b"in the way")
    assert not is_mapped(take(place, Source())) and not is_mapped(take(place / "below", Source()))


# -- where


def test_it_is_the_storage_s_cache_or_the_user_s(tmp_path, monkeypatch):
    inner = LocalLocation(tmp_path / "root")
    own = CachedLocation(inner, tmp_path / "own", 5)
    assert cache_of(own) is own
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    found = cache_of(inner)
    assert found.entries.folder == tmp_path / "user/padray" and found.entries.limit == 20_000_000_000
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_of(inner).entries.folder == tmp_path / "home/.cache/padray"

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert cache_of(inner) is None and not is_mapped(take(None, Source()))


def test_the_file_holds_the_rows_and_their_checksums(place):
    """So that one who reads it after a change of the code finds it as it was, or not at all."""
    take(place, Source())
    content, raw = files(place)[0].read_bytes(), ROWS.numpy().tobytes()
    row = len(raw) // 1300
    parts = [raw[a * row : b * row] for a, b in ((0, 512), (512, 1024), (1024, 1300))]
    assert content == raw + b"".join(zlib.crc32(part).to_bytes(4, "little") for part in parts)
