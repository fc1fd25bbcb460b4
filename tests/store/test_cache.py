"""The cache of object storage: right bytes or none, never more than its limit, and never a reason to fail."""

import errno
import fcntl
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from padray import fingerprint
from padray.commandline import commands
from padray.commandline.console import Console
from padray.configuration import loading
from padray.data.sources import source_digest
from padray.errors import InputError, WorkError
from padray.stages import pipeline
from padray.store import cache, shards
from padray.store.artifacts import Folder, StoredObject
from padray.store.cache import CachedLocation, Entries, cached, read_checked
from padray.store.location import LocalLocation
from padray.store.opening import open_location
from padray.store.s3 import S3Location

THETA_RP = torch.arange(5 * 30.0).view(5, 30)
PLACE = ("experts/digits-0123456789ab", "f" * 64)


class Counting(LocalLocation):
    """A storage that notes what it is asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[tuple[str, int, int]] = []

    def get(self, key: str, most: int | None = None) -> bytes:
        self.asked.append((key, 0, -1))
        return super().get(key, most)

    def get_range(self, key: str, offset: int, length: int) -> bytearray:
        self.asked.append((key, offset, length))
        return super().get_range(key, offset, length)


@pytest.fixture
def storage(tmp_path) -> Counting:
    return Counting(tmp_path / "root")


@pytest.fixture
def folder(storage, tmp_path) -> Folder:
    """An artefact's folder, seen through a cache that is still empty."""
    return Folder(CachedLocation(storage, tmp_path / "cache", 1 << 20), *PLACE)


@pytest.fixture
def shard(storage) -> StoredObject:
    content, rows = shards.encode(THETA_RP, {})
    return Folder(storage, *PLACE).put("expert-0000", "safetensors", content, {"rows": rows})


def name(number: int) -> str:
    """An entry's."""
    return f"{number:064x}"


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*") if len(path.name) == 64)


def fill(made: Entries, numbers: range, size: int = 100) -> None:
    """Entries, each used a second after the one before it, all of them long ago."""
    for number in numbers:
        made.keep(name(number), bytes([number]) * size)
        os.utime(made.folder / name(number), (1_000_000 + number,) * 2)


def kept(made: Entries) -> list[int]:
    return [int(path.name, 16) for path in entries(made.folder)]


def run(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process; `script` finds its arguments in `sys.argv`."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# -- what is kept


def test_what_was_read_once_asks_the_storage_nothing(folder, shard, storage):
    content = storage.get(shard.key)
    storage.asked.clear()
    for _ in range(3):
        assert shards.read_row(folder, shard, 3).equal(THETA_RP[3])
        assert shards.read_row(folder, shard, -1).equal(THETA_RP[4])
        assert folder.get(shard) == content
    assert len(storage.asked) == len(set(storage.asked)) == 3


def test_only_what_was_checked_is_kept(folder, storage, tmp_path):
    """Manifests are replaced, and what is to be stored is compared with what is stored, not with a copy of it."""
    item = folder.put("note", "json", b"[1]")
    location = folder.location
    location.put("a", b"old")
    location.get("a"), location.get_range("a", 0, 2), location.get(item.key), folder.loose()
    location.put("a", b"new")
    assert location.get("a") == b"new" and location.get_range("a", 0, 2) == b"ne"
    assert not (tmp_path / "cache").exists()
    assert folder.get(item) == b"[1]"
    storage.put(item.key, b"[7]")  # rot
    assert folder.put("note", "json", b"[1]") == item and storage.get(item.key) == b"[1]"


def test_damage_in_the_storage_is_told_and_does_not_outlive_its_repair(folder, shard, storage, tmp_path):
    content = storage.get(shard.key)
    row = shards.rows_of(shard).offset + 2 * 4 * 30
    storage.put(shard.key, content[:row] + bytes([content[row] ^ 1]) + content[row + 1 :])
    with pytest.raises(WorkError, match=r"row 2 of experts/.*expert-0000.* is damaged"):
        shards.read_row(folder, shard, 2)
    with pytest.raises(WorkError, match=r"expert-0000.* is damaged"):
        folder.get(shard)
    assert entries(tmp_path / "cache") == []
    assert shards.read_row(folder, shard, 1).equal(THETA_RP[1])
    storage.put(shard.key, content)
    assert shards.read_row(folder, shard, 2).equal(THETA_RP[2]) and folder.get(shard) == content


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"", lambda b: bytes([b[0] ^ 4]) + b[1:], lambda b: b * 2]
)
def test_a_damaged_entry_is_read_again(folder, shard, storage, tmp_path, damage):
    shards.read_row(folder, shard, 2)
    (entry,) = entries(tmp_path / "cache")
    whole = entry.read_bytes()
    entry.write_bytes(damage(whole))
    storage.asked.clear()
    assert shards.read_row(folder, shard, 2).equal(THETA_RP[2])
    assert len(storage.asked) == 1 and entry.read_bytes() == whole


