"""Which pictures are read: an allow-list of formats, of a bounded size, and nothing starts another program."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from padray.data import pictures
from padray.errors import InputError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%Page: 1 1\nshowpage\n%%EOF\n"


def coded(kind: str, shape: tuple[int, ...] = (8, 8, 3), **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full(shape, 90, np.uint8)).save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def large_png(side: int) -> bytes:
    """A whole PNG of side x side black pixels in a few kilobytes."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiled(side: int, inflated: int = 0) -> bytes:
    """A TIFF of 16x16 pixels in one tile of side x side, with so many bytes of pixels."""
    content = zlib.compress(bytes(inflated), 9)
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 0, 325: len(content)}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + content


def refused(encoded: bytes | Path, *parts: str) -> None:
    for look in (lambda: pictures.image_shape(encoded, "row 7"), lambda: pictures.pixels(encoded, None, "row 7")):
        with pytest.raises(InputError) as caught:
            look()
        assert str(caught.value).isprintable() and all(part in str(caught.value) for part in ("row 7", *parts))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"])
def test_the_formats_of_picture_files_are_read(kind, tmp_path):
    (tmp_path / "picture.any").write_bytes(coded(kind))
    for encoded in (coded(kind), tmp_path / "picture.any"):
        assert pictures.image_shape(encoded, "x") == (3, 8, 8) == pictures.pixels(encoded, None, "x").shape


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA", "ICO", "SGI", "PDF", "JPEG2000", "DDS", "MSP"])
def test_no_other_format_is_opened_whatever_its_name(kind, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: started.append("gs"))
    content = {"EPS": lambda: EPS, "MSP": lambda: _bilevel("MSP")}.get(kind, lambda: coded(kind))()
    (tmp_path / "picture.png").write_bytes(content)
    refused(content, "cannot be decoded", "PNG, JPEG")
    refused(tmp_path / "picture.png", "cannot be decoded")
    assert not started


def _bilevel(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("1", (8, 8)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("side", [8193, 9500, 14_000])  # Pillow's own limits lie between these
def test_a_picture_of_too_many_pixels_is_not_decoded(side, tmp_path):
    content = large_png(side)
    (tmp_path / "a.png").write_bytes(content)
    for encoded in (content, tmp_path / "a.png"):
        refused(encoded, "67,108,864", "pixels")


def test_the_largest_picture_that_is_read():
    assert pictures.pixels(large_png(8192), 4, "x").shape == (1, 4, 4)


def test_a_tile_that_is_larger_than_its_picture_counts():
    assert pictures.pixels(tiled(256, 256 * 256), None, "x").shape == (1, 16, 16)
    refused(tiled(16_384), "67,108,864", "pixels")


def test_a_file_that_is_no_regular_one_or_is_endless(tmp_path, monkeypatch):
    (tmp_path / "loop.png").symlink_to("loop.png")
    refused(tmp_path / "loop.png", "symbolic links")
    refused(Path("/dev/zero"), "a device")
    (tmp_path / "a.png").write_bytes(coded("PNG") + bytes(1000))
    monkeypatch.setattr(pictures, "MOST_BYTES", 1000)
    refused(tmp_path / "a.png", "more than 1,000 bytes")
