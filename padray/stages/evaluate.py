"""Stage `evaluate`: cells of (source, network, seed), each a fresh network trained and tested; then one table."""

import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from padray import fingerprint
from padray.config import Config
from padray.errors import InputError
from padray.evaluation import summary
from padray.evaluation.protocol import Cell, Source
from padray.fingerprint import Identity
from padray.networks.settings import NetworkSettings
from padray.stages import keeplist, stored, teacher, tensorboard
from padray.stages.base import Context, Inputs, Record, Unit, make_missing
from padray.stages.cells import EvaluationWork, Places, cells_in, result_of
from padray.store.artifacts import StoredObject

Results = dict[Cell, summary.CellResult]
Chosen = dict[tuple[Source, NetworkSettings], float]

_SHARED: frozenset[Source] = frozenset({"random", "random_soft", "full"})  # sets of one size have them in common


def architectures(config: Config) -> list[NetworkSettings]:
    """The network that the set is made with first, then the others, each once."""
    return list(dict.fromkeys([config.network, *config.evaluation.architectures]))


def identities(config: Config, data: Identity, distilled: Identity, experts: Identity | None = None) -> Places:
    """Where the cells of each source are kept; controls are shared by all sets of the same data, keep-list and size.

    Args:
        experts: who labels `random_soft`; left out, those that the settings lead to.
    """
    controls, ipc = config.evaluation.controls, config.distill.ipc
    of_set = {"set": fingerprint.set_fingerprint(distilled, config.distill.iterations)}
    kept = fingerprint.keep_identity(config, data)
    per_class = {"data": data.fingerprint, "ipc": ipc} | ({"keep": kept.fingerprint} if kept else {})

    def place(source: Source, name: str, inputs: dict[str, Any]) -> Identity:
        return fingerprint.evaluation_identity(config, source, name, inputs)

    places: Places = {
        "distilled": place("distilled", distilled.name, of_set),
        "random": place("random", f"{data.name}-ipc{ipc}", per_class),
    }
    if controls.random_soft:
        asked = experts or fingerprint.experts_identity(config, data)
        by = {"experts": asked.fingerprint, "expert_ids": list(range(config.experts.count))}
        places["random_soft"] = place("random_soft", f"{asked.name}-ipc{ipc}", per_class | by)
    if controls.hard_labels:
        places["hard_labels"] = place("hard_labels", distilled.name, of_set)
    if controls.full:
        places["full"] = place("full", data.name, {"data": data.fingerprint})
    return places


def _experts_of(context: Context, distilled: Identity) -> Identity | None:
    """The experts that a stored set was made with, where they are asked. Raises InputError if there are none."""
    if not context.config.evaluation.controls.random_soft:
        return None
    made_with = context.folder(distilled).require().inputs.get("experts")
    if made_with is None:
        raise InputError(
            f"{distilled.folder} came without its experts, so none can label the control random_soft; "
            f"set evaluation.controls.random_soft=false"
        )
    return Identity("experts", distilled.name.removesuffix(f"-ipc{context.config.distill.ipc}"), made_with)


def make(context: Context, data: Identity, distilled: Identity) -> list[summary.Row]:
    """Make all missing cells; the table, network by network, the set before its controls."""
    began = time.monotonic()
    config = context.config
    keeplist.make(context, data)
    grid = _begun(context, data, distilled)
    places = grid.work.places
    results, chosen = grid.run(places)
    rows = summary.with_recovery(
        [grid.row(results, source, network, chosen) for network in architectures(config) for source in places]
    )
    for source in places:
        _commit(context, grid, source, rows)
    if grid.made_now:
        tensorboard.show_evaluation(context, distilled, rows, results)
    context.finished(places["distilled"], began, reused=grid.made_now == 0)
    return rows


def make_controls(context: Context, data: Identity, distilled: Identity) -> None:
    """Make only what sets of the same data share, so that `make` finds it for each of them."""
    keeplist.make(context, data)
    grid = _begun(context, data, distilled)
    shared = [source for source in grid.work.places if source in _SHARED]
    grid.run(shared)
    for source in shared:
        _commit(context, grid, source, [])


