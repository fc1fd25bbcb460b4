"""Only regular files are opened, within bounds, and every refusal is one sentence that names the file."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from padray.errors import InputError
from padray.machine import files


def refused(path: str | Path, *parts: str, most: int = 100) -> None:
    with pytest.raises(InputError) as caught:
        files.read_regular(path, "the notes", most)
    sentence = str(caught.value)
    assert sentence.startswith(f"cannot read the notes {files.shown(path)}: ") and sentence.isprintable()
    assert all(part in sentence for part in parts) and len(sentence) < 500, sentence
    if most == 100:  # it was not too large, but cannot be opened at all
        with pytest.raises(OSError):
            files.open_file(path)


def test_a_regular_file_is_read_up_to_the_bound(tmp_path):
    path = tmp_path / "notes"
    path.write_bytes(b"x" * 100)
    assert files.read_regular(path, "the notes", 100) == b"x" * 100
    (tmp_path / "link").symlink_to(path)
    assert files.read_regular(str(tmp_path / "link"), "the notes", 100) == b"x" * 100
    refused(path, "more than 99 bytes", most=99)


def test_what_is_no_regular_file_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("fifo")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "fifo", "it is a FIFO, not a regular file")
    refused(tmp_path / "link", "it is a FIFO")
    refused(tmp_path / "loop", "symbolic links")
    refused(tmp_path, "it is a folder")
    refused("/dev/zero", "it is a device")
    refused(tmp_path / "none", "No such file")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:  # a socket's path is short
        server.bind(f"{short}/s")
        refused(f"{short}/s", "No such device")


def lowest_free_descriptor() -> int:
    number = os.dup(0)
    os.close(number)
    return number


def test_a_refusal_leaves_nothing_open(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    before = lowest_free_descriptor()
    refused(tmp_path / "fifo", "a FIFO")
    assert lowest_free_descriptor() == before


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "\udc80\n.yaml", "\ud800", "", "no\nfile"])
def test_names_that_no_file_has_are_told_on_one_line(name):
    refused(name)


def test_a_name_is_shown_as_it_is_unless_a_line_cannot_hold_it():
    assert files.shown(Path("Größe/a b'.png")) == "Größe/a b'.png"
    assert files.shown("a\nb\udcff") == "a\\nb\\udcff"
    assert len(files.shown("x" * 10_000)) < 310


def test_the_home_of_nobody():
    assert files.expanded("~", "data.path") == Path.home()
    with pytest.raises(InputError, match=r"data\.path ~nosuchuser/x begins in the home of a user"):
        files.expanded("~nosuchuser/x", "data.path")
