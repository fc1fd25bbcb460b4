"""`padray …`: parse, call one stage, print one table. No logic lives here."""

import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

import typer

from padray import __version__
from padray.commandline import examples, options, stdout
from padray.commandline.console import Console
from padray.commandline.options import ConfigName, Env, Fresh, Identifier, Json, Overrides, RunnerName, Storage
from padray.configuration.paths import check_text
from padray.errors import INTERRUPTED, InputError, Interrupted, WorkError
from padray.exchange.targets import LAYOUTS
from padray.machine import interruption

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Distil a labelled dataset into a few synthetic samples per class, with the proof.",
)
config_app = typer.Typer(no_args_is_help=True, help="What will run, and where each value came from.")
app.add_typer(config_app, name="config")


def _stage(until: str, description: str, *, only: bool = False) -> None:
    """Add the command that runs the chain up to a stage."""

    def command(
        config: ConfigName,
        overrides: Overrides = None,
        storage: Storage = None,
        runner: RunnerName = "ray",
        fresh: Fresh = False,
        as_json: Json = False,
    ) -> None:
        from padray.commandline import commands

        console = Console(as_json)
        request = commands.Request(tuple(overrides or ()), storage, runner, fresh)
        console.result(commands.run_chain(commands.context(config, request), until, console))

    app.command(name="run" if not only else until, help=description)(command)


_stage("report", "The whole chain, whatever is missing: data, scores, experts, distil, evaluate, report.")
_stage("data", "Read the dataset and store it with its splits and preprocessing.", only=True)
_stage("scores", "Score how hard every training sample is (and what that needs).", only=True)
_stage("experts", "Train the experts and store their snapshots (and what that needs).", only=True)
_stage("distill", "Distil the synthetic set (and what that needs).", only=True)
_stage("report", "Write the report page (and what that needs).", only=True)