def test_storages_that_share_a_cache_are_not_mixed(tmp_path):
    locations = []
    for number in range(2):
        locations.append(CachedLocation(Counting(tmp_path / f"root{number}"), tmp_path / "cache", 1 << 20))
        locations[-1].put("same/key", bytes([number]) * 9)
    for _ in range(2):
        for number, location in enumerate(locations):
            right = bytes([number]) * 4
            assert read_checked(location, "same/key", 2, 4, lambda part, right=right: part == right) == right
    assert [location.inner.asked for location in locations] == [[("same/key", 2, 4)]] * 2


# -- how much is kept


def test_the_least_recently_used_make_room(tmp_path):
    made = Entries(tmp_path, 1000)
    fill(made, range(10))
    assert kept(made) == list(range(10)), "the limit may be reached"
    assert made.find(name(0)) == bytes(100)
    made.keep(name(10), b"x" * 100)
    assert kept(made) == [0, *range(4, 11)], "an eighth is made free at once, and 0 was used last"
    made.keep(name(11), b"x" * 900)
    assert kept(made) == [11]
    made.keep(name(12), b"x" * 1001)
    assert kept(made) == [11], "what cannot fit takes nobody's room"


def test_an_entry_in_the_place_of_another_is_counted_once_the_folder_is_listed(tmp_path):
    made = Entries(tmp_path, 1000)
    for _ in range(30):
        made.keep(name(1), b"x" * 90)
    fill(made, range(2, 8), 90)
    assert kept(made) == list(range(1, 8))


def test_a_lower_limit_holds_from_the_next_process_on(tmp_path):
    fill(Entries(tmp_path, 1000), range(10))
    made = Entries(tmp_path, 500)
    made.keep(name(10), b"x" * 100)
    assert kept(made) == [7, 8, 9, 10]


def test_files_of_others_are_neither_counted_nor_removed(tmp_path):
    for other in ("notes.txt", "a" * 63, ".part-mine"):
        (tmp_path / other).write_bytes(b"x" * 5000)
    (tmp_path / "below").mkdir()
    fill(Entries(tmp_path, 300), range(9))
    assert kept(Entries(tmp_path, 300)) == [6, 7, 8]
    assert {"notes.txt", "a" * 63, ".part-mine", "below"} < {path.name for path in tmp_path.iterdir()}


READING = """
import random, sys, zlib
from pathlib import Path
from padray.store.cache import CachedLocation
from padray.store.location import LocalLocation
root, folder, seed = sys.argv[1:]
location, draws = CachedLocation(LocalLocation(root), Path(folder), 30_000), random.Random(seed)
contents = {key: location.get(key) for key in location.keys("")}
for _ in range(1500):
    key = draws.choice(list(contents))
    expected = contents[key][100:]
    assert location.read_checked(key, 100, -1, lambda part: zlib.crc32(part) == zlib.crc32(expected)) == expected
"""


@contextmanager
def held_still(folder: Path):
    """While nobody may change which entries there are."""
    with (folder / ".bytes").open("rb") as tally:
        fcntl.flock(tally, fcntl.LOCK_EX)
        yield


def test_processes_share_a_small_cache_and_its_limit(storage, tmp_path):
    for number in range(40):
        storage.put(f"{number}", bytes([number]) * (1000 + 100 * number))
    folder = tmp_path / "cache"
    readers = [run(READING, storage.root, folder, seed) for seed in range(2)]
    sums = []
    while any(reader.poll() is None for reader in readers):
        if (folder / ".bytes").exists():
            with held_still(folder):
                sums.append(sum(path.stat().st_size for path in entries(folder)))
        time.sleep(0.002)
    assert [reader.communicate()[1] for reader in readers] == ["", ""]
    assert sums and max(sums) <= 30_000
    assert sum(path.stat().st_size for path in entries(folder)) > 20_000, "it is used to the full"
    assert not list(folder.glob(".part-*"))


