"""Artefacts: objects that prove themselves, and a manifest that comes last and is believed only so far."""

import hashlib
import json
import os
import re
from dataclasses import replace

import pytest

from padray.configuration import loading
from padray.errors import InfrastructureError, InputError
from padray.fingerprint import FOLDERS
from padray.stages import data
from padray.stages.base import Context
from padray.stages.inline import InlineRunner
from padray.store import location as location_module
from padray.store.artifacts import FORMAT_VERSION, Folder, LostObjectError, Manifest, parse_manifest, split_key
from padray.store.location import LocalLocation
from padray.store.roots import ROOMS, all_manifests, is_called, read_manifests, the_one

PATH = f"experts/x-{'f' * 12}"
KEY = f"{PATH}/manifest.json"


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
    with pytest.raises(LostObjectError, match=f"{item.key}.* is damaged.*padray verify {folder.path} --repair"):
        folder.get(item)
    assert folder.loose() == []
    assert folder.put("a", "bin", b"bytes") == item and folder.get(item) == b"bytes"


def test_loose_objects_are_those_that_their_own_hash_proves(folder):
    kept = folder.put("expert-0000", "bin", b"whole")
    folder.put("other-0000", "bin", b"whole")
    folder.location.put(f"{folder.path}/expert-0001-{'0' * 12}.bin", b"torn")
    folder.location.put(f"{folder.path}/expert-notes.txt", b"not ours")
    assert folder.loose("expert-") == [kept]


class Asked(LocalLocation):
    """Notes which objects are read, and how much of them."""

    def __init__(self, root):
        super().__init__(root)
        self.bytes: dict[str, int] = {}
        self.largest = 0  # bytes of an object at once

    def _note(self, key, content):
        if not key.endswith("manifest.json"):
            self.largest = max(self.largest, len(content))
        self.bytes[key] = self.bytes.get(key, 0) + len(content)
        return content

    def get(self, key, most=None):
        return self._note(key, super().get(key, most))

    def get_range(self, key, offset, length):
        return self._note(key, super().get_range(key, offset, length))


def test_a_listing_reads_what_no_manifest_lists_and_nothing_else(location, monkeypatch):
    monkeypatch.setattr(location_module, "_CHUNK", 7)
    asked = Asked(location.root)
    folder = Folder(asked, PATH, "f" * 64)
    listed = [folder.put(f"expert-{k:04d}", "bin", bytes([k]) * 100, {"rows": k}) for k in range(5)]
    folder.commit(manifest(folder, *listed))
    new = folder.put("expert-0007", "bin", b"new" * 100)
    another = folder.put("expert-0001", "bin", b"another writer's")
    asked.bytes.clear()
    asked.largest = 0
    assert folder.loose("expert-") == [*listed, new], "with what the manifest knows of them"
    assert asked.largest == 7, "none is held whole"
    read = {key: count for key, count in asked.bytes.items() if not key.endswith("manifest.json")}
    assert read == {new.key: new.size} and another.key not in read
    asked.bytes.clear()
    assert folder.loose("expert-", {"expert-0002"}) == [listed[2]] and set(asked.bytes) == {KEY}


def test_what_a_manifest_lists_and_is_gone_is_not_present(folder):
    items = [folder.put(stem, "bin", stem.encode()) for stem in "abc"]
    folder.commit(manifest(folder, *items))
    folder.location.delete(items[0].key)
    folder.location.put(items[1].key, b"cut")
    assert folder.gone(folder.require()) == {items[0].key, items[1].key}
    assert folder.present().objects == tuple(items[2:]) and folder.loose() == items[2:]
    for item, how in ((items[0], "is gone"), (items[1], "is damaged")):
        with pytest.raises(LostObjectError, match=rf"^{item.key} {how}: type `padray verify {folder.path} --repair"):
            folder.get(item)


def test_a_store_whose_listing_lags_behind_loses_nothing(tmp_path):
    class Lagging(LocalLocation):
        def sizes(self, prefix):
            return {}

    folder = Folder(Lagging(tmp_path), PATH, "f" * 64)
    item = folder.put("a", "bin", b"bytes")
    folder.commit(manifest(folder, item))
    assert folder.present() == folder.require() and folder.loose("a") == [item]


def test_nothing_is_published_that_is_not_there(folder):
    item = folder.put("a", "bin", b"bytes")
    folder.location.delete(item.key)
    with pytest.raises(InfrastructureError, match=rf"^{folder.path} was removed while it was made; the same command"):
        folder.commit(manifest(folder, item))
    assert folder.manifest() is None


