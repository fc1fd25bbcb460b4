"""The audit: whatever happens to an object, a manifest or a shard's rows is named, and nothing else is."""

import json
import os
from dataclasses import replace

import pytest
import torch

from padray.errors import InputError
from padray.store import location as location_module
from padray.store import roots, shards
from padray.store.artifacts import Folder, Manifest, StoredObject
from padray.store.audit import Audit, Judge, audit
from padray.store.location import LocalLocation
from padray.store.roots import check_root, folders, read_manifests

FINGERPRINT = "0123456789ab" + "c" * 52
PATH = f"experts/digits-{FINGERPRINT[:12]}"


@pytest.fixture
def folder(location) -> Folder:
    """Two shards of five rows, listed by a manifest."""
    return filled(location, PATH, FINGERPRINT)


def filled(location: LocalLocation, path: str, fingerprint: str) -> Folder:
    folder = Folder(location, path, fingerprint)
    items = [shard(folder, number) for number in range(2)]
    folder.commit(Manifest(fingerprint, "experts", {"name": "x"}, {}, {}, tuple(items)))
    return folder


def shard(folder: Folder, number: int, buffers: bool = False) -> StoredObject:
    theta = torch.arange(35, dtype=torch.float32).view(5, 7) + number
    named = {"mean": torch.arange(10.0).view(5, 2)} if buffers else None
    content, rows = shards.encode(theta, {"unit": number}, buffers=named)
    return folder.put(f"expert-{number:04d}", "safetensors", content, {"rows": rows})


ORPHANS = Judge(lambda manifest, stem: "orphan", lambda folder, manifest, whole: "")


def audited(folder: Folder, judge: Judge = ORPHANS) -> Audit:
    return audit(folder.location, folder.path, folder.location.keys(folder.path), judge)


def found(folder: Folder) -> list[tuple[str, str, str]]:
    return [(item.key, item.kind, item.problem) for item in audited(folder).findings]


def change(folder: Folder, key: str, at: int) -> None:
    content = bytearray(folder.location.get(key))
    content[at] ^= 1
    folder.location.put(key, bytes(content))


def items(folder: Folder) -> tuple[StoredObject, ...]:
    return folder.require().objects


def recommit(folder: Folder, *objects: StoredObject) -> None:
    """What anybody could write there; padray itself would look whether it is true."""
    content = replace(folder.require(), objects=objects).to_json()
    folder.location.put(f"{folder.path}/manifest.json", content)


# -- objects


def test_what_is_whole_is_not_named(folder):
    folder.location.put(f"{folder.path}/notes.txt", b"somebody's")
    assert found(folder) == [] and audited(folder).manifest == folder.require()


@pytest.mark.parametrize("chunk", [1 << 20, 7])
@pytest.mark.parametrize("row", [0, 3, 4])
def test_a_flipped_byte_is_named_with_its_row(folder, row, chunk, monkeypatch):
    monkeypatch.setattr(location_module, "_CHUNK", chunk)
    item = items(folder)[1]
    assert found(folder) == []
    index = shards.rows_of(item)
    change(folder, item.key, index.offset + row * index.row_bytes + 5)
    problem = f"its bytes are not those that the manifest vouches for; rows {row} of 5"
    assert found(folder) == [(item.key, "damaged", problem)]


def test_a_flipped_byte_of_the_header_is_named_without_rows(folder):
    change(folder, items(folder)[0].key, 20)
    (damaged,) = found(folder)
    assert damaged[1] == "damaged" and "rows" not in damaged[2]


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_truncated_object_is_named_with_its_sizes(folder, cut):
    item = items(folder)[0]
    folder.location.put(item.key, folder.location.get(item.key)[:cut])
    assert found(folder) == [(item.key, "damaged", f"has {cut} bytes instead of {item.size}")]


def test_another_shards_bytes_under_this_key_are_named(folder):
    first, second = items(folder)
    folder.location.put(first.key, folder.location.get(second.key))
    assert [(key, kind) for key, kind, _ in found(folder)] == [(first.key, "damaged")]


def test_an_object_that_is_gone_is_named(folder):
    item = items(folder)[1]
    folder.location.delete(item.key)
    assert found(folder) == [(item.key, "missing", "is not there")]


