"""Shards: any snapshot by one ranged read, and never one that is not what was written."""

import json
from dataclasses import replace

import pytest
import torch

from padray.errors import InputError, WorkError
from padray.store import shards
from padray.store.artifacts import Folder, StoredObject
from padray.store.location import LocalLocation

ROWS, SIZE = 4, 7


def snapshots(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(ROWS, SIZE, dtype=dtype, generator=torch.Generator().manual_seed(0))


def stored(folder: Folder, theta: torch.Tensor) -> StoredObject:
    content, rows = shards.encode(theta, {"unit": "expert-0000", "seed": 3})
    return folder.put("expert-0000", "safetensors", content, {"rows": rows})


@pytest.fixture
def item(folder) -> StoredObject:
    return stored(folder, snapshots())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_are_the_bytes_that_were_written(folder, dtype):
    theta = snapshots(dtype)
    theta[1, 0], theta[1, 1] = -0.0, torch.finfo(dtype).tiny / 8
    item = stored(folder, theta)
    for row in range(-ROWS, ROWS):
        assert shards.read_row(folder, item, row).numpy().tobytes() == theta[row].numpy().tobytes()


def test_a_view_of_a_larger_tensor_is_written_like_its_copy(folder):
    wide = torch.arange(2.0 * ROWS * SIZE).view(ROWS, 2 * SIZE)[:, ::2]
    assert torch.equal(shards.read_row(folder, stored(folder, wide), 2), wide[2])


def test_a_row_reads_its_own_bytes_alone(folder, item, monkeypatch):
    asked = []
    read = folder.location.get_range
    monkeypatch.setattr(folder.location, "get_range", lambda *a: asked.append(a[2]) or read(*a))
    shards.read_row(folder, item, 2)
    assert asked == [4 * SIZE]


class Remote:
    """A storage that is no folder of this machine; it notes how many bytes each request asks for."""

    def __init__(self, inside: LocalLocation) -> None:
        self.inside, self.asked = inside, list[int]()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inside, name)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        self.asked.append(length)
        return self.inside.get_range(key, offset, length)


MB = 1 << 20


@pytest.mark.parametrize(
    "wanted, asked",
    [([0, 2], [3 * MB]), ([-1, 3, 3], [2 * MB]), ([0, 4], [MB, MB]), ([4, 0, 1], [5 * MB]), ([2], [MB]), ([], [])],
)
def test_rows_that_lie_close_in_an_object_store_come_by_one_request(folder, wanted, asked):
    theta_RP = torch.arange(5.0 * MB // 4).view(5, MB // 4)
    remote = Remote(folder.location)
    there = Folder(remote, folder.path, folder.fingerprint)
    found = shards.read_rows(there, stored(folder, theta_RP), wanted)
    assert len(found) == len(wanted) and all(row.equal(theta_RP[k]) for row, k in zip(found, wanted, strict=True))
    assert remote.asked == asked


def test_from_a_folder_nothing_is_read_that_was_not_asked_for(folder, monkeypatch):
    item, asked, read = stored(folder, torch.zeros(4, MB // 4)), [], folder.location.get_range
    monkeypatch.setattr(folder.location, "get_range", lambda *a: asked.append(a[2]) or read(*a))
    shards.read_rows(folder, item, [0, 2])
    assert asked == [MB, MB]


def test_of_rows_that_come_together_the_damaged_one_is_named(folder, item):
    content = bytearray(folder.location.get(item.key))
    content[-1] ^= 1
    folder.location.put(item.key, bytes(content))
    shards.read_rows(folder, item, [0, 2])
    with pytest.raises(WorkError, match=rf"row {ROWS - 1} of .*expert-0000.* is damaged"):
        shards.read_rows(folder, item, [0, -1])


@pytest.mark.parametrize("row", [ROWS, -ROWS - 1, 10**9])
def test_a_row_that_is_not_there_is_refused(folder, item, row):
    with pytest.raises(InputError, match=f"has {ROWS} rows, so no row {row}"):
        shards.read_row(folder, item, row)


@pytest.mark.parametrize("row", range(ROWS))
def test_a_flipped_bit_is_found_in_its_row_alone_and_named(folder, item, row):
    content = bytearray(folder.location.get(item.key))
    content[item.extra["rows"]["offset"] + row * 4 * SIZE + 5] ^= 1
    folder.location.put(item.key, bytes(content))
    for other in set(range(ROWS)) - {row}:
        shards.read_row(folder, item, other)
    with pytest.raises(WorkError, match=f"row {row} of {item.key} is damaged: type `padray verify {folder.path} --rep"):
        shards.read_row(folder, item, row)


def test_a_shard_that_ends_early_is_found_in_its_last_row(folder, item):
    folder.location.put(item.key, folder.location.get(item.key)[:-1])
    assert len(shards.read_row(folder, item, 0)) == SIZE
    with pytest.raises(WorkError, match=f"row {ROWS - 1} of"):
        shards.read_row(folder, item, -1)


def test_a_shard_describes_itself_as_the_manifest_does(folder, item):
    described = shards.describe(folder.get(item))
    assert described == {"rows": item.extra["rows"], "facts": {"unit": "expert-0000", "seed": 3}}


def test_a_row_index_survives_the_manifest(folder, item):
    again = replace(item, extra=json.loads(json.dumps(item.extra)))
    assert torch.equal(shards.read_row(folder, again, 1), snapshots()[1])


@pytest.mark.parametrize("change", [{"dtype": "BF16"}, {"count": 5}, {"checksums": []}, {"checksums": 5}, {"more": 1}])
def test_a_row_index_that_makes_no_sense_is_refused(folder, item, change):
    hostile = replace(item, extra={"rows": {**item.extra["rows"], **change}})
    with pytest.raises(InputError, match="run the experts again"):
        shards.read_row(folder, hostile, 0)
    with pytest.raises(InputError, match="run the experts again"):
        shards.read_row(folder, replace(item, extra={}), 0)


def test_a_header_that_claims_more_than_there_is_is_refused(folder, item):
    content = folder.get(item)
    header = content[8 : item.extra["rows"]["offset"]]
    assert shards.describe(_claiming(len(header), header))["rows"] == item.extra["rows"]
    with pytest.raises(InputError, match="not a shard"):
        shards.describe(_claiming(2**40, header))


def _claiming(length: int, header: bytes = b"{}") -> bytes:
    return length.to_bytes(8, "little") + header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        _claiming(0),
        _claiming(3),
        _claiming(2**63),
        _claiming(2**64 - 1, b"{" * 100),
        _claiming(2),
        _claiming(2, b"[]"),
        _claiming(2, b"\xff\xff"),
        _claiming(16, b'{"theta": [1,2]}'),
        _claiming(31, b'{"__metadata__":{"padray":"5"}}'),
    ],
)
def test_bytes_that_are_no_shard_are_refused(content):
    with pytest.raises(InputError, match="not a shard that padray wrote"):
        shards.describe(content)
