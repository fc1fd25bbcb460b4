"""What every job script does: one command of padray inside a Ray job, with paths that mean the same everywhere.

`padray submit` needs no script: `python -m padray.commandline.job COMMAND …` does the same where only the package is
installed.
"""

import sys

import typer

from padray.configuration.arguments import parameters
from padray.configuration.paths import check_paths


def main(command: str) -> None:
    """Run `padray <command>` with the job's arguments on the cluster that the job runs in."""
    from padray.commandline import cli

    arguments = sys.argv[1:]
    sys.argv = ["padray", command, *arguments]
    cli.main(lambda: check(command, arguments))


def check(command: str, arguments: list[str]) -> None:
    """Refuse what means nothing in a job. Raises InputError, and typer its own errors for what it cannot read."""
    from padray.commandline import cli

    if not {"-h", "--help"} & set(arguments):
        given = parameters(typer.main.get_command(cli.app), command, arguments)
        check_paths(given.get("storage"), given.get("overrides") or ())


if __name__ == "__main__":
    main(sys.argv.pop(1))
