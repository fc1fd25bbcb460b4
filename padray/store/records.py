"""Small JSON objects that are read before a manifest vouches for them: anybody may have put them there."""

from collections.abc import Iterator
from typing import TypeVar

from pydantic import TypeAdapter

from padray.errors import InputError
from padray.store.artifacts import Folder, StoredObject, split_key
from padray.store.location import Location
from padray.store.roots import EVENTS
from padray.store.untrusted import parse_json

T = TypeVar("T")
MOST_RECORD = 1 << 20  # bytes
MOST_EVENTS = 64 << 20  # those of one write


def read_record(folder: Folder, item: StoredObject, model: TypeAdapter[T]) -> T:
    """A record with the fields and types of its model. Raises InputError if it is none."""
    if item.size > MOST_RECORD:
        raise refusal(folder, item)
    try:
        return _parsed(folder.get(item), model)
    except ValueError:
        raise refusal(folder, item) from None


def take_record(folder: Folder, key: str, model: TypeAdapter[T]) -> tuple[StoredObject, T] | None:
    """A record that no manifest lists, read once; None if it is torn or gone. Raises InputError if it is none."""
    taken = folder.take(key, MOST_RECORD)
    if taken is None:
        return None
    try:
        return taken[0], _parsed(taken[1], model)
    except ValueError:
        raise refusal(folder, taken[0]) from None


def read_events(location: Location, model: TypeAdapter[T]) -> Iterator[T]:
    """The events table, oldest first. Raises InputError if somebody else wrote into it."""
    folder = Folder(location, EVENTS, "")
    for key in sorted(folder.keys(), key=lambda key: split_key(key)[0].rsplit("-", 1)[-1]):
        if taken := folder.take(key, MOST_EVENTS):
            item, content = taken
            try:
                yield from [_parsed(line, model) for line in content.splitlines()]
            except ValueError:
                raise refusal(folder, item) from None


def _parsed(content: bytes, model: TypeAdapter[T]) -> T:
    """Raises ValueError, of which pydantic's ValidationError is one."""
    return model.validate_python(parse_json(content))


def refusal(folder: Folder, item: StoredObject) -> InputError:
    """What is said of a record that this padray cannot have written."""
    return InputError(
        f"{item.key} in {folder.location.uri} is not what padray writes there: delete it, then the same command again"
    )
