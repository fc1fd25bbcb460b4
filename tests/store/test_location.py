"""Bytes under keys: an object is there completely or not at all, and nothing is ever outside the root."""

import io
import os
from pathlib import Path

import pytest

from padray.errors import InfrastructureError, InputError
from padray.machine import files as files_module
from padray.store.cache import CachedLocation
from padray.store.location import (
    LocalLocation,
    Location,
    UnreadableError,
    check_key,
    check_writable,
)
from padray.store.opening import open_location


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
@pytest.mark.parametrize(
    "error, kind",
    [
        (OSError(28, "No space left on device"), InfrastructureError),
        (OSError(13, "Permission denied"), InputError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_a_put_that_fails_leaves_nothing_and_keeps_what_was_there(location, monkeypatch, failing, error, kind):
    location.put("a/kept", b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    for key in ("a/new", "a/kept"):
        with pytest.raises(kind):
            location.put(key, b"new")
    assert files(location) == ["a/kept"] and location.get("a/kept") == b"old"


def test_the_unfinished_put_of_a_killed_process_is_no_object(location):
    location.put("a/1", b"x")
    (location.root / "a/.put-0123").write_bytes(b"half")
    assert location.keys("") == location.keys("a") == ["a/1"]


HOSTILE = ["", ".", "..", "../a", "a/../b", "a/..", "/etc/passwd", "//a", "a\\..\\b", "a\0b", "a\nb", "a\udcff"]
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


# -- what stands under a key and is no object


def stand(path: Path, what: str) -> None:
    """Put something under a path that is no regular file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "a FIFO":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    else:
        path.symlink_to({"a link to no file": path.name, "a link to a device": "/dev/zero"}[what])  # a loop


@pytest.mark.parametrize("what", ["a FIFO", "a folder", "a link to no file", "a link to a device"])
def test_only_regular_files_are_objects_and_nothing_else_is_opened(location, what):
    stand(location.root / "a/b", what)
    assert location.keys("") == [] and location.sizes("a") == {} and location.size("a/b") is None
    for read in (location.get, lambda key: location.get_range(key, 0, 1)):
        with pytest.raises(InputError, match=r"cannot read a/b in the storage"):
            read("a/b")
    assert [(found.key, found.what, found.removable) for found in location.strangers("a")] == [("a/b", what, True)]
    location.delete("a/b")
    assert location.strangers("a") == [] and Path("/dev/zero").exists()


def test_an_object_takes_the_place_of_what_is_none(location):
    stand(location.root / "a", "a FIFO")
    location.put("a", b"x")
    assert location.get("a") == b"x"


def test_a_folder_that_holds_something_is_never_removed(location):
    location.put("a/b/mine.txt", b"mine")
    assert [found.removable for found in location.strangers("a")] == [False]
    with pytest.raises(InputError, match=r"cannot delete a/b in the storage .*not empty"):
        location.delete("a/b")
    assert location.get("a/b/mine.txt") == b"mine"


def test_a_link_to_a_file_is_an_object_and_its_end_is_not_the_file_s(location, tmp_path):
    (tmp_path / "large").write_bytes(b"large")
    (location.root / "a").mkdir(parents=True)
    (location.root / "a/b").symlink_to(tmp_path / "large")
    assert location.sizes("") == {"a/b": 5} and location.get("a/b") == b"large"
    location.delete("a/b")
    assert location.keys("") == [] and (tmp_path / "large").read_bytes() == b"large"


def test_a_folder_behind_a_link_out_of_the_root_is_known(location, tmp_path):
    (tmp_path / "outside/x").mkdir(parents=True)
    location.put("inside/a", b"x")
    (location.root / "experts").symlink_to(tmp_path / "outside")
    (location.root / "scores").symlink_to("inside")
    (location.root / "loop").symlink_to("loop")
    places = ("experts", "experts/x", "scores", "inside", "loop", "nowhere")
    assert [place for place in places if location.leads_out(place)] == ["experts", "experts/x", "loop"]


def test_names_that_no_line_can_hold_are_not_listed(location):
    location.put("a/b", b"x")
    for name in (b"\xff", b"line\nend", b"back\\slash"):
        Path(os.fsdecode(os.fsencode(location.root / "a") + b"/" + name)).write_bytes(b"x")
    assert location.keys("") == ["a/b"] and len(list((location.root / "a").iterdir())) == 4


def test_folders_may_lie_as_deep_as_they_like(location):
    location.put("a/b", b"x")
    deep = [f"{location.root}/a" + "/d" * level for level in range(1, 1200)]
    for folder in deep:
        os.mkdir(folder)
    assert location.keys("") == ["a/b"] and location.leftovers() == []
    for folder in reversed(deep):  # pytest's own way to clear up goes only so deep
        os.rmdir(folder)


def test_no_more_is_read_than_is_asked_for(location):
    location.put("a", b"0123456789")
    assert location.get("a", 4) == b"0123" and location.get("a", 99) == b"0123456789"
    os.truncate(location.root / "a", 1 << 40)  # no disk holds it, no memory either
    assert location.get("a", 12) == b"0123456789\0\0"


def test_what_does_not_fit_into_memory_is_told(location, monkeypatch):
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise MemoryError

    monkeypatch.setattr(files_module, "open_file", lambda path: Endless())
    with pytest.raises(InfrastructureError, match=r"a in the storage .* does not fit into memory"):
        location.get("a")


def test_a_damaged_disk_is_no_fault_of_the_user(location, monkeypatch):
    location.put("a", b"x")

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(UnreadableError, match=r"cannot read a in the storage .*Input/output error"):
        location.get("a")


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


@pytest.mark.parametrize(
    "uri", ["gs://bucket/x", "http://host/x", "~nobody-of-that-name/x", "a\0b", "a\ud800", "x/" * 5000, "x" * 5000]
)
def test_a_root_that_cannot_be_served_is_refused(uri):
    with pytest.raises(InputError) as caught:
        open_location(uri).put("a", b"x")
    assert "the storage" in str(caught.value) and str(caught.value).isprintable()


def test_a_relative_root_where_the_folder_itself_is_gone_is_refused(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InputError, match="the storage 'runs' cannot be used"):
        open_location("runs")


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
