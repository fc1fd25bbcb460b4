"""Command lines as `padray submit` takes them."""

import typer

from padray.cluster import package
from padray.cluster.package import Work
from padray.commandline import cli
from padray.configuration import arguments

NOWHERE = "http://127.0.0.1:9"
SPACE = "distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}\n"


def sent(*words: object, variables: tuple[str, ...] = ()) -> Work:
    """The job for `padray submit WORDS`."""
    return package.of_line(arguments.parse(typer.main.get_command(cli.app), tuple(map(str, words))), variables)