def tries(context: Context, data: Identity, distilled: Identity) -> list[summary.CellResult]:
    """What the cells say that chose a learning rate, as far as they lie in storage."""
    grid = _open(context, data, distilled, _experts_of(context, distilled))
    cells = [cell for cell in grid.first_cells(grid.work.places) if cell.lr is not None]
    return [grid.result(cell) for cell in cells if f"{cell.source}/{cell.id}" in grid.have]


@dataclass(frozen=True)
class Foreseen:
    """How many cells of a source and a network `make` asks for, and how many of them lie in storage.

    `at_least`: there may be more of them, but which ones count is only known once a learning rate is chosen.
    """

    source: Source
    network: NetworkSettings
    cells: int
    there: int
    at_least: bool = False


def foresee(context: Context, data: Identity, distilled: Identity, experts: Identity | None) -> list[Foreseen]:
    """What `make` would find; nothing is made, and the set need not be there."""
    grid = _open(context, data, distilled, experts)
    return [_foresee(grid, source, network) for network in architectures(context.config) for source in grid.work.places]


def _foresee(grid: "_Grid", source: Source, network: NetworkSettings) -> Foreseen:
    """A learning rate is known once all cells that choose it are there."""
    first = [cell for cell in grid.first_cells([source]) if cell.network == network]
    there_first = [cell for cell in first if f"{source}/{cell.id}" in grid.have]
    evaluation, later = grid.context.config.evaluation, grid.later_seeds(source)
    if grid.brings_lr(source) or not later:
        return Foreseen(source, network, len(first), len(there_first))
    if len(there_first) < len(first):
        names = tuple(f"{source}/cell-{network.label}-seed{seed}-lr" for seed in later)
        some = any(id.startswith(names) for id in grid.have)
        return Foreseen(source, network, len(first) + len(later), len(there_first), at_least=some)
    lr = summary.best_lr([grid.result(cell) for cell in first], evaluation.metric)
    there = sum(f"{source}/{cell.id}" in grid.have for cell in grid.control_cells({(source, network): lr}))
    return Foreseen(source, network, len(first) + len(later), len(there_first) + there)


