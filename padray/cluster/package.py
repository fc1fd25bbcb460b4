"""What a job takes with it: its command line, and its files in a working directory made for them.

Never a folder of the user's: settings, a space or a study file travel alone, and no more than MOST_BYTES. padray and
the data are on the nodes already. Of this process's environment nothing travels but the variables that the user names,
and none that is a secret (see session.py).
"""

import hashlib
import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from padray import __version__
from padray.cluster import session
from padray.configuration import loading
from padray.configuration.arguments import Line
from padray.configuration.paths import check_paths, check_settings
from padray.errors import InputError
from padray.search import driver as search
from padray.stages import pipeline
from padray.studies import study
from padray.studies.grid import Changes
from padray.studies.study import Asked

MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Work:
    """What a job is to do: `arguments` as padray takes them, files by their name in the working directory."""

    command: str
    config: str
    arguments: tuple[str, ...]
    files: dict[str, Path]
    variables: dict[str, str]

    @property
    def entrypoint(self) -> str:
        """The job's command line: the package that is installed on the cluster, no checkout."""
        return shlex.join(["python", "-m", "padray.commandline.job", self.command, *self.arguments])

    @property
    def size(self) -> int:
        """The bytes of the working directory."""
        return sum(path.stat().st_size for path in self.files.values())

    @property
    def metadata(self) -> dict[str, str]:
        """What Ray's dashboard shows beside the job. Equal digests: the same work, from the same files."""
        content = [self.entrypoint, sorted(self.variables.items())]
        content += [hashlib.sha256(path.read_bytes()).hexdigest() for _, path in sorted(self.files.items())]
        digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        return {"padray": __version__, "command": self.command, "config": self.config, "digest": digest}


def of_line(line: Line, variables: tuple[str, ...]) -> Work:
    """The job for a command line.

    Args:
        variables: environment variables for the job, NAME=VALUE, or NAME with its value from this process.

    Raises:
        InputError: settings or a study that do not hold, a path that is relative, files that are too large to travel,
            a variable that is a secret or not there.
    """
    given = given_variables(variables)
    options = [f"--storage={line.storage}"] if line.storage is not None else []
    options += [f"--set={override}" for override in line.overrides] + list(line.others)
    check_paths(line.storage, line.overrides)
    files: dict[str, Path] = {}
    label, names = _study(line, files) if line.command == "study" else _configured(line, files, options)
    if line.space is not None:
        names = [*names, "--space", _carried(files, "space", line.space)]
    if line.price is not None:
        is_file = line.price.endswith((".yaml", ".yml"))
        names = [*names, "--price", _carried(files, "prices", line.price) if is_file else line.price]
    work = Work(line.command, label, (*names, *options), files, given)
    if work.size > MOST_BYTES:
        raise InputError(
            f"the files of this job have {work.size:,} bytes, and no more than {MOST_BYTES:,} travel with a job: "
            f"{', '.join(map(str, files.values()))}"
        )
    return work


def _configured(line: Line, files: dict[str, Path], options: list[str]) -> tuple[str, list[str]]:
    """The configuration's name and its place in the job; stored sets, which only the cluster sees, as they are.

    What a search starts from is added to the options as values: files that are named there do not travel.
    """
    name = line.names[0]
    is_file, is_preset = name.endswith((".yaml", ".yml")), name in loading.preset_names()
    if line.command == "evaluate" and (len(line.names) > 1 or not (is_file or is_preset)):
        return ", ".join(line.names), list(line.names)
    loaded = loading.settings_of(name, line.overrides, line.space)
    check_settings(loaded.config)
    pipeline.check(loaded.config)
    if loaded.config.search.start:
        options.append(f"--set=search.start={json.dumps(loaded.config.search.start)}")
    if line.command == "tune":
        search.check(loaded.config)
    return loaded.name, [name if is_preset else _carried(files, "settings", name)]


def _study(line: Line, files: dict[str, Path]) -> tuple[str, list[str]]:
    asked = Asked(line.names[0], line.options["profile"], Changes(line.overrides, line.options["validation"]))
    for cell in study.prepare(asked)[2]:
        if cell.config:
            check_settings(cell.config)
    return asked.name, [_carried(files, "study", asked.path)]


def _carried(files: dict[str, Path], folder: str, path: str) -> str:
    """Take a file along, alone; its place in the working directory."""
    place = f"{folder}/{Path(path).name}"
    files[place] = Path(path)
    return place


def given_variables(variables: tuple[str, ...]) -> dict[str, str]:
    """A job's environment, of NAME=VALUE and NAME. Raises InputError for what is not set here, and for secrets."""
    given = {}
    for variable in variables:
        name, equals, value = variable.partition("=")
        if not name or not (equals or name in os.environ):
            raise InputError(f"--env {variable}: write it as NAME=VALUE, or NAME for a variable that is set here")
        given[name] = value if equals else os.environ[name]
    session.refuse_secrets(given, "--env")
    return given
