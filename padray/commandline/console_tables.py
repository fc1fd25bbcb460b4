"""Tables for the terminal: what runs and who works on what, what nodes can do, what was reached."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.table import Table

from padray.commandline.results import Artifact, ArtifactLine
from padray.evaluation.summary import LabelledRow, Row, Spread, percent, shows_balanced
from padray.machine.files import shown
from padray.operations.clusters import AnsweredLine, NodeLine, PreflightResult, WorkingLine
from padray.stages.progress import UNITS, duration, said

if TYPE_CHECKING:
    from padray.operations.status import Run, Taken, Unfinished

_SILENT = "nothing since then: killed, or its machine is gone"


def rate(per_second: float | None) -> str:
    """`12.0 /min`, in the unit in which it is not below one, if there is such."""
    if per_second is None:
        return ""
    unit, size = next(((unit, size) for unit, size in (("s", 1), ("min", 60)) if per_second * size >= 1), ("h", 3600))
    return f"{per_second * size:.1f} /{unit}"


def of_runs(runs: "Sequence[Run]") -> Iterator[Table]:
    """A table for each run: its stages, and its workers while it goes on."""
    for run in runs:
        stages = Table("stage", "done", "rate", "left", "says", title=_title(run))
        for stage in run.stages:
            goes_on = run.state == "running" and stage.done < stage.total
            left = duration(stage.left_s) if goes_on and stage.left_s is not None else ""
            done = f"{stage.done:,} of {stage.total:,}"
            stages.add_row(stage.stage, done, rate(stage.rate) if goes_on else "", left, stage.text)
        yield stages
        if run.running and run.state == "running":
            yield _workers(run)


def _title(run: "Run") -> str:
    what, age = f"{run.command} {run.run} on {run.host}", f"{duration(run.age_s)} ago"
    if run.state == "stopped":
        return f"{what}: stopped{_where(run)} {age} ({run.end}); the same command goes on"
    if run.state == "silent":
        return f"{what}: last sign of life {age}{_where(run)}, {_SILENT}; the same command goes on"
    ahead = f"; {run.ahead}" * bool(str(run.ahead))
    return f"{what}: running for {duration(run.seconds)}{ahead}, last sign of life {age}"


def _where(run: "Run") -> str:
    """` at iteration 430 of 2,000`, of the stage that was not done; empty where there is none."""
    stage = next((stage for stage in reversed(run.stages) if stage.done < stage.total), None)
    return f" at {UNITS.get(stage.stage, stage.stage)} {stage.done:,} of {stage.total:,}" if stage else ""


def _workers(run: "Run") -> Table:
    more = run.workers - len(run.running)
    heading = run.summary or "at work"
    heading += f"; {more} more are not shown" if more > 0 else ""
    workers = Table("works on", "for", "at", "node", title=heading)
    for each in run.running:
        workers.add_row(each.unit, duration(each.seconds), said(each.steps), each.node)
    return workers


def of_unfinished(lines: "Sequence[Unfinished]") -> Table:
    """Artefacts without a manifest, and what they have."""
    rows = Table("stage", "artefact", "objects", "last", "written", title="unfinished")
    for line in lines:
        objects = ", ".join(f"{count} {kind}" for kind, count in sorted(line.objects.items()))
        rows.add_row(line.stage, line.artifact, objects, line.last, f"{duration(line.idle_s)} ago")
    return rows


def of_stages(lines: "Sequence[Taken]") -> Table:
    """What the stages have taken."""
    rows = Table("stage", "units", "time", "lost", "hosts", title="what the work took")
    for line in lines:
        rows.add_row(line.stage, str(line.units), duration(line.seconds), str(line.lost), str(line.hosts))
    return rows


def of_nodes(result: PreflightResult) -> Table:
    """What every node of a preflight can do."""
    heading = f"nodes and the storage {result.storage}"
    table = Table("node", "type", "versions", "devices", "writes", "reads", "free", "clock", "", title=heading)
    for line in result.nodes:
        table.add_row(line.node, line.type, *_of_node(line, result.driver))
    return table


def _of_node(line: NodeLine, driver: Mapping[str, str]) -> list[str]:
    if not isinstance(line, AnsweredLine):
        return [*[""] * 6, "no answer"]
    others = [f"{what} {has}" for what, has in line.versions.items() if driver.get(what) != has]
    devices = [f"{name}{' cannot be used' * bool(problem)}" for name, problem in line.devices.items()]
    speeds = ["-", "-"]
    if isinstance(line, WorkingLine):
        speeds = [f"{speed:.0f} MB/s" for speed in (line.write_mb_s, line.read_mb_s)]
    memory = "" if line.memory_bytes is None else f"{line.memory_bytes / 2**30:.1f} GiB"
    ends = f"{len(line.problems)} wrong" if line.problems else "good"
    versions = ", ".join(others) or "the driver's"
    return [versions, ", ".join(devices), *speeds, memory, f"{line.clock_s:+.2f} s", ends]


def of_artifacts(lines: Sequence[ArtifactLine]) -> Table:
    """A line for each artefact: what it reached and took, then what it is."""
    rows = Table("accuracy in %", "ipc", "time", "artefact", "config", "objects", "bytes")
    for line in lines:
        rows.add_row(*_lead(line), line.artifact, line.config, f"{line.objects:,}", f"{line.bytes:,}")
    return rows


def _lead(line: ArtifactLine) -> list[str]:
    """Accuracy, samples per class and time; empty where nothing says."""
    accuracy = ""
    if line.accuracy is not None and line.accuracy_std is not None:
        balanced = ", balanced" * (line.metric == "balanced_accuracy")
        accuracy = f"{Spread(line.accuracy, line.accuracy_std, line.networks).text} (n={line.networks}{balanced})"
    ipc, time = "" if line.ipc is None else str(line.ipc), "" if line.seconds is None else duration(line.seconds)
    return [accuracy, ipc, time]


def of_artifact(artifact: Artifact) -> Iterator[Table]:
    """What an artefact reached and took and was made from; its facts and settings; its objects."""
    yield of_artifacts([artifact])
    about = Table("what", "value", title="made from and with")
    for kind in ("inputs", "numerics", "facts"):
        for name, value in getattr(artifact, kind).items():
            about.add_row(shown(f"{kind}.{name}"), json.dumps(value, ensure_ascii=False))
    about.add_row("fingerprint", artifact.fingerprint)
    yield about
    idle = _idle(artifact)
    left = f"{', '.join(idle)} took no part and {'are' if len(idle) > 1 else 'is'} left out; --json has all settings"
    settings = Table("setting", "value", title="settings", caption=left if idle else None)
    for name, value in _flat(artifact.settings):
        if not name.startswith(tuple(f"{part}." for part in idle)):
            settings.add_row(shown(name), json.dumps(value, ensure_ascii=False))
    yield settings
    objects = Table("object", "bytes", "sha256", title="objects")
    for item in artifact.contents:
        objects.add_row(item.key, f"{item.bytes:,}", item.sha256)
    yield objects


def _idle(artifact: Artifact) -> list[str]:
    """The parts of its settings that took none in making it; none where older settings are no longer understood."""
    from padray.config import Config

    tree = {name: value for name, value in artifact.settings.items() if name != "name"}
    try:
        idle = Config.model_validate_json(json.dumps(tree)).idle
    except ValidationError:
        return []
    return [part for part in idle if part != artifact.stage]


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def as_defaults(rows: Sequence[Row]) -> list[Row]:
    """The set distilled with the settings that the search began from, as a source of its own."""
    return [replace(row, source="distilled, defaults") for row in rows if row.source == "distilled"]


def of_accuracies(rows: Sequence[Row]) -> Table:
    """Test accuracies by network, and by set where there are several; a column for each source."""
    sources = list(dict.fromkeys(row.source for row in rows))
    named, protocols = any(_set_of(row) for row in rows), list(dict.fromkeys(row.protocol for row in rows))
    head = ["set", "network"] if named else ["network"]
    columns = [(source, kind) for source in sources for kind in ((False, True) if shows_balanced(rows) else (False,))]
    names = [f"{source}{', balanced' * balanced}" for source, balanced in columns]
    table = Table(
        *head, *names, title=f"test accuracy in %, mean ± std over n networks; protocol {' and '.join(protocols)}"
    )
    for label, network in dict.fromkeys((_set_of(row), row.architecture) for row in rows):
        cells = {row.source: row for row in rows if (_set_of(row), row.architecture) == (label, network)}
        reached = [percent(cells[source], balanced) if source in cells else "-" for source, balanced in columns]
        table.add_row(*([label] if named else []), network, *reached)
    return table


def _set_of(row: Row) -> str:
    return row.set if isinstance(row, LabelledRow) else ""
