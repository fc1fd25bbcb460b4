"""Wall hours and money on N nodes of each kind: the plan's lines as stages of the simulation."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from padray.config import Config
from padray.errors import InputError
from padray.planning import costs
from padray.planning.chain import Chain
from padray.planning.lines import Line, Pace
from padray.planning.prices import NodeType, PriceTable
from padray.planning.result import ClusterPlan, NodeLine, SimulatedLine, StageHours
from padray.planning.simulation.fleet import Fleet
from padray.planning.simulation.model import Outcome, Setting, drawn, limit, simulate
from padray.planning.simulation.workers import Actors, Group, Search, Stage, Start, Trial, Unit

MOST_NODES = 10_000
_RUNS = 5  # with other moments of loss; the one in the middle is told

Timed = Sequence[tuple[Line, Pace | None]]


@dataclass(frozen=True)
class Lines:
    """The lines of a plan with their seconds: those of the chain, and those that a search adds."""

    chain: Timed
    search: Timed = ()

    @property
    def is_known(self) -> bool:
        """Whether the seconds of all that is to do are known."""
        return all(pace for line, pace in (*self.chain, *self.search) if line.left and line.parts)


@dataclass(frozen=True)
class Site:
    """Where a run would be: nodes of one type, and what they share."""

    node: NodeType
    nodes: int
    table: PriceTable
    config: Config

    @property
    def on_gpus(self) -> bool:
        return self.config.compute.device != "cpu" and bool(self.node.gpus) and bool(self._share)

    @property
    def _share(self) -> float:
        share = self.config.cluster.gpus_per_worker
        return 1.0 if isinstance(share, str) else share

    @property
    def workers(self) -> int:
        """That a node has room for."""
        by_cpu = self.node.cpus // self.config.compute.threads
        return min(by_cpu, int(self.node.gpus / self._share + 1e-9)) if self.on_gpus else by_cpu

    @property
    def unfit(self) -> str:
        """Why nothing can run there; empty if it can."""
        if self.config.compute.device == "cuda" and not self.on_gpus:
            return "has no GPU, which compute.device=cuda asks for"
        return "" if self.workers else "has fewer CPUs than compute.threads"

    @property
    def setting(self) -> Setting:
        node, rate = self.node, self.table.megabytes_per_second
        delay_s = None if node.start_minutes is None else 60 * node.start_minutes
        life_s = math.inf if node.hours_to_loss is None else 3600 * node.hours_to_loss
        fleet = Fleet(self.nodes, self.workers, delay_s, 60 * node.idle_minutes, life_s)
        return Setting(fleet, math.inf if rate is None else 1e6 * rate)


def plan(chain: Chain, lines: Lines, nodes: int, table: PriceTable, priced: bool) -> ClusterPlan:
    """The work on a cluster: a line for each type of node.

    Args:
        priced: whether the table's prices mean anything.

    Raises:
        InputError: no such number of nodes, or none of the types can run this.
    """
    if not 1 <= nodes <= MOST_NODES:
        raise InputError(f"--nodes is how many nodes there may be, 1 to {MOST_NODES:,} (got {nodes})")
    sites = {name: Site(node, nodes, table, chain.config) for name, node in table.nodes.items()}
    fitting = {name: site for name, site in sites.items() if not site.unfit}
    if not fitting:
        name, site = next(iter(sites.items()))
        raise InputError(f"none of the types of nodes can run this: {name} {site.unfit}")
    types = [_line(name, _Run(chain, lines, site), priced) for name, site in fitting.items()]
    unfit = {name: site.unfit for name, site in sites.items() if site.unfit}
    return ClusterPlan(nodes, table.as_of, table.source, table.currency, priced, types, unfit)


def _line(name: str, run: "_Run", priced: bool) -> NodeLine:
    site = run.site
    node = site.node
    about = name, site.workers, node.spot, node.hours_to_loss, node.speed
    if not run.lines.is_known:
        return NodeLine(*about, hours=None, money=None, stages=[])
    stages = run.stages()
    outcome, setting = _middle(stages, site.setting)
    money = (outcome.nodes_s * site.node.per_hour + outcome.seconds * site.table.head_per_hour) / 3600
    return SimulatedLine(
        *about,
        hours=outcome.seconds / 3600,
        money=money if priced else None,
        stages=[StageHours(span.name, span.seconds / 3600) for span in outcome.spans],
        node_hours=outcome.nodes_s / 3600,
        efficiency=outcome.efficiency,
        limit=limit(stages, setting, outcome),
        nodes_lost=outcome.nodes_lost,
        units_lost=outcome.units_lost,
    )


def _middle(stages: Sequence[Stage], setting: Setting) -> tuple[Outcome, Setting]:
    """The simulation; where nodes are lost, that of several whose time is the median."""
    runs = _RUNS if math.isfinite(setting.fleet.life_s) else 1
    runs_made = [(simulate(stages, at), at) for at in (replace(setting, seed=seed) for seed in range(runs))]
    middle = statistics.median(outcome.seconds for outcome, _ in runs_made)
    return next(one for one in runs_made if one[0].seconds == middle)


@dataclass(frozen=True)
class _Run:
    """A plan's lines on one site."""

    chain: Chain
    lines: Lines
    site: Site

    def stages(self) -> list[Stage]:
        """The stages in the order in which they are made: a search comes before the chain of its defaults."""
        own = [(line, pace) for line, pace in self.lines.chain if line.left and pace]
        units_of = {stage: self._actors(stage, own) for stage in ("scores", "experts")}
        first = tuple(one for one in units_of.values() if one.units)
        search = self._search(first)
        stages: list[Stage] = [search] if search else []
        if not (search and search.sets == (first,)):
            stages += first
        if (finals := self._actors("finals", self.lines.search)).units:
            stages.append(finals)
        stages += [self._group(line, pace, "distill") for line, pace in own if line.stage == "distill"]
        cells = [*own, *((line, pace) for line, pace in self.lines.search if line.left and pace)]
        teachers = [one for one in cells if one[0].stage == "evaluate" and one[0].amount("teacher")]
        others = [one for one in cells if one[0].stage == "evaluate" and not one[0].amount("teacher")]
        return [*stages, *(self._actors("evaluate", part) for part in (teachers, others) if part)]

    @property
    def _start(self) -> Start:
        return Start(self.site.table.worker_start_seconds, 0.0, self.chain.dataset_bytes)

    def _units(self, lines: Timed) -> tuple[Unit, ...]:
        """The lines' units that are to do, each as long as one that was measured."""
        units: list[Unit] = []
        for place, (line, pace) in enumerate(lines):
            if pace and line.left:
                seconds = [seconds / self.site.node.speed for seconds in pace.seen or (pace.seconds,)]
                units += drawn(seconds, math.ceil(line.left), line.unit_bytes, place)
        return tuple(units)

    def _actors(self, stage: str, lines: Timed) -> Actors:
        alike = [one for one in lines if one[0].stage == stage]
        return Actors(stage, self._units(alike), self.chain.config.cluster.max_actors, self._start)

    def _group(self, line: Line, pace: Pace, stage: str) -> Group:
        """A distillation: its workers share the contributions, so the one that has most of them sets the pace."""
        config = self.chain.config
        count, asked = costs.contributions(self.chain), config.cluster.workers
        fewest, most = (asked, asked) if isinstance(asked, int) else asked
        workers = max(fewest, min(most, self.site.setting.fleet.most_workers))
        share = math.ceil(count / workers) / count
        left = line.left if stage == "distill" else 1.0
        read = costs.costs_of(self.chain).reads * self.chain.snapshot_bytes(config.network) * left
        unit = Unit(pace.seconds * left * share / self.site.node.speed, line.unit_bytes + read)
        return Group(stage, unit, workers, config.distill.checkpoint_seconds, self._start)

    def _search(self, own: tuple[Actors, ...]) -> Search | None:
        """The trials; each set of experts that they ask for is as large as the defaults'."""
        trials = [(line, pace) for line, pace in self.lines.search if line.stage == "search" and line.left and pace]
        if not trials:
            return None
        (line, pace), config = trials[0], self.chain.config
        sizes = {"scores": config.scores.networks, "experts": config.experts.count}
        units_of = {stage: self._actors(stage, self.lines.search) for stage in sizes}
        count = max(math.ceil(len(units_of[stage].units) / size) for stage, size in sizes.items())
        sets = [
            tuple(
                replace(one, name=f"{stage} {k}", units=one.units[k * size : (k + 1) * size])
                for (stage, size), one in zip(sizes.items(), units_of.values(), strict=True)
                if one.units[k * size : (k + 1) * size]
            )
            for k in range(count)
        ]
        sets = sets or [own]
        group = self._group(line, pace, "search")
        chosen = tuple(Trial(group, number % len(sets)) for number in range(math.ceil(line.left)))
        asked = config.search.concurrency
        return Search("search", chosen, asked if isinstance(asked, int) else None, tuple(sets))