# -- what goes wrong


KEEPING = """
import os, signal, sys
from pathlib import Path
from padray.store.cache import Entries
folder, moment = Path(sys.argv[1]), sys.argv[2]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
def half(path, content):
    with path.open("wb") as file:
        file.write(content[:1000])
    die()
made, first = Entries(folder, 9_000), True
for number in range(10**9):
    if number == 5 and moment != "any":
        if moment == "write": Path.write_bytes = half
        else: setattr(os, moment, die)
    made.keep(f"{number % 20:064x}", bytes([number % 20]) * 2000)
    if number == 3: print("going", flush=True)
"""


@pytest.mark.parametrize("moment", ["write", "pwrite", "replace", "any"])
def test_a_process_that_is_killed_leaves_no_wrong_bytes(tmp_path, moment):
    for turn in range(3 if moment == "any" else 1):
        writer = run(KEEPING, tmp_path, moment)
        assert writer.stdout.readline() == "going\n"
        if moment == "any":
            time.sleep(0.01 + 0.017 * turn)
            writer.kill()
        assert writer.wait(timeout=20) == -signal.SIGKILL
        writer.communicate()
        assert all(path.read_bytes() == bytes([int(path.name, 16)]) * 2000 for path in entries(tmp_path))
        assert 1 <= len(entries(tmp_path)) <= 4
    assert moment == "any" or len(list(tmp_path.glob(".part-*"))) == 1
    made = Entries(tmp_path, 9_000)
    made.keep(name(30), b"x" * 2000)
    unfinished = list(tmp_path.glob(".part-*"))
    assert moment == "any" or unfinished, "another process may still be writing it"
    for path in unfinished:
        os.utime(path, (time.time() - cache.STALE_S - 1,) * 2)
    made = Entries(tmp_path, 9_000)
    made.keep(name(31), b"y" * 2000)
    assert list(tmp_path.glob(".part-*")) == [] and made.find(name(30)) and made.find(name(31))
    assert int((tmp_path / ".bytes").read_bytes()) == sum(path.stat().st_size for path in entries(tmp_path)) <= 9_000


@pytest.mark.parametrize("failing", ["write_bytes", "replace", "flock", "utime", "mkdir"])
def test_a_disk_that_fails_later_is_no_reason_to_fail(folder, shard, monkeypatch, tmp_path, failing):
    def fail(*arguments, **_):
        if failing == "write_bytes":
            arguments[0].touch()  # which needs no room
        raise OSError(errno.ENOSPC, "No space left on device")

    assert shards.read_row(folder, shard, 1).equal(THETA_RP[1])
    monkeypatch.setattr({"replace": os, "utime": os, "flock": fcntl}.get(failing, Path), failing, fail)
    for _ in range(2):
        assert shards.read_row(folder, shard, 1).equal(THETA_RP[1])
        assert shards.read_row(folder, shard, 2).equal(THETA_RP[2])
    assert not list((tmp_path / "cache").glob(".part-*"))


def test_a_folder_that_goes_away_is_no_reason_to_fail(folder, shard, tmp_path):
    place = tmp_path / "cache"
    shards.read_row(folder, shard, 1)
    shutil.rmtree(place)
    assert shards.read_row(folder, shard, 1).equal(THETA_RP[1]) and len(entries(place)) == 1
    shutil.rmtree(place)
    place.write_bytes(b"in the way")
    assert shards.read_row(folder, shard, 1).equal(THETA_RP[1])


@pytest.mark.parametrize("noted", [b"", b"rubbish", b"0" * 20, b"9" * 20])
def test_a_wrong_sum_is_put_right_by_the_next_process(tmp_path, noted):
    fill(Entries(tmp_path, 1000), range(8))
    (tmp_path / ".bytes").write_bytes(noted)
    made = Entries(tmp_path, 1000)
    fill(made, range(8, 10))
    assert kept(made) == list(range(10)) and int((tmp_path / ".bytes").read_bytes()) == 1000