@app.command("evaluate")
def evaluate(
    names: Annotated[list[str], typer.Argument(metavar="CONFIG|SET...", help="A configuration, or stored sets.")],
    overrides: Overrides = None,
    storage: Storage = None,
    runner: RunnerName = "ray",
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Train fresh networks on the set, or on several stored sets, and test them beside the controls."""
    from padray.commandline import commands

    console, request = Console(as_json), commands.Request(tuple(overrides or ()), storage, runner, fresh)
    console.result(commands.evaluate(names, request, console))


@app.command("tune")
def tune(
    config: ConfigName,
    space: Annotated[str | None, typer.Option("--space", metavar="FILE", help="A search space.")] = None,
    money: options.Money = None,
    price: options.NodePrice = None,
    overrides: Overrides = None,
    storage: Storage = None,
    runner: RunnerName = "ray",
    fresh: Fresh = False,
    as_json: Json = False,
) -> None:
    """Search the settings, write best.yaml, prove it beside the defaults; those stay unless it is clearly better."""
    from padray.commandline import commands

    console, request = Console(as_json), commands.Request(tuple(overrides or ()), storage, runner, fresh, space)
    console.result(commands.tune(commands.context(config, request), console, money, price))


@app.command("study")
def study(
    path: Annotated[str, typer.Argument(metavar="FILE", help="A study, e.g. search_spaces/study_table3b.yaml.")],
    profile: Annotated[str, typer.Option("--profile", help="A size of the study; small fits 2 CPU cores.")] = "full",
    validation: Annotated[
        float | None,
        typer.Option("--validation", metavar="SHARE", help="Of the data, to choose iterates on."),
    ] = None,
    overrides: Overrides = None,
    storage: Storage = None,
    runner: RunnerName = "ray",
    as_json: Json = False,
) -> None:
    """Make a table of a paper: its grid of cells, with the printed numbers beside ours."""
    from padray.commandline import commands
    from padray.studies.grid import Changes
    from padray.studies.study import Asked

    console, changes = Console(as_json), Changes(tuple(overrides or ()), validation)
    request = commands.Request(changes.overrides, storage, runner)
    table = commands.make_study(Asked(path, profile, changes), request, console)
    console.study(table)
    if table.summary.failed:
        raise typer.Exit(WorkError.exit_code)


@app.command("export")
def export(
    name: Annotated[str, typer.Argument(metavar="SET", help="A stored set: the start of its folder or name.")],
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A folder that is new or empty.")],
    layout: Annotated[str, typer.Option("--to", metavar="|".join(LAYOUTS), help="The layout.")],
    measure: Annotated[
        bool, typer.Option("--measure", help="Train the run's networks on what is written, to say what 8 bits cost.")
    ] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Write a set as others read it, with a program that trains on it."""
    from padray.commandline import commands

    Console(as_json).exported(commands.export(name, layout, destination, storage, measure))


@app.command("import")
def import_(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A folder, or a .pt file in it.")],
    kind: Annotated[str, typer.Option("--from", metavar="pt|mtt-buffer", help="A distilled set, or experts.")],
    config: Annotated[str, typer.Option("--config", help="Settings that say which dataset, whitening and network.")],
    overrides: Overrides = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="logits|probabilities", help="What labels that are numbers are.")
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="The learned learning rate, where no file holds it.")] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Store a set, or experts, that others made."""
    from padray.commandline import commands
    from padray.exchange.sets import ImportOptions

    console, request = Console(as_json), commands.Request(tuple(overrides or ()), storage, "inline")
    console.imported(commands.import_artifact(source, kind, config, ImportOptions(labels, lr), request, console))


@app.command("submit", context_settings={"ignore_unknown_options": True})
def submit(
    line: Annotated[list[str], typer.Argument(metavar="COMMAND ...", help="run, tune, study …, as typed without Ray.")],
    address: Annotated[str, typer.Option("--address", metavar="URL", help="The cluster's dashboard.")],
    variables: Env = None,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not follow the job.")] = False,
    as_json: Json = False,
) -> None:
    """A command that computes as a Ray job on a cluster; its log is followed, its exit code is this one's."""
    from padray.commandline import commands
    from padray.configuration import arguments

    console, asked = Console(as_json), arguments.parse(typer.main.get_command(app), tuple(line))
    job = commands.submit(asked, address, tuple(variables or ()), None if no_wait else console)
    console.submitted(job)
    if job.exit_code:
        sys.exit(job.exit_code)


@app.command("preflight")
def preflight(
    address: Annotated[str | None, typer.Option("--address", help="Its dashboard, or as RAY_ADDRESS.")] = None,
    storage: Storage = None,
    variables: Env = None,
    as_json: Json = False,
) -> None:
    """Ask every node that is up whether it can work: versions, devices, storage, memory, clock; exit code 3 if not."""
    from padray.commandline import commands

    Console(as_json).preflight(result := commands.preflight(storage, address, tuple(variables or ())))
    if result.problems:
        sys.exit(WorkError.exit_code)


@app.command("init-config")
def init_config(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A dataset's folder, or its CSV or Parquet file.")],
    to: Annotated[str | None, typer.Option("--to", metavar="FILE", help="A new file (default NAME.yaml).")] = None,
    ipc: Annotated[int, typer.Option("--ipc", metavar="N", help="Synthetic samples per class.")] = 1,
    budget: Annotated[
        str, typer.Option("--budget", metavar="TIME", help="How long a run may take here: 10m, 1h, 8h.")
    ] = "30m",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="data.K=V", help="What to know of the data; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at a dataset of one's own and write settings for it, with comments; nothing is overwritten."""
    from padray.commandline import commands

    console = Console(as_json)
    console.surveyed(commands.init_config(path, to, ipc, budget, tuple(overrides or ()), console))


@app.command("plan")
def plan(
    config: ConfigName,
    overrides: Overrides = None,
    space: Annotated[str | None, typer.Option("--space", metavar="FILE", help="A search space.")] = None,
    storage: Storage = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="Measure here what was never run.")] = False,
    price: Annotated[
        str | None, typer.Option("--price", "--prices", metavar="PER_HOUR|FILE", help="Of one device, or a table.")
    ] = None,
    nodes: Annotated[int | None, typer.Option("--nodes", metavar="N", help="Wall hours on so many nodes.")] = None,
    as_json: Json = False,
) -> None:
    """What a run would take: units, what of them is there, hours, bytes, memory, money. Runs and writes nothing."""
    from padray.commandline import commands
    from padray.planning.plan import Asked

    console = Console(as_json)
    request = commands.Request(tuple(overrides or ()), storage, "inline", space=space)
    console.plan(commands.plan(config, request, Asked(calibrate, price, nodes), console))


