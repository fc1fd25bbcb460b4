"""Rows ahead of their use: in order, under a budget, and without a thread left behind."""

import itertools
import threading
import time

import pytest
import torch

from padray.store import shards, stream
from padray.store.artifacts import Folder, StoredObject
from padray.store.cache import CachedLocation
from padray.store.s3 import S3Location
from tests.swift import Store, point

ROW_BYTES = 40


def item(number: int) -> StoredObject:
    rows = {"offset": 0, "count": 100, "size": ROW_BYTES // 4, "dtype": "F32", "checksums": [0] * 100}
    return StoredObject(f"expert-{number:04d}", 100 * ROW_BYTES, "", {"rows": rows})


def pairs(count: int):
    return (((item(k), 2 * k % 100), (item(k), (2 * k + 1) % 100)) for k in range(count))


def names(groups) -> list[tuple[str, ...]]:
    return [tuple(group) for group in groups]


@pytest.fixture
def reads(monkeypatch):
    """Replaces the reading of rows by `reads.act(item, row)`; a row is its own name."""

    class Reads:
        started = 0

        @staticmethod
        def act(item, row):
            return f"{item.key}/{row}"

    lock = threading.Lock()

    def read_rows(_, item, rows):
        found = []
        for row in rows:
            with lock:
                Reads.started += 1
            found.append(Reads.act(item, row))
        return found

    monkeypatch.setattr(stream, "read_rows", read_rows)
    return Reads


def no_readers(seconds: float = 5.0) -> bool:
    """Whether all reading threads end in time."""
    until = time.monotonic() + seconds
    while any(t.name.startswith("padray-stream") for t in threading.enumerate()):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="module")
def shards_of_a_bucket(s3_server) -> tuple[str, list[StoredObject], torch.Tensor]:
    """A root on the server, the shards of an artefact there, and their rows."""
    theta_SRP = torch.arange(3 * 6 * 50.0).view(3, 6, 50)
    with pytest.MonkeyPatch.context() as patched:
        point(patched, s3_server.environment())
        location = Store(s3_server).location()
        folder = Folder(location, "experts/digits-0123456789ab", "f" * 64)
        encoded = [shards.encode(theta_RP, {}) for theta_RP in theta_SRP]
        names = (f"expert-{number:04d}" for number in range(len(encoded)))
        items = [
            folder.put(name, "safetensors", content, {"rows": rows})
            for name, (content, rows) in zip(names, encoded, strict=True)
        ]
    return location.uri, items, theta_SRP


@pytest.mark.s3
@pytest.mark.parametrize("readers, budget", [(1, 1), (2, 1), (2, 900), (4, 900), (4, 1 << 20)])
@pytest.mark.parametrize("with_cache", [False, True], ids=["plain", "cached"])
def test_from_a_server_rows_come_in_their_order_however_many_read(
    s3, shards_of_a_bucket, tmp_path, readers, budget, with_cache
):
    uri, items, theta_SRP = shards_of_a_bucket
    location = S3Location(uri)
    folder = Folder(
        CachedLocation(location, tmp_path, 1000) if with_cache else location, "experts/digits-0123456789ab", "f" * 64
    )
    asked = [((k % 3, k % 6), (2 * k % 3, 5 * k % 6)) for k in range(24)]
    requests = (tuple((items[shard], epoch) for shard, epoch in pair) for pair in asked)
    found = [torch.stack(rows) for rows in stream.stream(folder, requests, budget, readers)]
    expected = [torch.stack([theta_SRP[shard, epoch] for shard, epoch in pair]) for pair in asked]
    assert all(map(torch.equal, found, expected)) and len(found) == len(expected)


def test_rows_come_from_their_shards(folder):
    theta = torch.arange(12.0).view(4, 3)
    content, rows = shards.encode(theta, {})
    shard = folder.put("expert-0000", "safetensors", content, {"rows": rows})
    found = list(stream.stream(folder, [((shard, 0), (shard, 2)), ((shard, -1),)]))
    assert [[r.tolist() for r in group] for group in found] == [[[0, 1, 2], [6, 7, 8]], [[9, 10, 11]]]


@pytest.mark.parametrize("budget", [1, 3 * ROW_BYTES, 1 << 20])
@pytest.mark.parametrize("readers", [1, 4])
def test_many_requests_come_in_their_order(reads, budget, readers):
    plain = reads.act

    def late(item, row):
        time.sleep(0.002 * (row % 3))  # later requests overtake earlier ones
        return plain(item, row)

    reads.act = staticmethod(late)
    found = names(stream.stream(None, pairs(60), budget, readers))
    assert found == [tuple(plain(i, r) for i, r in group) for group in pairs(60)]
    assert no_readers()


@pytest.mark.parametrize("groups_that_fit", [1, 2, 4])
def test_rows_read_and_not_yet_handed_over_fit_into_the_budget(reads, groups_that_fit):
    budget = groups_that_fit * 2 * ROW_BYTES + ROW_BYTES  # and a row more, which is not enough for a group
    ahead = []
    for group, _ in enumerate(stream.stream(None, pairs(40), budget)):
        time.sleep(0.002)  # time to read ahead as far as it may
        ahead.append(reads.started - 2 * (group + 1))
    assert max(ahead) <= 2 * (groups_that_fit - 1), "with the group in hand it is the budget"
    assert max(ahead[20:30]) >= 2 or groups_that_fit == 1, "it still reads ahead after many groups"


def test_a_group_larger_than_the_budget_is_still_read(reads):
    assert len(names(stream.stream(None, pairs(3), 1))) == 3


def test_endless_requests_are_taken_only_as_far_as_needed(reads):
    asked = []
    requests = (((item(k), 0),) for k in itertools.count() if not asked.append(k))
    rows = stream.stream(None, requests)
    next(rows)
    rows.close()
    assert len(asked) < 10 and no_readers()


def test_a_read_that_fails_is_told_at_its_place_and_ends_the_readers(reads):
    plain = reads.act

    def fail(item, row):
        if item.key == "expert-0003":
            raise OSError("gone")
        return plain(item, row)

    reads.act = staticmethod(fail)
    rows = stream.stream(None, pairs(20))
    assert [next(rows)[0] for _ in range(3)] == ["expert-0000/0", "expert-0001/2", "expert-0002/4"]
    with pytest.raises(OSError, match="gone"):
        next(rows)
    assert no_readers()


def test_what_comes_next_is_drawn_before_the_readers_are_set_to_work(reads):
    """Drawing takes the interpreter, which readers at work would not give back at once: the trainer would wait."""
    plain, log = reads.act, []

    def act(item, row):
        log.append(item.key)
        return plain(item, row)

    def requests():
        for number, pair in enumerate(pairs(20)):
            log.append(number)
            yield pair

    reads.act = staticmethod(act)
    list(stream.stream(None, requests()))
    assert all(log.index(k + 1) < log.index(f"expert-{k:04d}") for k in range(19))


def test_requests_that_fail_end_the_readers(reads):
    def requests():
        yield ((item(0), 0),)
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(stream.stream(None, requests()))
    assert no_readers()


def test_a_consumer_that_stops_early_leaves_no_thread_and_no_further_reads(reads):
    plain, gate = reads.act, threading.Event()

    def slow(item, row):
        if item.key != "expert-0000":
            gate.wait(10)
        return plain(item, row)

    reads.act = staticmethod(slow)
    rows = stream.stream(None, pairs(50), readers=2)
    next(rows)
    rows.close()  # must not wait for the reads that hang
    gate.set()
    assert no_readers()
    assert reads.started <= 6, "three pairs were begun; the others were cancelled"
