"""What every job script does: one command of padray inside a Ray job, with paths that mean the same everywhere."""

import sys
from pathlib import Path

from padray.errors import InputError


def check_paths(arguments: list[str]) -> None:
    """Refuse relative paths: a job's working directory is a temporary copy. Raises InputError."""
    storage = _value(arguments, "--storage")
    if storage is None:
        raise InputError("a job needs --storage: an absolute folder that all nodes see, or s3://bucket/prefix")
    values = [("--storage", storage)]
    for key in ("data.path", "scores.path", "storage.root"):
        values += _overrides(arguments, key)
    for name, value in values:
        if "://" not in value and not Path(value).is_absolute():
            raise InputError(f"{name} {value} is relative, which means nothing in a job; give an absolute path")


def _value(arguments: list[str], option: str) -> str | None:
    for place, argument in enumerate(arguments):
        if argument == option and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
    return None


def _overrides(arguments: list[str], key: str) -> list[tuple[str, str]]:
    found = [argument.removeprefix("--set=") for argument in arguments]
    return [(f"--set {key}", text.partition("=")[2]) for text in found if text.startswith(f"{key}=")]


def main(command: str) -> None:
    """Run `padray <command>` with the job's arguments on the cluster that the job runs in."""
    from padray import cli

    arguments = sys.argv[1:]
    sys.argv = ["padray", command, *arguments]
    cli.main(lambda: None if {"-h", "--help"} & set(arguments) else check_paths(arguments))
