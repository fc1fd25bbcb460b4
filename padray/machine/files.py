"""Files that somebody names: only regular ones are opened, and no more is read of them than is asked for.

To open a FIFO would wait for its other end, to read a device may never end, and a link may lead to either. `open_file`
speaks to other code in `OSError`s, `open_regular` and `read_regular` to the user in a sentence.
"""

import io
import os
import stat
from pathlib import Path

from padray.errors import InputError

_SHOWN = 300  # characters of a name in a sentence
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def shown(name: str | os.PathLike[str], most: int = _SHOWN) -> str:
    """A name as a sentence can hold it: on one line, in characters that every terminal and file takes, not endless."""
    text = os.fspath(name)
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[-most // 2 :]}"
    return text if text.isprintable() else repr(text)[1:-1]  # line ends, and bytes that are no UTF-8, are not printable


def quoted(name: str | os.PathLike[str]) -> str:
    """The same between quotes."""
    return f"'{shown(name)}'"


def is_utf8(text: str) -> bool:
    """Whether a text can be stored and shown: a file's name may hold other bytes, JSON half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def expanded(path: str, what: str) -> Path:
    """The path with `~` and `~user` replaced. Raises InputError, which names it as `what`, for the home of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{what} {shown(path)} begins in the home of a user who is not known here") from None


def open_file(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A regular file, open for reading. Raises OSError for any other, for one that is not there, and for no path."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)  # a FIFO is opened, and waits for nobody
    except ValueError as error:  # a NUL, or a character that no file name has
        raise OSError(None, f"no file can have this name ({error})", os.fspath(path)) from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
            raise OSError(None, f"it is {kind}, not a regular file", os.fspath(path))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_regular(path: str | os.PathLike[str], what: str) -> io.BufferedReader:
    """The same, where what cannot be opened is the user's fault.

    Args:
        what: what the file is, e.g. "the settings file"; errors say it before the path.

    Raises:
        InputError: it cannot be opened, or is no regular file.
    """
    try:
        return open_file(path)
    except OSError as error:
        raise InputError(f"cannot read {what} {shown(path)}: {reason(error)}") from None


def read_regular(path: str | os.PathLike[str], what: str, most_bytes: int) -> bytes:
    """The content of a regular file. Raises InputError as `open_regular` does, and for more than `most_bytes`."""
    with open_regular(path, what) as file:
        try:
            content = file.read(most_bytes + 1)
        except OSError as error:
            raise InputError(f"cannot read {what} {shown(path)}: {reason(error)}") from None
    if len(content) > most_bytes:
        raise InputError(f"cannot read {what} {shown(path)}: it has more than {most_bytes:,} bytes, which is the most")
    return content


def entries(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    """What lies in a folder, sorted by name. Raises InputError for what is no folder that can be read."""
    try:
        with os.scandir(folder) as listing:
            return sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"cannot read the folder {shown(folder)}: {reason(error)}") from None


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one; a link that leads nowhere is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def reason(error: OSError) -> str:
    """Why, in the words of the system."""
    return error.strerror or str(error) or type(error).__name__


def user_cache() -> Path | None:
    """Where this user's programs keep what they can make again (`XDG_CACHE_HOME`); None where there is no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").resolve() / "padray"
    except (OSError, RuntimeError):
        return None