# -- where it is asked for


def test_a_cache_that_cannot_be_is_refused_at_the_start(tmp_path, location, tiny):
    bucket = S3Location("s3://bucket/runs")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"storage\.cache is for object storage; .*root is a folder already"):
        cached(location, str(tmp_path / "cache"), 1.0)
    for wrong in ("", "s3://bucket/cache", "a\0b", "~nobody-of-that-name/x"):
        with pytest.raises(InputError, match=r"storage\.cache .* cannot be used"):
            cached(bucket, wrong, 1.0)
    for wrong in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(InputError, match=r"storage\.cache cannot be used: .*file.*name a folder"):
            cached(bucket, str(wrong), 1.0)
    for computing in (str(tiny), "digits-ipc1"):
        with pytest.raises(InputError, match="is for object storage"):
            commands.context(computing, commands.Request(("storage.cache=x",), str(tmp_path / "runs"), "inline"))
    made = cached(bucket, str(tmp_path / "a/b"), 0.5)
    assert made.uri == bucket.uri and made.entries.limit == 500_000_000 and list((tmp_path / "a/b").iterdir()) == []


def test_a_cache_travels_to_other_processes_by_its_place(folder, shard, tmp_path, monkeypatch):
    shards.read_row(folder, shard, 1)
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(cached(S3Location("s3://bucket/runs"), "cache", 2.0))
    monkeypatch.chdir("/")
    arrived = pickle.loads(sent)
    assert (arrived.uri, arrived.entries.folder) == ("s3://bucket/runs", tmp_path / "cache")
    assert arrived.entries.limit == 2_000_000_000
    again = Folder(
        pickle.loads(pickle.dumps(CachedLocation(LocalLocation(tmp_path / "root"), tmp_path / "cache", 9**6))), *PLACE
    )
    monkeypatch.setattr(LocalLocation, "get_range", None)
    assert shards.read_row(again, shard, 1).equal(THETA_RP[1])


def test_a_cache_is_no_part_of_what_a_result_means(tiny, tmp_path):
    configs = [loading.load(str(tiny), overrides).config for overrides in ((), (f"storage.cache={tmp_path}",))]
    plain, with_cache = (fingerprint.chain(config, source_digest(config.data)) for config in configs)
    assert plain == with_cache and configs[0] != configs[1]


@pytest.mark.s3
def test_a_chain_in_a_bucket_reads_again_from_the_cache_and_makes_the_same_bytes(s3, tiny, tmp_path, monkeypatch):
    folder, root, asked = tmp_path / "cache", s3.root(), list[tuple[str, int, int]]()
    read = S3Location.get_range
    monkeypatch.setattr(S3Location, "get_range", lambda self, *a: asked.append(a) or read(self, *a))

    def distill(where: str, *overrides: str, fresh: bool = False) -> tuple[str, list[tuple[str, int]]]:
        """The set's digest, and the rows that the storage was asked for."""
        asked.clear()
        request = commands.Request((*overrides, "experts.count=2", "distill.iterations=6"), where, "inline", fresh)
        outcome = pipeline.run(commands.context(str(tiny), request), "distill")
        return outcome.set_digest, [(key, offset) for key, offset, _ in asked if "/expert-" in key]

    with_cache = f"storage.cache={folder}"
    digest, read_first = distill(root, with_cache)
    assert distill(root, with_cache, fresh=True) == distill(str(tmp_path / "runs")) == (digest, [])
    assert len(set(read_first)) > 2 and len(read_first) < 6 * 2 * 2, "a run reads rows more than once"
    request = commands.Request((with_cache,), str(tmp_path / "runs"), "inline")
    with pytest.raises(InputError, match="is for object storage"):
        commands.evaluate(["distilled/"], request, Console(as_json=True))
    location = open_location(root)
    stored = {key: location.get(key) for key in location.keys("")}
    assert not [key for key, content in stored.items() if str(folder).encode() in content or b"cache_gb" in content]
    assert entries(folder) and not [path for path in folder.iterdir() if s3_secret(s3) in path.read_bytes()]


def s3_secret(s3) -> bytes:
    return s3.environment["AWS_SECRET_ACCESS_KEY"].encode()
