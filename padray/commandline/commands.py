"""What the commands do, apart from parsing and printing.

A command imports what it works with itself: PyTorch, Optuna, Matplotlib and Ray take seconds to load, and most commands
need some of them, or none.
"""

import shlex
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from padray import fingerprint
from padray.commandline.console import Console
from padray.commandline.inventory import existing
from padray.commandline.results import Description, SettingLine
from padray.config import Config
from padray.configuration import loading
from padray.configuration.arguments import Line
from padray.configuration.loading import Loaded
from padray.errors import INTERRUPTED, InputError
from padray.operations.heartbeat import Command, beating
from padray.stages.progress import Notify
from padray.store.cache import cached
from padray.store.location import Location, check_writable
from padray.store.opening import open_location

if TYPE_CHECKING:
    from padray.data.survey import SurveySummary
    from padray.exchange.outgoing import Exported
    from padray.exchange.received import Imported
    from padray.exchange.sets import ImportOptions
    from padray.operations.clusters import PreflightResult, Submitted
    from padray.planning import plan as planning
    from padray.planning.result import Plan
    from padray.stages.base import Context, Runner
    from padray.stages.summaries import RunResult, SearchResult
    from padray.studies.study import Asked, StudyTable


@dataclass(frozen=True)
class Request:
    """The common options of the commands that compute."""

    overrides: tuple[str, ...] = ()
    storage: str | None = None
    runner: str = "ray"
    fresh: bool = False
    space: str | None = None


def context(name: str, request: Request) -> "Context":
    """Everything that a computing command needs. Raises InputError for settings that cannot be used."""
    loaded = loading.load(name, request.overrides, request.space)
    from padray.stages.base import Context  # what cannot be used is refused without it

    location = _working(_location(request.storage, loaded.config), loaded.config)
    runner = runner_of(request.runner, loaded.config, location, loaded.name)
    return Context(loaded.name, loaded.config, location, runner, fresh=request.fresh, overrides=request.overrides)


def _location(storage: str | None, config: Config) -> Location:
    return open_location(config.storage.root if storage is None else storage)


def _working(location: Location, config: Config) -> Location:
    """A storage for a command that computes: what it reads goes through the cache, if there is to be one."""
    settings = config.storage
    return location if settings.cache is None else cached(location, settings.cache, settings.cache_gb)


def runner_of(name: str, config: Config, location: Location, run: str) -> "Runner":
    if name == "inline":
        from padray.stages.inline import InlineRunner

        return InlineRunner()
    if name == "ray":
        from padray.cluster.runner import RayRunner

        return RayRunner(config, location, run)
    raise InputError(f"--runner {name} is not known; there are ray and inline")


def run_chain(context: "Context", until: str, console: Console) -> "RunResult":
    """Run the chain up to a stage, or a search where the settings hold a space."""
    from padray.stages import pipeline

    with console.progress() as notify, _beating(context, until, notify) as context.notify:
        if context.config.search.space and until == "report":
            from padray.search import driver

            return driver.summary(context, driver.tune(context, until))
        outcome = pipeline.run(context, until)
    return pipeline.summary(context, outcome)


def _beating(context: "Context", command: str, notify: Notify) -> AbstractContextManager[Notify]:
    """Signs of life in the storage while a command of these settings goes on."""
    about = Command("run" if command == "report" else command, context.name, [context.config.model_dump(mode="json")])
    return beating(about, context.location, context.runner, notify, lambda: context.course)


def evaluate(names: list[str], request: Request, console: Console) -> "RunResult":
    """Evaluate what one configuration makes, or stored sets, all at once."""
    from padray.evaluation.summary import LabelledRow
    from padray.stages import sweep
    from padray.stages.summaries import RunResult, SetDigest

    location = existing(request.storage)
    stored = [name for name in names if sweep.is_set(name, location)]
    if not stored and len(names) == 1:
        try:
            asked = context(names[0], request)
        except loading.UnknownNameError as error:
            raise InputError(f"{error}; nor is a set in {location.uri} called so") from None
        return run_chain(asked, "evaluate", console)
    if request.fresh:
        raise InputError("--fresh goes with a configuration; what stored sets share is not forgotten")
    sets = [sweep.find(name, request.overrides, location) for name in names]
    location = _working(location, sets[0].config)
    runner = runner_of(request.runner, sets[0].config, location, ", ".join(names))
    about = Command("evaluate", ", ".join(names), request.overrides)
    with console.progress() as notify, beating(about, location, runner, notify) as hear:
        began = time.monotonic()
        tables = sweep.run(sets, location, runner, hear)
    seconds = {"evaluation": time.monotonic() - began}
    rows = [LabelledRow(**vars(row), set=label) for label, table in tables.items() for row in table]
    return RunResult(", ".join(names), {}, seconds, [], SetDigest(), rows, None)


def tune(context: "Context", console: Console, money: float | None = None, price: str | None = None) -> "SearchResult":
    """Search, then prove the chosen settings beside the defaults.

    Args:
        money: after which no trial is begun.
        price: of an hour of each node, or a price table's file.

    Raises:
        InputError: settings that cannot be searched, or a limit that cannot be one.
    """
    from padray.commandline import spending
    from padray.search import driver

    context.limits = spending.limits(context, money, price)
    with console.progress() as notify, _beating(context, "tune", notify) as context.notify:
        return driver.summary(context, driver.tune(context))


