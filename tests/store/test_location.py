"""Bytes under keys: an object is there completely or not at all, and nothing is ever outside the root."""

import os
from pathlib import Path

import pytest

from padray.errors import InfrastructureError, InputError
from padray.store.cache import CachedLocation
from padray.store.location import LocalLocation, Location, check_key, check_writable, open_location


@pytest.fixture(params=["folder", "cached", pytest.param("bucket", marks=pytest.mark.s3)])
def anywhere(request, location, tmp_path) -> Location:
    """What holds of every storage is asked of each kind."""
    if request.param == "cached":
        return CachedLocation(location, tmp_path / "cache", 1 << 20)
    return location if request.param == "folder" else request.getfixturevalue("s3").location()


def files(location: LocalLocation) -> list[str]:
    """Everything that lies in the root, hidden or not."""
    return sorted(p.relative_to(location.root).as_posix() for p in location.root.rglob("*") if p.is_file())


def test_what_was_put_is_read_back_whole_and_in_ranges(anywhere):
    anywhere.put("a/b.bin", b"0123456789")
    assert anywhere.get("a/b.bin") == b"0123456789" and anywhere.size("a/b.bin") == 10
    assert anywhere.get_range("a/b.bin", 2, 3) == b"234" and anywhere.get_range("a/b.bin", 8, 9) == b"89"
    assert anywhere.get_range("a/b.bin", 3, -1) == b"3456789" and anywhere.get_range("a/b.bin", 3, 0) == b""
    anywhere.put("a/b.bin", b"other")
    assert anywhere.get("a/b.bin") == b"other" and anywhere.size("a/b.bin") == 5


def test_what_lies_past_the_end_is_empty_and_so_is_an_empty_object(anywhere):
    anywhere.put("a", b"01")
    anywhere.put("empty", b"")
    assert anywhere.get_range("a", 2, 3) == anywhere.get_range("a", 9, 3) == anywhere.get_range("a", 2, -1) == b""
    assert anywhere.get("empty") == anywhere.get_range("empty", 0, 8) == b"" and anywhere.size("empty") == 0


def test_what_is_not_there_has_no_size_and_cannot_be_read(anywhere):
    assert anywhere.size("a") is None and anywhere.keys("") == [] and anywhere.keys("a") == []
    anywhere.delete("a")
    for read in (anywhere.get, anywhere.age, lambda key: anywhere.get_range(key, 3, 0)):
        with pytest.raises(InputError, match=r"cannot read a in the storage .*No such (file|object)"):
            read("a")


def test_what_was_deleted_is_gone(anywhere):
    anywhere.put("a/1", b"x")
    anywhere.put("a/2", b"x")
    anywhere.delete("a/1")
    assert anywhere.keys("") == ["a/2"] and anywhere.size("a/1") is None


def test_keys_are_sorted_and_below_their_folder(anywhere):
    for key in ("b/2", "b/1", "a/1", "b/c/3", "bb/1", "b/ключ und +%&"):
        anywhere.put(key, b"x")
    assert anywhere.keys("") == ["a/1", "b/1", "b/2", "b/c/3", "b/ключ und +%&", "bb/1"]
    assert anywhere.keys("b") == ["b/1", "b/2", "b/c/3", "b/ключ und +%&"]
    assert anywhere.keys("b/c") == ["b/c/3"] and anywhere.get("b/ключ und +%&") == b"x"


def test_an_object_s_age_is_counted_from_its_put(anywhere):
    anywhere.put("a", b"x")
    assert -2 < anywhere.age("a") < 30  # stores round to seconds
    assert anywhere.leftovers() == []


def test_another_process_finds_the_same_storage_by_its_uri(anywhere):
    anywhere.put("a", b"x")
    again = open_location(anywhere.uri)
    assert again.uri == anywhere.uri and again.get("a") == b"x"


def test_an_object_is_one_that_others_of_the_group_may_read_where_the_umask_says_so(location):
    before = os.umask(0o022)
    try:
        location.put("a", b"x")
    finally:
        os.umask(before)
    assert (location.root / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_put_that_fails_leaves_nothing_and_keeps_what_was_there(location, monkeypatch, failing, error):
    location.put("a/kept", b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    expected = InfrastructureError if isinstance(error, OSError) else KeyboardInterrupt
    for key in ("a/new", "a/kept"):
        with pytest.raises(expected):
            location.put(key, b"new")
    assert files(location) == ["a/kept"] and location.get("a/kept") == b"old"


def test_the_unfinished_put_of_a_killed_process_is_no_object(location):
    location.put("a/1", b"x")
    (location.root / "a/.put-0123").write_bytes(b"half")
    assert location.keys("") == location.keys("a") == ["a/1"]


HOSTILE = ["", ".", "..", "../a", "a/../b", "a/..", "/etc/passwd", "//a", "a\\..\\b", "a\0b"]
ALIASES = ["a//b", "a/./b", "./a", "a/"]


@pytest.mark.parametrize("key", HOSTILE + ALIASES)
def test_a_key_that_leaves_the_root_or_has_two_names_is_refused(anywhere, key):
    with pytest.raises(InputError, match="is not a key"):
        check_key(key)
    for act in (
        lambda: anywhere.put(key, b"x"),
        lambda: anywhere.get(key),
        lambda: anywhere.delete(key),
        lambda: anywhere.size(key),
    ):
        with pytest.raises(InputError, match="is not a key"):
            act()


@pytest.mark.parametrize("key", ["a", "a/b-c.d/e", "a..b", "..a/b", "ключ"])
def test_other_keys_are_keys(key):
    assert check_key(key) == key


# -- roots


@pytest.mark.parametrize("uri", ["{0}/x", "file://{0}/x"])
def test_a_folder_may_be_written_as_a_path_or_a_uri(tmp_path, uri):
    assert open_location(uri.format(tmp_path)).uri == str(tmp_path / "x")


def test_a_relative_root_stays_where_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location = open_location("runs")
    monkeypatch.chdir("/")
    location.put("a", b"x")
    assert (tmp_path / "runs/a").exists()


@pytest.mark.parametrize("uri", ["gs://bucket/x", "http://host/x", "~nobody-of-that-name/x", "a\0b"])
def test_a_root_that_cannot_be_served_is_refused(uri):
    with pytest.raises(InputError, match=r"the storage .* cannot be used"):
        open_location(uri)


def test_a_writable_root_is_left_as_it_was(anywhere):
    check_writable(anywhere)
    assert anywhere.keys("") == []


def test_a_folder_that_is_not_there_is_not_made_by_the_look_at_it(tmp_path: Path):
    check_writable(LocalLocation(tmp_path / "not/yet"))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("root", ["file", "file/below", "dangling"])
def test_a_root_that_cannot_be_written_is_found_out_before_any_work(tmp_path: Path, root):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("/proc/nowhere")
    with pytest.raises(InputError, match="cannot write to the storage"):
        check_writable(LocalLocation(tmp_path / root))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dangling", "file"]


def test_what_cannot_be_deleted_is_told(location):
    location.put("a/b", b"x")
    with pytest.raises(InputError, match="cannot delete a in the storage"):
        location.delete("a")
