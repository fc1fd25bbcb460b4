"""Files that settings name, and the digests of their bytes: workers need no file to know which one is meant."""

import hashlib
from typing import NamedTuple

from padray.config import Config
from padray.errors import InputError
from padray.machine.files import open_file, reason, shown


class NamedFile(NamedTuple):
    """A section, its settings for the file and for its digest, and what the file holds."""

    section: str
    path: str
    digest: str
    what: str

    def path_of(self, config: Config) -> str | None:
        """What the settings name."""
        path: str | None = getattr(getattr(config, self.section), self.path)
        return path


NAMED_FILES = (
    NamedFile("scores", "path", "digest", "ranking"),
    NamedFile("schedule", "keep_list", "keep_digest", "keep-list"),
)


def with_digests(config: Config) -> Config:
    """With the digests of the files' bytes. A file that is not here must have its digest among the settings.

    Raises:
        InputError: a file cannot be read, or is another one than its digest says.
    """
    for one in NAMED_FILES:
        path, section = one.path_of(config), getattr(config, one.section)
        if path is not None:
            update = {one.digest: _digest(one, path, getattr(section, one.digest))}
            config = config.model_copy(update={one.section: section.model_copy(update=update)})
    return config


def _digest(one: NamedFile, path: str, said: str | None) -> str:
    setting = f"{one.section}.{one.path}"
    try:
        with open_file(path) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        if said is not None:  # then it may be stored already; the stage that reads it says so if it is not
            return said
        raise InputError(f"{setting}: cannot read the {one.what} {shown(path)}: {reason(error)}") from None
    if said not in (None, digest):
        raise InputError(
            f"{setting}: {shown(path)} is not the {one.what} that {one.section}.{one.digest} means (its SHA-256 is "
            f"{digest}); leave {one.section}.{one.digest} out, or give that file"
        )
    return digest
