"""Small JSON objects that are read before a manifest vouches for them: anybody may have put them there."""

from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from padray.errors import InputError
from padray.store.artifacts import Folder, StoredObject

T = TypeVar("T")


def read_record(folder: Folder, item: StoredObject, model: TypeAdapter[T]) -> T:
    """A record with the fields and types of its model. Raises InputError if it is none."""
    try:
        return model.validate_json(folder.get(item))
    except ValidationError:
        raise refusal(folder, item) from None


def refusal(folder: Folder, item: StoredObject) -> InputError:
    """What is said of a record that this padray cannot have written."""
    return InputError(
        f"{item.key} in {folder.location.uri} is not what padray writes there: delete it, then the same command again"
    )
