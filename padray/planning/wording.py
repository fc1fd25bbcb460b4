"""A plan as a person reads it: the table's cells and the sentences below it."""

from typing import NamedTuple

from padray.planning.lines import PlannedLine
from padray.planning.result import ClusterPlan, NodeLine, Plan, SimulatedLine, Total

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


def page(plan: Plan) -> Page:
    """What `--json` prints, in words. What is about right has a tilde, what nobody has measured a question mark."""
    rows = [_row(line) for line in plan.stages]
    title, clusters = f"padray plan {plan.config}", _clusters(plan.cluster)
    return Page(title, _HEAD, rows, _total(plan.total), clusters, _sentences(plan))


def _row(line: PlannedLine) -> list[str]:
    unknown = "?" if line.to_do and (line.steps or line.iterations) else ""
    seconds = unknown if line.seconds is None else f"{line.seconds:.3g}"
    hours = unknown if line.hours is None else _time(line.hours)
    size = ("" if line.bytes_exact else "~") + _size(line.bytes)
    counts = [str(line.units), str(line.there), _count(line)]
    return [line.stage, line.unit, *counts, seconds, line.measured or "", hours, size, f"~{_size(line.memory)}"]


def _total(total: Total) -> list[str]:
    time = "?" if total.hours is None else _time(total.hours)
    counts = [str(total.units), str(total.units - total.to_do), _count(total)]
    return ["total", "", *counts, "", "", time, f"~{_size(total.bytes)}", f"~{_size(total.memory)}"]


def _clusters(plan: ClusterPlan | None) -> Clusters | None:
    if plan is None:
        return None
    rows = [_cluster(line, plan.currency) for line in plan.types]
    return Clusters(f"on at most {plan.nodes} nodes", _CLUSTER_HEAD, rows)


def _cluster(line: NodeLine, currency: str) -> list[str]:
    name = f"{line.node} (spot)" if line.spot else line.node
    if not isinstance(line, SimulatedLine) or line.hours is None:
        return [name, str(line.workers), "?", "", "?", "", "", ""]
    parts = ", ".join(f"{part.stage} {_time(part.hours)}" for part in line.stages)
    money = "" if line.money is None else f"{line.money:,.2f} {currency}".strip()
    lost = f"{line.nodes_lost} nodes, {line.units_lost} units" if line.nodes_lost else ""
    useful = f"{100 * line.efficiency:.0f} %"
    return [name, str(line.workers), _time(line.hours), parts, money, useful, line.limit, lost]


def _of_clusters(plan: ClusterPlan | None) -> list[str]:
    """What a reader must know of the second table."""
    if plan is None:
        return []
    sentences = [f"not used: {name} {why}" for name, why in plan.unfit.items()]
    sentences.append(
        "wall time is simulated: stages, starting, losses and storage as padray goes about them; useful is the share "
        "of the paid time in which units that were kept were made; limit is what would shorten it most (settings: "
        "cluster.max_actors or search.concurrency)"
    )
    if endless := [line.node for line in plan.types if line.spot and not line.hours_to_loss]:
        sentences.append(f"no losses are counted without hours_to_loss: {', '.join(endless)}")
    if plan.priced:
        sentences.append(f"prices: {plan.source}, as of {plan.as_of}; storage and traffic are not in them")
    return sentences


def _sentences(plan: Plan) -> list[str]:
    data, total = plan.data, plan.total
    counts = f"{data.train:,} train, {data.validation:,} validation, {data.test:,} test"
    shape = "x".join(map(str, data.shape))
    sentences = [f"data: {counts}, of {shape}, {data.classes} classes; known from {data.known_from}"]
    if total.memory_shared:
        sentences.append(
            f"memory: all workers of a machine share {_size(total.memory_shared)} of the dataset beside theirs"
        )
    if plan.device:
        sentences.append(f"measured on: {plan.device}")
    if total.hours is None:
        sentences.append("time: unknown where a ? stands; --calibrate measures it on this device")
    if total.price_per_hour is not None:
        money = "unknown, as the time is" if total.money is None else f"{total.money:,.2f}"
        sentences.append(f"price: {money}, with an hour of one device at {total.price_per_hour:g}")
    sentences += _of_clusters(plan.cluster)
    return sentences + [f"note: {note}" for note in plan.notes]


def _count(line: PlannedLine | Total) -> str:
    return f"at most {line.to_do}" if line.at_most else str(line.to_do)


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
