"""A plan as a person reads it: the table's cells and the sentences below it."""

from typing import Any, NamedTuple

_HEAD = ("stage", "unit", "units", "there", "to do", "seconds each", "known from", "time", "bytes", "memory")
_CLUSTER_HEAD = ("node", "workers each", "wall time", "stages", "money", "useful", "limit", "lost")


class Clusters(NamedTuple):
    """A second table: a row for each type of node."""

    title: str
    head: tuple[str, ...]
    rows: list[list[str]]


class Page(NamedTuple):
    """A title, a table whose last row is the sum, the types of nodes where they were asked for, and sentences."""

    title: str
    head: tuple[str, ...]
    rows: list[list[str]]
    total: list[str]
    clusters: Clusters | None
    sentences: list[str]


def page(told: dict[str, Any]) -> Page:
    """What `--json` prints, in words. What is about right has a tilde, what nobody has measured a question mark."""
    rows = [_row(line) for line in told["stages"]]
    title, clusters = f"padray plan {told['config']}", _clusters(told["cluster"])
    return Page(title, _HEAD, rows, _total(told["total"]), clusters, _sentences(told))


def _row(line: dict[str, Any]) -> list[str]:
    unknown = "?" if line["to_do"] and (line["steps"] or line["iterations"]) else ""
    return [
        line["stage"], line["unit"], str(line["units"]), str(line["there"]), _count(line),
        unknown if line["seconds"] is None else f"{line['seconds']:.3g}", line["measured"] or "",
        unknown if line["hours"] is None else _time(line["hours"]),
        ("" if line["bytes_exact"] else "~") + _size(line["bytes"]), f"~{_size(line['memory'])}",
    ]  # fmt: skip


def _total(total: dict[str, Any]) -> list[str]:
    time = "?" if total["hours"] is None else _time(total["hours"])
    counts = [str(total["units"]), str(total["units"] - total["to_do"]), _count(total)]
    return ["total", "", *counts, "", "", time, f"~{_size(total['bytes'])}", f"~{_size(total['memory'])}"]


def _clusters(told: dict[str, Any] | None) -> Clusters | None:
    if told is None:
        return None
    rows = [_cluster(row, told["currency"]) for row in told["types"]]
    return Clusters(f"on at most {told['nodes']} nodes", _CLUSTER_HEAD, rows)


def _cluster(row: dict[str, Any], currency: str) -> list[str]:
    name = f"{row['node']} (spot)" if row["spot"] else row["node"]
    if row["hours"] is None:
        return [name, str(row["workers"]), "?", "", "?", "", "", ""]
    parts = ", ".join(f"{part['stage']} {_time(part['hours'])}" for part in row["stages"])
    money = "" if row["money"] is None else f"{row['money']:,.2f} {currency}".strip()
    lost = f"{row['nodes_lost']} nodes, {row['units_lost']} units" if row["nodes_lost"] else ""
    useful = f"{100 * row['efficiency']:.0f} %"
    return [name, str(row["workers"]), _time(row["hours"]), parts, money, useful, row["limit"], lost]


def _of_clusters(told: dict[str, Any] | None) -> list[str]:
    """What a reader must know of the second table."""
    if told is None:
        return []
    found = [f"not used: {name} {why}" for name, why in told["unfit"].items()]
    found.append(
        "wall time is simulated: stages, starting, losses and storage as padray goes about them; useful is the share "
        "of the paid time in which units that were kept were made; limit is what would shorten it most (settings: "
        "cluster.max_actors or search.concurrency)"
    )
    if endless := [row["node"] for row in told["types"] if row["spot"] and not row["hours_to_loss"]]:
        found.append(f"no losses are counted without hours_to_loss: {', '.join(endless)}")
    if told["priced"]:
        found.append(f"prices: {told['source']}, as of {told['as_of']}; storage and traffic are not in them")
    return found


def _sentences(told: dict[str, Any]) -> list[str]:
    data, total = told["data"], told["total"]
    counts = ", ".join(f"{data[split]:,} {split}" for split in ("train", "validation", "test"))
    shape = "x".join(map(str, data["shape"]))
    found = [f"data: {counts}, of {shape}, {data['classes']} classes; known from {data['known_from']}"]
    if total["memory_shared"]:
        found.append(
            f"memory: all workers of a machine share {_size(total['memory_shared'])} of the dataset beside theirs"
        )
    if told["device"]:
        found.append(f"measured on: {told['device']}")
    if total["hours"] is None:
        found.append("time: unknown where a ? stands; --calibrate measures it on this device")
    if total["price_per_hour"] is not None:
        money = "unknown, as the time is" if total["money"] is None else f"{total['money']:,.2f}"
        found.append(f"price: {money}, with an hour of one device at {total['price_per_hour']:g}")
    found += _of_clusters(told["cluster"])
    return found + [f"note: {note}" for note in told["notes"]]


def _count(line: dict[str, Any]) -> str:
    return f"at most {line['to_do']}" if line["at_most"] else str(line["to_do"])


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{hours * 60:.1f} min" if hours >= 1 / 60 else f"{hours * 3600:.1f} s"


def _size(size: float) -> str:
    """`1.3 GB`, in the largest unit that fits."""
    for unit, of_bytes in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= of_bytes:
            return f"{size / of_bytes:.3g} {unit}"
    return f"{size:.0f} B"
