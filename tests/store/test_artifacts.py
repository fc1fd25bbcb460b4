"""Artefacts: objects that prove themselves, and a manifest that comes last and is believed only so far."""

import hashlib
import json
import re
from dataclasses import replace

import pytest

from padray import loading
from padray.errors import InputError
from padray.fingerprint import FOLDERS
from padray.stages import data
from padray.stages.base import Context, InlineRunner
from padray.store.artifacts import (
    FORMAT_VERSION,
    ROOMS,
    Folder,
    Manifest,
    all_manifests,
    parse_manifest,
    read_manifests,
    split_key,
)
from padray.store.location import LocalLocation


def manifest(folder: Folder, *objects) -> Manifest:
    return Manifest(folder.fingerprint, "experts", {"name": "x"}, {}, {}, objects, {"classes": 2})


class Recording(LocalLocation):
    """Remembers the order of what was put and deleted."""

    def __init__(self, root):
        super().__init__(root)
        self.done: list[str] = []

    def put(self, key, content):
        super().put(key, content)
        self.done.append(f"put {key}")

    def delete(self, key):
        super().delete(key)
        self.done.append(f"delete {key}")


# -- objects


def test_an_object_is_called_after_its_content(folder):
    item = folder.put("expert-0007", "safetensors", b"bytes", {"rows": 3})
    digest = hashlib.sha256(b"bytes").hexdigest()
    assert item.key == f"{folder.path}/expert-0007-{digest[:12]}.safetensors"
    assert (item.sha256, item.size, item.stem, item.extra) == (digest, 5, "expert-0007", {"rows": 3})
    assert folder.get(item) == b"bytes"


def test_other_content_of_the_same_name_lies_beside_it(folder):
    items = [folder.put("a", "bin", content) for content in (b"one", b"two", b"one")]
    assert items[0] == items[2] and [folder.get(item) for item in items] == [b"one", b"two", b"one"]
    assert len(folder.keys()) == 2


@pytest.mark.parametrize("damage", [b"bytez", b"byt", b""])
def test_a_damaged_object_is_told_apart_and_put_right(folder, damage):
    item = folder.put("a", "bin", b"bytes")
    folder.location.put(item.key, damage)
    with pytest.raises(InputError, match=f"{item.key}.* is damaged"):
        folder.get(item)
    assert folder.loose() == []
    assert folder.put("a", "bin", b"bytes") == item and folder.get(item) == b"bytes"


def test_loose_objects_are_those_that_their_own_hash_proves(folder):
    kept = folder.put("expert-0000", "bin", b"whole")
    folder.put("other-0000", "bin", b"whole")
    folder.location.put(f"{folder.path}/expert-0001-{'0' * 12}.bin", b"torn")
    folder.location.put(f"{folder.path}/expert-notes.txt", b"not ours")
    assert folder.loose("expert-") == [kept]


@pytest.mark.parametrize(
    "key, parts",
    [
        ("a/b/expert-0007-0123456789ab.safetensors", ("expert-0007", "0123456789ab")),
        ("history-000000-000099-0123456789ab.parquet", ("history-000000-000099", "0123456789ab")),
        ("a/manifest.json", ("manifest.json", "")),
        ("a/expert-0123456789AB.bin", ("expert-0123456789AB.bin", "")),
    ],
)
def test_keys_are_taken_apart(key, parts):
    assert split_key(key) == parts


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x"])
def test_a_folder_outside_the_root_is_refused(location, path):
    with pytest.raises(InputError, match="is not a key"):
        Folder(location, path, "f" * 64)


# -- manifests


def test_a_folder_is_finished_once_its_manifest_is_there(folder):
    item = folder.put("a", "bin", b"bytes", {"rows": [1]})
    assert folder.manifest() is None
    with pytest.raises(InputError, match=f"{folder.path}.* is not finished"):
        folder.require()
    written = manifest(folder, item)
    folder.commit(written)
    assert folder.require() == written and folder.require().object("a") == item
    with pytest.raises(InputError, match="has no object called b"):
        written.object("b")


def test_a_stage_writes_its_manifest_last(tmp_path):
    location = Recording(tmp_path)
    data.make(Context("x", loading.load("digits-ipc1").config, location, InlineRunner()))
    assert [key.rsplit("/")[-1] == "manifest.json" for key in location.done] == [False, True]


def test_a_folder_that_is_deleted_is_unfinished_first(tmp_path):
    folder = Folder(Recording(tmp_path), "experts/x", "f" * 64)
    folder.commit(manifest(folder, folder.put("a", "bin", b"bytes")))
    folder.location.done.clear()
    folder.delete()
    assert folder.location.done[0] == "delete experts/x/manifest.json" and folder.location.keys("") == []


def test_the_manifest_of_another_artefact_is_refused(folder):
    folder.commit(replace(manifest(folder), fingerprint="e" * 64))
    with pytest.raises(InputError, match="belongs to another artefact"):
        folder.manifest()


def test_a_newer_format_is_refused_in_one_sentence_whatever_it_holds(folder):
    newer = {"format_version": FORMAT_VERSION + 1, "pieces": []}
    folder.location.put(f"{folder.path}/manifest.json", json.dumps(newer).encode())
    sentence = r"^\S+ has format_version 2; this padray reads up to 1: update it$"
    with pytest.raises(InputError, match=sentence):
        folder.manifest()
    ((path, error),) = read_manifests(folder.location)
    assert path == folder.path and re.match(sentence, str(error)) and all_manifests(folder.location) == []


@pytest.mark.parametrize("key", ["../../etc/passwd", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_a_manifest_with_a_key_outside_the_root_is_refused(folder, key):
    item = replace(folder.put("a", "bin", b"bytes"), key=key)
    with pytest.raises(InputError, match=r"x/manifest.json cannot be trusted: .* is not a key"):
        parse_manifest(manifest(folder, item).to_json(), "x/manifest.json")


def _with(**fields) -> bytes:
    item = {"key": "a", "size": 1, "sha256": "0" * 64, "extra": {}}
    tree = {"fingerprint": "f", "stage": "data", "settings": {}, "inputs": {}, "numerics": {}, "objects": [item]}
    return json.dumps({"format_version": 1, **tree, **fields}).encode()


def test_the_fields_that_follow_are_all_that_is_wrong():
    assert parse_manifest(_with(), "m").objects[0].key == "a"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        b"[" * 100_000,
        _with()[:-9],
        _with(format_version="1"),
        _with(format_version=None),
        _with(fingerprint=5),
        _with(settings=[]),
        _with(facts=None),
        _with(objects={"a": 1}),
        _with(objects=5),
        _with(objects=["a"]),
        _with(objects=[{"key": "a"}]),
        _with(objects=[{"key": 5, "size": 1, "sha256": ""}]),
        _with(objects=[{"key": "a", "size": "1", "sha256": ""}]),
        _with(objects=[{"key": "a", "size": 1, "sha256": "", "extra": []}]),
        _with(surprise=1),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_sentence(content):
    with pytest.raises(InputError, match=r"^x/manifest.json is not a manifest that padray wrote$"):
        parse_manifest(content, "x/manifest.json")


def test_every_finished_artefact_of_a_root_is_found(location):
    folders = [Folder(location, f"experts/{name}", "f" * 64) for name in "ab"]
    for folder in folders:
        folder.commit(manifest(folder))
    Folder(location, "experts/unfinished", "e" * 64).put("a", "bin", b"x")
    assert [path for path, _ in all_manifests(location)] == ["experts/a", "experts/b"]


def test_every_stage_has_its_room():
    assert tuple(FOLDERS.values()) == ROOMS
