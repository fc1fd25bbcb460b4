"""Shards that keep some epochs, and the buffers of their networks: read by epoch, vouched for, old layouts too."""

import json
from dataclasses import replace

import pytest
import torch

from padray.errors import InputError, WorkError
from padray.store import shards, stream
from padray.store.artifacts import Folder, StoredObject

EPOCHS = (1, 2, 5)
THETA = torch.arange(12.0).view(3, 4)
BUFFERS = {
    "norm.running_var": torch.arange(6.0).view(3, 2) + 0.5,
    "norm.running_mean": -torch.arange(6.0).view(3, 2),
    "norm.num_batches_tracked": torch.tensor([10, 20, 2**40]),
}

# A shard of layout 1 as it was written before there were others: two rows of two parameters, seed 3.
OLD_HEADER = (
    b'{"__metadata__":{"padray":"{\\"row_crc32\\": [775923062, 2456737719], \\"seed\\": 3, \\"unit\\": '
    b'\\"expert-0000\\"}"},"theta":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}      '
)
OLD = b"\xb0" + bytes(7) + OLD_HEADER + bytes.fromhex("0000803f0000004000004040000080c0")
OLD_ROWS = {"offset": 184, "count": 2, "size": 2, "dtype": "F32", "checksums": [775923062, 2456737719]}
OLD_THETA = torch.tensor([[1.0, 2.0], [3.0, -4.0]])


def stored(folder: Folder, theta=THETA, epochs=EPOCHS, buffers=BUFFERS) -> StoredObject:
    content, rows = shards.encode(theta, {"unit": "expert-0000"}, epochs, buffers)
    item = folder.put("expert-0000", "safetensors", content, {"rows": rows})
    return replace(item, extra=json.loads(json.dumps(item.extra)))  # as a manifest gives it back


@pytest.fixture
def item(folder) -> StoredObject:
    return stored(folder)


def test_snapshots_are_found_by_their_epoch(folder, item):
    assert [shards.row_of(item, epoch) for epoch in (*EPOCHS, -1)] == [0, 1, 2, 2]
    found = list(stream.stream(folder, [((item, 2), (item, 5)), ((item, -1),)]))
    assert [[row.tolist() for row in group] for group in found] == [[[4, 5, 6, 7], [8, 9, 10, 11]], [[8, 9, 10, 11]]]