@dataclass
class _Grid:
    """The cells of all sources, made as they are asked for."""

    context: Context
    work: EvaluationWork
    have: dict[str, StoredObject]
    made_now: int = 0
    numerics: Record | None = None  # of the cells that were made now

    def run(self, sources: Collection[Source]) -> tuple[Results, Chosen]:
        """All cells of these sources, and the learning rates that were chosen for them."""
        if self.context.config.evaluation.taught:
            teacher.make(self.context, self.work.inputs, later=len(self.first_cells(sources)))
        first, metric = self.first_cells(sources), self.context.config.evaluation.metric
        results = self.results(first, later=self.later(sources))
        chosen = {key: summary.best_lr(cells, metric) for key, cells in _tries(results).items()}
        others = self.control_cells(chosen)
        return results | (self.results(others, earlier=len(first)) if others else {}), chosen

    def brings_lr(self, source: Source) -> bool:
        """Whether the learning rate is known: the set's own, or the students' of a teacher."""
        evaluation = self.context.config.evaluation
        return evaluation.taught or (source == "distilled" and not evaluation.chooses_lr)

    def first_cells(self, sources: Collection[Source]) -> list[Cell]:
        """All cells whose learning rate is known, and those that choose the other ones."""
        evaluation = self.context.config.evaluation
        controls = evaluation.controls
        cells = []
        for network in architectures(self.context.config):
            for source in sources:
                if self.brings_lr(source):
                    cells += [Cell(source, network, seed) for seed in range(evaluation.seeds_on(source))]
                else:
                    seeds = range(controls.tuning_on(source))
                    cells += [Cell(source, network, k, lr) for lr in controls.lrs_on(source) for k in seeds]
        return cells

    def later_seeds(self, source: Source) -> range:
        """A control's other seeds, once its learning rate is chosen."""
        evaluation = self.context.config.evaluation
        return range(evaluation.controls.tuning_on(source), evaluation.seeds_on(source))

    def later(self, sources: Collection[Source]) -> int:
        """How many cells are to come once the controls' learning rates are chosen."""
        more = sum(len(self.later_seeds(source)) for source in sources if not self.brings_lr(source))
        return more * len(architectures(self.context.config))

    def control_cells(self, chosen: Chosen) -> list[Cell]:
        """The controls' other seeds at their chosen learning rates."""
        return [
            Cell(source, network, seed, lr)
            for (source, network), lr in chosen.items()
            for seed in self.later_seeds(source)
        ]

    def results(self, cells: list[Cell], earlier: int = 0, later: int = 0) -> Results:
        """The results of these cells, made where they are missing; `earlier`, `later`: how many others there are."""
        by_id = {f"{cell.source}/{cell.id}": cell for cell in cells}
        units = [Unit("evaluate", id, self.work.places[cell.source].fingerprint) for id, cell in by_id.items()]
        self.made_now += sum(unit.id not in self.have for unit in units)
        work = replace(self.work, cells=by_id)
        stored_cells = make_missing(self.context, work, units, self.have, earlier, later)
        self.numerics = self.numerics or stored_cells.numerics
        self.have |= {unit.id: item for unit, item in zip(units, stored_cells.objects, strict=True)}
        return {cell: self.result(cell) for cell in cells}

    def result(self, cell: Cell) -> summary.CellResult:
        """What a cell says that is there."""
        folder = self.context.folder(self.work.places[cell.source])
        return result_of(folder, self.have[f"{cell.source}/{cell.id}"], cell)

    def row(self, results: Results, source: Source, network: NetworkSettings, chosen: Chosen) -> summary.Row:
        """One line of the table."""
        evaluation, lr = self.context.config.evaluation, chosen.get((source, network))
        cells = [results[Cell(source, network, seed, lr)] for seed in range(evaluation.seeds_on(source))]
        return summary.row(network.label, source, cells, evaluation.metric, evaluation.protocol_on(source))


def _open(context: Context, data: Identity, distilled: Identity, experts: Identity | None) -> _Grid:
    """The grid with the cells that lie in storage, listed or not."""
    places = identities(context.config, data, distilled, experts)
    have: dict[str, StoredObject] = {}
    for source, place in places.items():
        cells = cells_in(context.folder(place), context.folder(place).present())
        have |= {f"{source}/{item.stem}": item for item in cells}
    inputs = Inputs(context.location, data)
    return _Grid(context, EvaluationWork(context.config, inputs, distilled, places, {}, experts), have)


def _begun(context: Context, data: Identity, distilled: Identity) -> _Grid:
    """The same for a command that makes cells, and that may begin anew."""
    experts = _experts_of(context, distilled)
    for place in identities(context.config, data, distilled, experts).values():
        context.forget(place)
    return _open(context, data, distilled, experts)


def _tries(results: Results) -> dict[tuple[Source, NetworkSettings], list[summary.CellResult]]:
    """The cells that choose a learning rate, by control and network."""
    tries: dict[tuple[Source, NetworkSettings], list[summary.CellResult]] = {}
    for cell, result in results.items():
        if cell.lr is not None:
            tries.setdefault((cell.source, cell.network), []).append(result)
    return tries


def _commit(context: Context, grid: _Grid, source: Source, rows: list[summary.Row]) -> None:
    place = grid.work.places[source]
    folder = context.folder(place)
    objects = [item for id, item in sorted(grid.have.items()) if id.startswith(f"{source}/")]
    inputs = {"data": grid.work.inputs.data.fingerprint}
    kept = fingerprint.keep_identity(context.config, grid.work.inputs.data)
    if kept is not None and source in ("random", "random_soft"):
        inputs["keep"] = kept.fingerprint
    if source == "distilled":
        objects.append(folder.put("table", "parquet", stored.encode_table(stored.columns_of(summary.Row, rows))))
        inputs["set"] = fingerprint.set_fingerprint(grid.work.distilled, context.config.distill.iterations)
    context.extend(place, objects, inputs, grid.numerics)