def test_checksums_of_rows_that_a_manifest_has_wrong_are_named(folder):
    item, other = items(folder)
    rows = {**item.extra["rows"], "checksums": [*item.extra["rows"]["checksums"][:-1], 1]}
    recommit(folder, replace(item, extra={"rows": rows}), other)
    assert found(folder) == [(item.key, "damaged", "the manifest's checksums are not those of its rows; rows 4 of 5")]
    recommit(folder, replace(item, extra={"rows": {**rows, "checksums": [1]}}), other)
    assert found(folder) == [(item.key, "damaged", "the manifest does not say where its rows lie")]


def test_checksums_of_buffers_that_are_wrong_are_named(folder):
    item = shard(folder, 2, buffers=True)
    recommit(folder, *items(folder), item)
    assert found(folder) == []
    rows = {**item.extra["rows"], "buffer_checksums": [1] * 5}
    recommit(folder, *items(folder)[:2], replace(item, extra={"rows": rows}))
    assert found(folder) == [(item.key, "damaged", "the manifest's checksums are not those of its rows")]


def test_what_no_manifest_lists_is_judged_if_it_is_whole_and_an_orphan_if_it_is_not(folder):
    whole = folder.put("expert-0009", "bin", b"whole").key
    torn = f"{folder.path}/expert-0008-{'0' * 12}.bin"
    folder.location.put(torn, b"torn")
    judged = []

    def judge(manifest, stem):
        judged.append(stem)
        return "unfinished"

    made = audited(folder, replace(ORPHANS, standing=judge))
    assert {item.key: item.kind for item in made.findings} == {whole: "unfinished", torn: "orphan"}
    assert judged == ["expert-0009"]
    silent = audited(folder, replace(ORPHANS, standing=lambda *_: "kept"))
    assert [item.key for item in silent.findings] == [torn]


def test_a_folder_without_a_manifest_is_unfinished(folder):
    folder.location.delete(f"{folder.path}/manifest.json")
    assert found(folder) == [(folder.path, "unfinished", "no manifest yet; 2 objects")]


def test_an_object_that_may_not_be_read_is_named_and_the_others_are_checked(folder):
    first, second = items(folder)
    folder.location.delete(second.key)

    class Refusing(LocalLocation):
        def get_range(self, key, offset, length):
            if key == first.key:
                raise InputError("Permission denied")
            return super().get_range(key, offset, length)

    folder.location = Refusing(folder.location.root)
    assert found(folder) == [(first.key, "unreadable", "Permission denied"), (second.key, "missing", "is not there")]


# -- manifests


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 50_000, b'{"format_version": "1"}'])
def test_a_damaged_manifest_is_broken(folder, content):
    key = f"{folder.path}/manifest.json"
    folder.location.put(key, content)
    assert found(folder) == [(key, "broken", f"{key} is not a manifest that padray wrote")]


def test_a_manifest_of_a_newer_padray_is_foreign(folder):
    folder.location.put(f"{folder.path}/manifest.json", json.dumps({"format_version": 2}).encode())
    (foreign,) = found(folder)
    assert foreign[1] == "foreign" and "format_version 2; this padray reads up to 1" in foreign[2]


@pytest.mark.parametrize(
    "key, problem",
    [
        (f"datasets/x-{'0' * 12}/dataset-{'0' * 12}.bin", "which is not in its folder"),
        (f"{PATH}/expert-0000-{'1' * 12}.bin", "contradicts itself"),
        (f"{PATH}/expert-0000.bin", "contradicts itself"),
        (f"{PATH}/../../secret-{'0' * 12}.bin", "cannot be trusted"),
        ("/etc/passwd", "cannot be trusted"),
    ],
)
def test_a_manifest_that_points_elsewhere_is_foreign_and_none_of_its_objects_is_touched(folder, key, problem):
    recommit(folder, StoredObject(key, 1, "0" * 64))
    (foreign,) = found(folder)
    assert foreign[:2] == (f"{PATH}/manifest.json", "foreign") and problem in foreign[2]


