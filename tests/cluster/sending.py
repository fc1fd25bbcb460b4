"""Command lines as `padray submit` takes them."""

import typer

from padray.cluster import work
from padray.cluster.work import Work
from padray.commandline import cli
from padray.configuration import lines

NOWHERE = "http://127.0.0.1:9"
SPACE = "distill.lr_images: {type: float, low: 0.3, high: 30.0, log: true}\n"


def sent(*words: object, variables: tuple[str, ...] = ()) -> Work:
    """The job for `padray submit WORDS`."""
    return work.of_line(lines.parse(typer.main.get_command(cli.app), tuple(map(str, words))), variables)
