"""What every job script does: one command of padray inside a Ray job, with paths that mean the same everywhere.

`padray submit` needs no script: `python -m padray.commandline.job COMMAND …` does the same where only the package is
installed.
"""

import sys

from padray.configuration.paths import check_paths


def main(command: str) -> None:
    """Run `padray <command>` with the job's arguments on the cluster that the job runs in."""
    from padray.commandline import cli

    arguments = sys.argv[1:]
    sys.argv = ["padray", command, *arguments]
    cli.main(lambda: None if {"-h", "--help"} & set(arguments) else check_paths(arguments))


if __name__ == "__main__":
    main(sys.argv.pop(1))