@pytest.mark.parametrize(
    ("epoch", "sentence"),
    [
        (0, "not keep .* epoch 0: .*keep_epochs"),
        (3, "not keep .* epoch 3: .*keep_epochs"),
        (6, "ends with epoch 5, .* epoch 6: raise experts.epochs"),
        (-2, "epoch -2"),
    ],
)
def test_an_epoch_that_was_not_kept_is_refused(folder, item, epoch, sentence):
    for ask in (shards.row_of, lambda item, epoch: shards.read_buffers(folder, item, epoch)):
        with pytest.raises(InputError, match=sentence):
            ask(item, epoch)
    with pytest.raises(InputError, match=sentence):
        list(stream.stream(folder, [((item, epoch),)]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_buffers_come_back_bit_by_bit(folder, dtype):
    buffers = {name: value if value.dtype == torch.int64 else value.to(dtype) for name, value in BUFFERS.items()}
    item = stored(folder, THETA.to(dtype), EPOCHS, buffers)
    for row, epoch in enumerate(EPOCHS):
        found = shards.read_buffers(folder, item, epoch)
        assert found.keys() == BUFFERS.keys()
        for name, value in found.items():
            assert value.dtype == buffers[name].dtype and value.shape == buffers[name][row].shape
            assert torch.equal(value, buffers[name][row])
        assert torch.equal(shards.read_row(folder, item, row), THETA[row].to(dtype))


def test_a_shard_without_buffers_has_none(folder):
    item = stored(folder, buffers={})
    assert shards.read_buffers(folder, item, 5) == {}
    assert shards.row_of(item, 5) == 2


def test_buffers_beside_whole_trajectories_are_found_by_epoch_too(folder):
    item = stored(folder, epochs=(0, 1, 2))
    assert b"kept_epochs" not in folder.get(item)
    assert float(shards.read_buffers(folder, item, 1)["norm.running_var"][0]) == 2.5


def test_a_flipped_bit_in_a_buffer_is_found_in_its_row_alone(folder, item):
    content = bytearray(folder.get(item))
    place = next(buffer for buffer in item.extra["rows"]["buffers"] if buffer["name"] == "norm.running_mean")
    content[place["offset"] + 8] ^= 1  # row 1 begins there
    folder.location.put(item.key, bytes(content))
    shards.read_buffers(folder, item, 1)
    shards.read_row(folder, item, 1)
    with pytest.raises(WorkError, match=r"row 1 of the buffers of .* is damaged"):
        shards.read_buffers(folder, item, 2)


def test_many_small_buffers_are_one_request_and_far_ones_are_not_joined_by_what_lies_between(folder, monkeypatch):
    many = {f"b{k:02d}": torch.full((3, 4), float(k)) for k in range(40)}
    wide = torch.zeros(3, 1 << 18, dtype=torch.float64)  # F64 lies between the counts and the statistics
    small, large = stored(folder, buffers=many), stored(folder, wide, buffers=BUFFERS)
    asked, read = [], folder.location.get_range
    monkeypatch.setattr(folder.location, "get_range", lambda *a: asked.append(a[2]) or read(*a))
    found = shards.read_buffers(folder, small, 2)
    assert [float(found[name][0]) for name in sorted(found)] == list(range(40))
    assert len(asked) == 1
    asked.clear()
    assert int(shards.read_buffers(folder, large, 5)["norm.num_batches_tracked"]) == 2**40
    assert sum(asked) < 1000


def test_a_header_is_read_without_the_rows(folder, monkeypatch):
    item = stored(folder, torch.zeros(3, 100_000))
    asked, read = [], folder.location.get_range
    monkeypatch.setattr(folder.location, "get_range", lambda *a: asked.append(a[2]) or read(*a))
    assert shards.read_header(folder, item) == {"rows": item.extra["rows"], "facts": {"unit": "expert-0000"}}
    assert len(asked) == 2 and 0 < sum(asked) < 2000


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\xff" * 100])
def test_a_header_of_no_shard_is_refused(folder, content):
    with pytest.raises(InputError, match="not a shard"):
        shards.read_header(folder, folder.put("expert-0000", "safetensors", content))


def test_the_old_layout_is_read_and_still_written_where_it_suffices(folder):
    item = folder.put("expert-0000", "safetensors", OLD, {"rows": OLD_ROWS})
    assert shards.describe(OLD) == {"rows": OLD_ROWS, "facts": {"seed": 3, "unit": "expert-0000"}}
    assert [shards.row_of(item, epoch) for epoch in (0, 1, -1)] == [0, 1, 1]
    assert torch.equal(shards.read_row(folder, item, 1), OLD_THETA[1])
    assert shards.read_buffers(folder, item, 1) == {}
    assert shards.encode(OLD_THETA, {"unit": "expert-0000", "seed": 3}, [0, 1], {}) == (OLD, OLD_ROWS)


def test_a_newer_layout_asks_for_an_update(folder, item):
    newer = replace(item, extra={"rows": {**item.extra["rows"], "layout": 3, "compressed": True}})
    with pytest.raises(InputError, match=r"expert-0000-.* has layout 3; this padray reads up to 2: update it"):
        shards.read_row(folder, newer, 0)
    content = folder.get(item).replace(b'\\"layout\\": 2', b'\\"layout\\": 3')
    with pytest.raises(InputError, match="layout 3; this padray reads up to 2: update it"):
        shards.describe(content)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": [1, 2]},
        {"epochs": [2, 1, 5]},
        {"epochs": [1, 1, 5]},
        {"epochs": [-1, 2, 5]},
        {"epochs": ["1", 2, 5]},
        {"epochs": 3},
        {"buffer_checksums": []},
        {"buffer_checksums": [1, 2]},
        {"buffers": [{}]},
        {"buffers": 5},
        {"buffers": [{"name": "x", "offset": 0, "shape": [-1], "dtype": "F32"}]},
        {"buffers": [{"name": "x", "offset": "0", "shape": [1], "dtype": "F32"}]},
        {"buffers": [{"name": "x", "offset": 0, "shape": [1], "dtype": "BF16"}]},
        {"layout": "2"},
    ],
)
def test_an_index_that_makes_no_sense_is_refused(folder, item, change):
    hostile = replace(item, extra={"rows": {**item.extra["rows"], **change}})
    for ask in (shards.row_of, lambda item, epoch: shards.read_buffers(folder, item, epoch)):
        with pytest.raises(InputError, match="run the experts again"):
            ask(hostile, 1)
