"""`padray` in processes that start at once: each is forked from one that has imported it and has done nothing yet."""

import multiprocessing
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    ["padray.commandline.cli", "padray.commandline.commands", "padray.stages.pipeline", "sklearn.datasets"]
)


class Ended(NamedTuple):
    """How a process ended: its exit code, or minus the signal that killed it, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def padray(folder: Path, *arguments: object, environment: Mapping[str, str], timeout: float = 300.0) -> Ended:
    """A command in a process of its own; `folder` takes what it says."""
    told = [folder / name for name in ("stdout.txt", "stderr.txt")]
    process = _SERVER.Process(target=_command, args=(list(map(str, arguments)), dict(environment), told))
    process.start()
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"{arguments} did not end in {timeout:.0f} s: {told[1].read_text()}")
    return Ended(process.exitcode, *(path.read_text() for path in told))


def _command(arguments: list[str], environment: dict[str, str], told: list[Path]) -> None:
    from padray.commandline import cli

    for number, path in enumerate(told, start=1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["padray", *arguments]
    cli.main()
