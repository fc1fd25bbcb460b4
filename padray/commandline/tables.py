"""Tables for the terminal: what runs and who works on what, what nodes can do, what was reached."""

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from padray.evaluation.table import percent, shows_balanced

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))
_SILENT = "nothing since then: killed, or its machine is gone"


def duration(seconds: float) -> str:
    """`3 min`, in the largest unit that fits."""
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def rate(per_second: float | None) -> str:
    """`12.0 /min`, in the unit in which it is not below one, if there is such."""
    if per_second is None:
        return ""
    unit, size = next(((unit, size) for unit, size in (("s", 1), ("min", 60)) if per_second * size >= 1), ("h", 3600))
    return f"{per_second * size:.1f} /{unit}"


def of_runs(runs: list[dict[str, Any]]) -> Iterator[Table]:
    """A table for each run: its stages, and its workers while it goes on."""
    for run in runs:
        stages = Table("stage", "done", "rate", "left", "says", title=_title(run))
        for stage in run["stages"]:
            goes_on = run["state"] == "running" and stage["done"] < stage["total"]
            left = duration(stage["left_s"]) if goes_on and stage["left_s"] is not None else ""
            done = f"{stage['done']} of {stage['total']}"
            stages.add_row(stage["stage"], done, rate(stage["rate"]) if goes_on else "", left, stage["text"])
        yield stages
        if run["running"] and run["state"] == "running":
            yield _workers(run)


def _title(run: dict[str, Any]) -> str:
    what, age = f"{run['command']} {run['run']} on {run['host']}", duration(run["age_s"])
    if run["state"] == "stopped":
        return f"{what}: stopped {age} ago ({run['end']}); the same command goes on"
    if run["state"] == "silent":
        return f"{what}: last sign of life {age} ago, {_SILENT}; the same command goes on"
    return f"{what}: running for {duration(run['seconds'])}, last sign of life {age} ago"


def _workers(run: dict[str, Any]) -> Table:
    more = run["workers"] - len(run["running"])
    heading = run["summary"] or "at work"
    workers = Table("works on", "for", "node", title=heading + (f"; {more} more are not shown" if more > 0 else ""))
    for each in run["running"]:
        workers.add_row(each["unit"], duration(each["seconds"]), each["node"])
    return workers


def of_nodes(told: dict[str, Any]) -> Table:
    """What every node of a preflight can do."""
    heading = f"nodes and the storage {told['storage']}"
    table = Table("node", "type", "versions", "devices", "writes", "reads", "free", "clock", "", title=heading)
    for line in told["nodes"]:
        if "versions" not in line:
            table.add_row(line["node"], line["type"], *[""] * 6, "no answer")
            continue
        others = [f"{what} {has}" for what, has in line["versions"].items() if told["driver"].get(what) != has]
        devices = [f"{name}{' cannot be used' * bool(problem)}" for name, problem in line["devices"].items()]
        speeds = [f"{line[key]:.0f} MB/s" if key in line else "-" for key in ("write_mb_s", "read_mb_s")]
        memory = "" if line["memory_bytes"] is None else f"{line['memory_bytes'] / 2**30:.1f} GiB"
        ends = f"{len(line['problems'])} wrong" if line["problems"] else "good"
        table.add_row(
            line["node"], line["type"], ", ".join(others) or "the driver's", ", ".join(devices), *speeds, memory,
            f"{line['clock_s']:+.2f} s", ends,
        )  # fmt: skip
    return table


def as_defaults(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The set distilled with the settings that the search began from, as a source of its own."""
    return [{**row, "source": "distilled, defaults"} for row in rows if row["source"] == "distilled"]


def of_accuracies(rows: list[dict[str, Any]]) -> Table:
    """Test accuracies by network, and by set where there are several; a column for each source."""
    sources = list(dict.fromkeys(row["source"] for row in rows))
    named = any("set" in row for row in rows)
    head = ["set", "network"] if named else ["network"]
    kinds = {"": "", "balanced_": ", balanced"} if shows_balanced(rows) else {"": ""}
    columns = [(source, kind) for source in sources for kind in kinds]
    names = [f"{source}{kinds[kind]}" for source, kind in columns]
    table = Table(*head, *names, title="test accuracy in %, mean ± std over n networks")
    for made, network in dict.fromkeys((row.get("set", ""), row["architecture"]) for row in rows):
        cells = {r["source"]: r for r in rows if (r.get("set", ""), r["architecture"]) == (made, network)}
        shown = [percent(cells[source], kind) if source in cells else "-" for source, kind in columns]
        table.add_row(*([made] if named else []), network, *shown)
    return table