def test_a_manifest_under_another_folders_name_is_foreign(folder):
    other = f"experts/digits-{'f' * 12}"
    folder.location.put(f"{other}/manifest.json", folder.location.get(f"{folder.path}/manifest.json"))
    made = audit(folder.location, other, folder.location.keys(other), ORPHANS)
    assert [item.kind for item in made.findings] == ["foreign"]


@pytest.mark.parametrize("inputs", [{"data": 5}, {"data": None}, {"data": {}}, {"sets": [{}]}])
def test_inputs_that_are_no_fingerprints_are_refused(folder, inputs):
    folder.commit(replace(folder.require(), inputs=inputs))
    assert [kind for _, kind, _ in found(folder)] == ["broken"]


# -- sizes that a stranger may claim


@pytest.mark.parametrize("length", [0, 1 << 20, 1 << 63, (1 << 64) - 1])
def test_a_header_as_long_as_one_likes_is_refused_in_a_sentence(folder, length):
    item = items(folder)[0]
    folder.location.put(item.key, length.to_bytes(8, "little") + b"{}")
    with pytest.raises(InputError, match="not a shard that padray wrote"):
        shards.read_header(folder, replace(item, size=1 << 62))


def test_a_header_nested_without_end_is_refused_in_a_sentence(folder):
    item, text = items(folder)[0], b"[" * 100_000
    folder.location.put(item.key, len(text).to_bytes(8, "little") + text)
    with pytest.raises(InputError, match="not a shard that padray wrote"):
        shards.read_header(folder, item)


def test_rows_beyond_the_end_are_damaged_and_cost_no_memory(folder):
    item, other = items(folder)
    rows = {**item.extra["rows"], "size": 1 << 60, "offset": 1 << 61}
    recommit(folder, replace(item, extra={"rows": rows}), other)
    assert [(key, kind) for key, kind, _ in found(folder)] == [(item.key, "damaged")]
    with pytest.raises(InputError, match=r"does not say where the rows of"):
        shards.read_row(folder, items(folder)[0], 0)


# -- roots


def test_a_root_tells_its_artefacts_whatever_one_manifest_is_like(folder):
    broken = f"datasets/digits-{'a' * 12}"
    folder.location.put(f"{broken}/manifest.json", b"{}")
    folder.location.put(f"experts/pictures/cat-{'0' * 12}.png", b"somebody's")
    assert set(folders(folder.location)) == {broken, PATH}
    read = dict(read_manifests(folder.location))
    assert isinstance(read[broken], InputError) and read[PATH] == folder.require()


def test_a_folder_of_other_things_is_no_storage(tmp_path):
    check_root(LocalLocation(tmp_path / "nowhere"))
    check_root(LocalLocation(tmp_path))
    (tmp_path / "datasets/cats").mkdir(parents=True)
    (tmp_path / "datasets/cats/cat.png").write_bytes(b"")
    for place in (tmp_path, tmp_path / "datasets/cats/cat.png"):
        with pytest.raises(InputError, match=r"is no storage of padray: --storage names the folder"):
            check_root(LocalLocation(place))
    filled(LocalLocation(tmp_path), PATH, FINGERPRINT)
    check_root(LocalLocation(tmp_path))


def test_leftovers_and_ages_are_told(folder):
    item = items(folder)[0]
    path = folder.location.root / folder.path / ".put-0011223344556677"
    path.write_bytes(b"half")
    os.utime(folder.location.root / item.key, (0, 0))
    os.utime(path, (0, 0))
    (found,) = folder.location.leftovers()
    assert found.key == f"{folder.path}/{path.name}" and found.age > 1e9
    folder.location.discard(found)
    folder.location.discard(found)  # what is gone already is no error
    assert folder.location.leftovers() == [] and not path.exists()
    assert folder.location.age(item.key) > 1e9 > folder.location.age(items(folder)[1].key)
    with pytest.raises(InputError, match="cannot read"):
        folder.location.age("experts/nothing")


def test_a_run_that_begins_while_its_root_is_looked_at_is_seen(tmp_path, monkeypatch):
    location, look = LocalLocation(tmp_path), roots._holds_others

    def late(place):
        location.put("running/abc.json", b"{}")
        return look(place)

    monkeypatch.setattr(roots, "_holds_others", late)
    check_root(location)
