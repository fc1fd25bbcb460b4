"""What a command line may hold: text, and for a job on a cluster paths that mean the same everywhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from padray.errors import InputError
from padray.machine.files import is_utf8, shown

if TYPE_CHECKING:
    from padray.config import Config  # the settings' models take a while; a command line does not need them

_PATHS = ("data.path", "scores.path", "schedule.keep_list", "storage.root", "storage.cache", "storage.tensorboard")


def check_text(arguments: list[str]) -> None:
    """Refuse arguments that are no text: nothing could store or print them. Raises InputError."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        if not is_utf8(argument):
            option = f"{before} " if before.startswith("--") and "=" not in before else ""
            raise InputError(f"{option}{shown(argument)}: an argument must be text in UTF-8, names of files too")


def check_paths(storage: str | None, overrides: Sequence[str]) -> None:
    """Refuse relative paths: a job's working directory is a temporary copy. Raises InputError.

    Args:
        storage, overrides: what `--storage` and every `--set` say.
    """
    if storage is None:
        raise InputError("a job needs --storage: an absolute folder that all nodes see, or s3://bucket/prefix")
    _refuse_relative("--storage", storage)
    for override in overrides:
        key, _, value = override.partition("=")
        if key in _PATHS:
            _refuse_relative(f"--set {key}", value)


def check_settings(config: "Config") -> None:
    """The same for what a settings file says; its storage.root yields to --storage. Raises InputError."""
    named = {
        "data.path": config.data.path,
        "scores.path": config.scores.path,
        "schedule.keep_list": config.schedule.keep_list,
        "storage.cache": config.storage.cache,
        "storage.tensorboard": config.storage.tensorboard,
    }
    for name, value in named.items():
        if value is not None:
            _refuse_relative(name, value)


def _refuse_relative(name: str, value: str) -> None:
    if "://" not in value and not Path(value).is_absolute():
        raise InputError(f"{name} {value} is relative, which means nothing in a job; give an absolute path")