def test_an_object_that_nothing_vouches_for_is_read_no_further_than_anybody_writes(location):
    asked = Asked(location.root)
    folder = Folder(asked, PATH, "f" * 64)
    item = folder.put("a", "bin", b"bytes")
    os.truncate(location.root / item.key, 1 << 20)
    asked.bytes.clear()
    assert folder.take(item.key, 100) is None
    assert asked.bytes == {item.key: 101}


def test_an_object_is_read_no_further_than_its_manifest_says(location):
    asked = Asked(location.root)
    folder = Folder(asked, PATH, "f" * 64)
    item = folder.put("a", "bin", b"bytes")
    os.truncate(location.root / item.key, 1 << 40)
    asked.bytes.clear()
    with pytest.raises(LostObjectError, match="is damaged"):
        folder.get(item)
    assert asked.bytes == {item.key: 6}


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
    folder = Folder(Recording(tmp_path), PATH, "f" * 64)
    folder.commit(manifest(folder, folder.put("a", "bin", b"bytes")))
    folder.location.done.clear()
    folder.delete()
    assert folder.location.done[0] == f"delete {KEY}" and folder.location.keys("") == []


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
    with pytest.raises(InputError, match=f"{KEY} cannot be trusted: .* is not a key"):
        parse_manifest(manifest(folder, item).to_json(), KEY)


def _with(**fields) -> bytes:
    item = {"key": f"{PATH}/a-{'0' * 12}.bin", "size": 1, "sha256": "0" * 64, "extra": {}}
    tree = {"fingerprint": "f" * 64, "stage": "data", "settings": {}, "inputs": {}, "numerics": {}, "objects": [item]}
    return json.dumps({"format_version": 1, **tree, **fields}).encode()


def test_the_fields_that_follow_are_all_that_is_wrong():
    assert parse_manifest(_with(), KEY).objects[0].stem == "a"


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
        _with(settings={"lr": float("nan")}),
        _with(settings={"lr": "x"}).replace(b'"x"', b"1e999"),
        _with(settings={"seed": "x"}).replace(b'"x"', b"9" * 5000),
        _with(settings={"seed": 10**400}),
        _with(settings={"name": "\ud800"}),
        _with(settings={"name": "x"}).replace(b'"x"', b'"\xff"'),
        _with().decode().encode("utf-16"),
        _with(facts={"deep": json.loads("[" * 60 + "]" * 60)}),
        _with(fingerprint="f"),
        _with(inputs={"experts": ["f" * 64]}),
        _with(inputs={"data": "f"}),
        _with(objects=[{"key": "a", "size": -1, "sha256": "0" * 64}]),
        _with(objects=[{"key": "a", "size": True, "sha256": "0" * 64}]),
        _with(objects=[{"key": "a", "size": 10**30, "sha256": "0" * 64}]),
        _with(objects=[{"key": "a", "size": 1, "sha256": "0" * 63}]),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_sentence(content):
    with pytest.raises(InputError, match=f"^{KEY} is not a manifest that padray wrote$"):
        parse_manifest(content, KEY)


def test_a_manifest_without_an_end_is_not_read_to_it(folder):
    folder.location.put(f"{folder.path}/manifest.json", b"{")
    os.truncate(folder.location.root / folder.path / "manifest.json", 1 << 40)
    with pytest.raises(InputError, match="is not a manifest that padray wrote: it has more than"):
        folder.manifest()


@pytest.mark.parametrize(
    "identifier, fits", [("", False), ("experts/x", True), ("x-", True), ("ffff", True), ("y", False)]
)
def test_nothing_is_the_start_of_every_name_and_means_none(identifier, fits):
    assert is_called(identifier, PATH, None) is fits


def test_the_one_that_a_name_fits_comes_with_what_was_given_of_it(location):
    among = [("experts/x-000000000000", None), ("experts/xy-111111111111", None), ("scores/x-222222222222", None)]
    assert the_one("xy", location, among) == ("experts/xy-111111111111", None)
    with pytest.raises(InputError, match=r"^nothing fits 'z' in .*; `padray du` lists what is there$"):
        the_one("z", location, among, "padray du")
    with pytest.raises(InputError, match=r"^3 artefacts fit \(experts/x-0+, experts/xy-1+, scores/x-2+\) 'x' in "):
        the_one("x", location, among)


def test_every_finished_artefact_of_a_root_is_found(location):
    folders = [Folder(location, f"experts/{name}-{'f' * 12}", "f" * 64) for name in "ab"]
    for folder in folders:
        folder.commit(manifest(folder))
    Folder(location, "experts/unfinished", "e" * 64).put("a", "bin", b"x")
    assert [path for path, _ in all_manifests(location)] == [folder.path for folder in folders]


def test_every_stage_has_its_room():
    assert tuple(FOLDERS.values()) == ROOMS