def make_study(asked: "Asked", request: Request, console: Console) -> "StudyTable":
    """Make a study's table. Raises InputError for a study that cannot be made."""
    from padray.stages.base import Context
    from padray.studies import study as studies

    parts = studies.prepare(asked)
    config = next((cell.config for cell in parts[2] if cell.config), None)
    if config is None:
        raise InputError(f"{asked.path}: no cell of this study is available")
    location = _working(_location(request.storage, config), config)
    runner = runner_of(request.runner, config, location, asked.name)
    about = Command("study", asked.name, [repr(asked)])
    with console.progress() as notify, beating(about, location, runner, notify) as hear:
        context = Context(asked.name, config, location, runner, hear)
        return studies.run(context, asked, parts)


def import_artifact(
    source: str, kind: str, name: str, options: "ImportOptions", request: Request, console: Console
) -> "Imported":
    """Import a set or experts of others by the settings `name`."""
    from padray.exchange import incoming

    where = context(name, request)
    with console.progress() as where.notify:
        return incoming.import_artifact(where, source, kind, options)


def export(name: str, layout: str, destination: str, storage: str | None, measure: bool = False) -> "Exported":
    """Export a stored set; `measure`: say what 8 bits cost."""
    from padray.exchange import outgoing
    from padray.stages import sweep

    location = existing(storage)
    return outgoing.export_set(location, sweep.named(name, location), layout, destination, measure)


def submit(line: Line, address: str, variables: tuple[str, ...], console: Console | None) -> "Submitted":
    """Send a command to a cluster, unless it is at it already, and follow it.

    Args:
        console: where the job's log goes; without one the job is not followed.
    """
    from padray.cluster import submit as jobs
    from padray.cluster.package import of_line
    from padray.operations.clusters import Submitted

    work = of_line(line, variables)
    cluster = jobs.Cluster(address)
    running = cluster.running(work)
    job = running or cluster.submit(work)
    files = f"{len(work.files)} file{'s' * (len(work.files) != 1)}, {work.size:,} bytes"
    how = "runs already" if running else f"sent with {files}"
    submitted = Submitted(
        job=job,
        address=cluster.address,
        entrypoint=work.entrypoint,
        metadata=work.metadata,
        uploaded_bytes=0 if running else work.size,
        status="RUNNING" if running else "SUBMITTED",
        exit_code=None,
        message="; ".join(filter(None, (cluster.note, how))),
        log_tail=[],
        follow=cluster.commands(job).follow,
        stop=cluster.commands(job).stop,
    )
    if console is None:
        return submitted
    console.log(f"{cluster.note}\n" * bool(cluster.note) + f"job {job} at {cluster.address}: {how}\n")
    try:
        return submitted.at(cluster.follow(job, console.log))
    except KeyboardInterrupt:
        return replace(submitted, exit_code=INTERRUPTED)


def preflight(storage: str | None, address: str | None, variables: tuple[str, ...]) -> "PreflightResult":
    """Ask every node of a cluster whether it can work.

    Args:
        address: a cluster's dashboard, where this is a job, or as for RAY_ADDRESS; None: the cluster there, or here.
        variables: environment variables for the job.
    """
    if address is not None and "://" in address and not address.startswith("ray://"):
        from padray.cluster import submit as jobs

        return jobs.preflight(address, storage, variables)
    if variables:
        raise InputError("--env goes with a dashboard's address, such as http://HOST:8265")
    location = existing(storage)
    check_writable(location)
    from padray.cluster import session

    session.connect(address)
    from padray.cluster import preflight as flight

    return flight.summary(flight.check(location), location)


def init_config(
    path: str, to: str | None, ipc: int, budget: str, overrides: tuple[str, ...], console: Console
) -> "SurveySummary":
    """Write settings for a dataset of one's own. Raises InputError."""
    from padray.data import survey
    from padray.recipe import budget as budgets
    from padray.recipe import description, sizing
    from padray.recipe import text as recipe
    from padray.search import spaces

    asked, known = budgets.budget(budget), recipe.known(overrides)
    surveyed = survey.look(path, known)
    file = recipe.named(surveyed, to)
    with console.progress() as notify:
        fitted = sizing.fit(surveyed, ipc, asked, partial(budgets.measure, notify=notify))
    recipe.write(fitted, file)
    typed, space = shlex.quote(file), spaces.write(file)
    searching = [f"padray tune {typed} --space {shlex.quote(space)}"] if space else []
    steps = [f"padray plan {typed} --calibrate", f"padray run {typed}", *searching]
    words = description.samples(surveyed), description.remarks(fitted.plan)
    return surveyed.summary(*words, file, recipe.sized(fitted), steps)


def plan(name: str, request: Request, asked: "planning.Asked", console: Console) -> "Plan":
    """What a run would take. Raises InputError as the run would before its first unit."""
    from padray.planning import plan as planning
    from padray.stages.base import Context
    from padray.stages.inline import InlineRunner

    loaded = loading.load(name, request.overrides, request.space)
    location = _location(request.storage, loaded.config)  # without the cache, which is written to
    context = Context(loaded.name, loaded.config, location, InlineRunner(), overrides=request.overrides)
    with console.progress() as context.notify:
        return planning.plan(context, asked)


def describe_config(name: str, overrides: tuple[str, ...]) -> Description:
    """Every setting with its value and origin, and the fingerprints of the stages."""
    from padray.data.sources import source_digest

    loaded = loading.load(name, overrides)
    rows = [SettingLine(key, value, _origin(loaded, key)) for key, value in loading.effective(loaded.config)]
    try:
        chain = fingerprint.chain(loaded.config, source_digest(loaded.config.data))
        folders = {stage: identity.folder for stage, identity in chain.items()}
    except InputError as error:  # the data may lie elsewhere; the settings can be shown all the same
        folders = {"data": f"not known here: {error}"}
    return Description(loaded.name, rows, folders)


def _origin(loaded: Loaded, key: str) -> str:
    return next(
        (origin for set_key, origin in loaded.origins.items() if f"{key}.".startswith(f"{set_key}.")), "default"
    )
