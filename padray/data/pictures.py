"""Coded pictures: which ones are read, how large they may be, and their pixels.

Pillow would open many more formats, some of them by starting another program (Ghostscript for EPS), whatever a file is
called. Here a picture is in one of the formats of `FORMATS`, or none.

Legend: C channels, H rows, W columns.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from padray.data.listing import Encoded
from padray.errors import InputError
from padray.machine.files import open_file, reason

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
MOST_PIXELS = 8192 * 8192
MOST_BYTES = 2**29  # of a file
_GREY = frozenset({"1", "L", "LA", "La"})
_TILE = (322, 323)  # TIFF's tags of a tile's sides, which may be longer than the picture's


def image_shape(encoded: Encoded, where: str) -> tuple[int, int, int]:
    """C, H, W that an image will have; of a coded one only the head is read. Raises InputError as decoding would."""
    if isinstance(encoded, np.ndarray):
        return 1 if encoded.ndim == 2 else encoded.shape[2], encoded.shape[0], encoded.shape[1]
    with _opened(encoded, where) as image:
        is_grey = image.mode in _GREY or image.mode.startswith("I;16")
        return 1 if is_grey else 3, image.height, image.width


def pixels(encoded: Encoded, size: int | None, where: str) -> np.ndarray:
    """One image as (C, H, W) uint8; C is 1 for grey images. Resized to size x size, bilinear with antialiasing.

    Args:
        where: what errors call it.

    Raises:
        InputError: no picture of a known format, one that is damaged or too large, or one of 32-bit pixels.
    """
    with _opened(encoded, where) as image:
        image.load()
        image = _eight_bit(image)
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
    if image.mode in ("I", "F"):
        raise InputError(f"{where} has 32-bit pixels; save it with 8 or 16 bits, so that black and white are defined")
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else np.moveaxis(values, 2, 0)


@contextmanager
def _opened(encoded: Encoded, where: str) -> Iterator[Image.Image]:
    """The picture with its head read. What it raises in here, when it is decoded, becomes an InputError too."""
    if encoded is None:
        raise InputError(f"{where} holds no image bytes; every row needs a coded image (a path alone is not read)")
    if isinstance(encoded, np.ndarray):
        yield Image.fromarray(encoded)
        return
    try:
        with _stream(encoded, where) as stream, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(stream, formats=FORMATS) as image:
                _check_pixels(image, where)
                yield image
    except (InputError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many(where) from None
    except Exception as error:  # decoders of damaged files raise many kinds
        raise InputError(
            f"{where} cannot be decoded as an image; replace it or leave it out (read are {', '.join(FORMATS)})"
        ) from error


def _stream(encoded: bytes | Path, where: str) -> io.BytesIO | io.BufferedReader:
    if isinstance(encoded, bytes):
        return io.BytesIO(encoded)
    try:
        stream = open_file(encoded)
    except OSError as error:
        raise InputError(f"{where} cannot be read: {reason(error)}") from None
    if os.fstat(stream.fileno()).st_size <= MOST_BYTES:
        return stream
    stream.close()
    raise InputError(f"{where} has more than {MOST_BYTES:,} bytes, too many for a picture; make it smaller")


def _check_pixels(image: Image.Image, where: str) -> None:
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 0) for tag in _TILE]
    tile = sides[0] * sides[1] if all(isinstance(side, int) for side in sides) else 0
    if max(image.width * image.height, tile) > MOST_PIXELS:
        raise _too_many(where)


def _too_many(where: str) -> InputError:
    return InputError(f"{where} has more than {MOST_PIXELS:,} pixels, the most that is read; make it smaller")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey (L) or RGB. 16-bit grey keeps its high byte: Pillow's own conversion would clip at 255."""
    if image.mode in ("I", "F"):
        return image
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("L" if image.mode in _GREY else "RGB")
