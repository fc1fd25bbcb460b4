"""The arguments and options that several commands have in common."""

from typing import Annotated

import typer

ConfigName = Annotated[str, typer.Argument(metavar="CONFIG", help="A preset's name, or a YAML file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="K=V", help="Override a setting; repeatable.")]
Identifier = Annotated[str, typer.Argument(metavar="ID", help="The start of a folder, name or fingerprint.")]
Storage = Annotated[str | None, typer.Option("--storage", metavar="URI", help="Folder or s3:// URI (default ./runs).")]
RunnerName = Annotated[
    str, typer.Option("--runner", metavar="ray|inline", help="On Ray (local, or at RAY_ADDRESS), or in this process.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")]
Env = Annotated[
    list[str] | None, typer.Option("--env", metavar="NAME[=VALUE]", help="A variable for the job; repeatable.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget what the stages have and start anew.")]
Money = Annotated[float | None, typer.Option("--money", metavar="M", help="No trial after so much; with --price.")]
NodePrice = Annotated[
    str | None, typer.Option("--price", "--prices", metavar="PER_HOUR|FILE", help="Of each node, or a table.")
]
