"""Objects as the pieces that follow each other in them, so that what is large is stored without a copy of it."""

import io
from typing import Any

Pieces = tuple[memoryview, ...]
Content = bytes | Pieces


def pieces_of(content: Content) -> Pieces:
    """The bytes of an object, in their order."""
    return content if isinstance(content, tuple) else (memoryview(content),)


def whole(content: Content) -> bytes:
    """The bytes of an object in one."""
    return b"".join(content) if isinstance(content, tuple) else content


def size_of(content: Content) -> int:
    """Bytes of an object."""
    return sum(piece.nbytes for piece in pieces_of(content))


class Reader(io.RawIOBase):
    """An object as a stream that is read once."""

    def __init__(self, content: Content) -> None:
        self._left = [piece for piece in pieces_of(content) if piece.nbytes]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._left:
            return 0
        room = memoryview(buffer)
        taken = self._left[0][: len(room)]
        room[: len(taken)] = taken
        rest = self._left[0][len(taken) :]
        self._left[:1] = [rest] if rest.nbytes else []
        return len(taken)