@config_app.command("show")
def config_show(config: ConfigName, overrides: Overrides = None, as_json: Json = False) -> None:
    """Every setting with its origin, and the fingerprints."""
    from padray.commandline import commands

    Console(as_json).settings(commands.describe_config(config, tuple(overrides or ())))


@app.command("ls")
def ls(storage: Storage = None, as_json: Json = False) -> None:
    """What the storage root holds."""
    from padray.commandline import inventory

    Console(as_json).artifacts(inventory.list_artifacts(storage))


@app.command("show")
def show(identifier: Identifier, storage: Storage = None, as_json: Json = False) -> None:
    """One artefact: how it was made, from what, and what it holds."""
    from padray.commandline import inventory

    Console(as_json).artifact(inventory.show_artifact(identifier, storage))


@app.command("status")
def status(storage: Storage = None, as_json: Json = False) -> None:
    """How far unfinished work is, and what every stage has taken so far."""
    from padray.commandline import inventory

    Console(as_json).status(inventory.status(storage))


@app.command("verify")
def verify(
    identifier: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One artefact: the start of its folder, name or fingerprint.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Remove what is wrong, so that it is made again.")] = False,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="AGE", help="Nothing younger; unfinished work too. E.g. 7d.")
    ] = None,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Check every stored object; exit code 3 while something is wrong."""
    from padray.commandline import inventory

    console = Console(as_json)
    verified = inventory.verify(identifier, repair, older_than, storage, console)
    console.verified(verified)
    if verified.wrong:
        sys.exit(WorkError.exit_code)


@app.command("rm")
def rm(
    identifier: Identifier,
    force: Annotated[bool, typer.Option("--force", help="Even if others were made from it.")] = False,
    storage: Storage = None,
    as_json: Json = False,
) -> None:
    """Remove one artefact, unless others were made from it."""
    from padray.commandline import inventory

    Console(as_json).removed(inventory.remove(identifier, force, storage))


@app.command("du")
def du(storage: Storage = None, as_json: Json = False) -> None:
    """How many bytes lie where, the largest first."""
    from padray.commandline import inventory

    Console(as_json).usage(inventory.usage(storage))


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"padray {__version__}")


examples.put_below(app)


def main(check: Callable[[], None] | None = None) -> None:
    """The entry point: errors become one sentence and an exit code. `check` may refuse the arguments first."""
    as_json = "--json" in sys.argv[1:]
    with interruption.listening(), stdout.for_the_result() if as_json else nullcontext():
        _main(Console(as_json), check)


def _main(console: Console, check: Callable[[], None] | None) -> None:
    try:
        check_text(sys.argv[1:])
        if check:
            check()
        code = app(standalone_mode=False)  # or typer prints its own errors, in boxes
        if code == INTERRUPTED:  # what typer makes of Control-C inside a command
            raise KeyboardInterrupt
        if code:
            sys.exit(code)
    except typer.TyperException as error:  # the command line itself; without a text it was help that was printed
        if sentence := error.format_message():
            console.error(f"{sentence.rstrip('.')}; `padray -h` and `padray COMMAND -h` tell more")
        sys.exit(error.exit_code)
    except (InputError, WorkError) as error:
        console.error(str(error))
        sys.exit(error.exit_code)
    except Interrupted as error:
        console.error(str(error))
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        console.error("interrupted; everything finished is kept, and the same command makes the rest")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
