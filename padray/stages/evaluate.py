"""Stage `evaluate`: cells of (source, network, seed), each a fresh network trained and tested; then one table."""

import json
import time
from dataclasses import dataclass
from typing import Any

from padray import fingerprint
from padray.config import Config
from padray.data.datasets import Dataset
from padray.errors import WorkError
from padray.evaluation import table
from padray.evaluation.protocol import Cell, Judges, Score, Source, judge, random_samples, recipe_for, samples_of_set
from padray.experts.training import Draws, Samples
from padray.fingerprint import Identity
from padray.numerics import decide
from padray.sections import NetworkSettings
from padray.stages import stored
from padray.stages.base import Context, Inputs, Make, Unit, make_missing
from padray.store.artifacts import Folder, StoredObject
from padray.store.crash import crash_point

Places = dict[Source, Identity]
Results = dict[Cell, table.CellResult]


@dataclass(frozen=True)
class EvaluationWork:
    """How to make cells. It travels; `distilled` names the set's folder, `places` where each source's cells go."""

    config: Config
    inputs: Inputs
    distilled: Identity
    places: Places
    cells: dict[str, Cell]

    def prepare(self) -> Make:
        numerics = decide(self.config.compute)
        device = numerics.use()
        dataset, location = self.inputs.dataset(), self.inputs.location()
        splits = {}
        for name in ("train", "validation", "test"):
            images, labels = dataset.split(name)
            splits[name] = Samples(images.to(device, numerics.dtype), labels.to(device))
        held = splits["validation"] if len(splits["validation"].labels) else splits["train"]
        judges = Judges(held, splits["test"])
        folder = Folder(location, self.distilled.folder, self.distilled.fingerprint)
        synthetic = stored.load_set(folder, self.config.distill.iterations)

        def make(unit: Unit) -> StoredObject:
            cell = self.cells[unit.id]
            if cell.source == "distilled":
                training, lr = samples_of_set(synthetic.learned, device), float(synthetic.learned.lr)
            else:
                training, lr = self._real(cell, splits["train"], dataset), cell.lr or 0.0
            result = self._judge(cell, training, lr, dataset, judges)
            crash_point("evaluate", "before-put", cell.seed)
            place = self.places[cell.source]
            return Folder(location, place.folder, place.fingerprint).put(
                cell.id, "json", json.dumps(result, sort_keys=True).encode()
            )

        return make

    def _real(self, cell: Cell, train: Samples, dataset: Dataset) -> Samples:
        if cell.source == "full":
            return train
        return random_samples(train, self.config.distill.ipc, dataset.classes, cell.seed)

    def _judge(self, cell: Cell, training: Samples, lr: float, dataset: Dataset, judges: Judges) -> table.CellResult:
        evaluation = self.config.evaluation
        epochs = evaluation.controls.full_epochs if cell.source == "full" else evaluation.epochs
        unit = f"{cell.source}-{cell.network.label}-{cell.seed}"
        draws = Draws(self.config.seed_of("evaluation"), "evaluation", unit)
        try:
            score = judge(training, cell.network, recipe_for(evaluation, epochs, lr), draws, dataset, judges)
        except WorkError:  # it diverged: a result as good as any other, and none to stop the others for
            score = Score(0.0, 0.0)
        return {
            "source": cell.source, "architecture": cell.network.label, "seed": cell.seed, "lr": lr,
            "validation": score.validation, "test": score.test, "samples": len(training.images), "epochs": epochs,
        }  # fmt: skip


def architectures(config: Config) -> list[NetworkSettings]:
    """The network that the set is made with first, then the others, each once."""
    return list(dict.fromkeys([config.network, *config.evaluation.architectures]))


def identities(config: Config, data: Identity, distilled: Identity) -> Places:
    """Where the cells of each source are kept; controls are shared by all sets of the same data and size."""
    ipc = config.distill.ipc
    made = fingerprint.set_fingerprint(distilled, config.distill.iterations)
    per_class = {"data": data.fingerprint, "ipc": ipc}
    found: Places = {
        "distilled": fingerprint.evaluation_identity(config, "distilled", distilled.name, {"set": made}),
        "random": fingerprint.evaluation_identity(config, "random", f"{data.name}-ipc{ipc}", per_class),
    }
    if config.evaluation.controls.full:
        found["full"] = fingerprint.evaluation_identity(config, "full", data.name, {"data": data.fingerprint})
    return found


def make(context: Context, data: Identity, distilled: Identity) -> list[table.Row]:
    """Make all missing cells; the table, network by network, the set before its controls."""
    began = time.monotonic()
    config = context.config
    places = identities(config, data, distilled)
    have: dict[str, StoredObject] = {}
    for source, place in places.items():
        context.present(place)
        loose = context.folder(place).loose("cell-")
        have |= {f"{source}/{item.stem}": item for item in loose}
    grid = _Grid(context, EvaluationWork(config, Inputs(context.location.uri, data), distilled, places, {}), have)
    first = grid.first_cells()
    results = grid.results(first, later=grid.later())
    chosen = {key: table.best_lr(cells) for key, cells in _tries(results).items()}
    results = grid.results([*first, *grid.control_cells(chosen)])
    rows = [
        table.row(network.label, source, _shown(results, source, network, chosen, config.evaluation.seeds))
        for network in architectures(config)
        for source in places
    ]
    for source in places:
        _commit(context, grid, source, rows)
    context.finished(places["distilled"], began, reused=grid.made_now == 0)
    return rows


@dataclass
class _Grid:
    """The cells of all sources, made as they are asked for."""

    context: Context
    work: EvaluationWork
    have: dict[str, StoredObject]
    made_now: int = 0
    numerics: dict[str, Any] | None = None  # of the cells that were made now

    def first_cells(self) -> list[Cell]:
        """The set's cells, and those that choose the controls' learning rates."""
        evaluation = self.context.config.evaluation
        controls = evaluation.controls
        found = []
        for network in architectures(self.context.config):
            found += [Cell("distilled", network, seed) for seed in range(evaluation.seeds)]
            for source in self.controls():
                found += [Cell(source, network, k, lr) for lr in controls.lrs for k in range(controls.tuning_seeds)]
        return found

    def controls(self) -> list[Source]:
        return [source for source in self.work.places if source != "distilled"]

    def later(self) -> int:
        """How many cells are to come once the controls' learning rates are chosen."""
        evaluation = self.context.config.evaluation
        more = max(0, evaluation.seeds - evaluation.controls.tuning_seeds)
        return more * len(self.controls()) * len(architectures(self.context.config))

    def control_cells(self, chosen: dict[tuple[Source, NetworkSettings], float]) -> list[Cell]:
        """The controls' other seeds at their chosen learning rates."""
        evaluation = self.context.config.evaluation
        seeds = range(evaluation.controls.tuning_seeds, evaluation.seeds)
        return [Cell(source, network, seed, lr) for (source, network), lr in chosen.items() for seed in seeds]

    def results(self, cells: list[Cell], later: int = 0) -> Results:
        """The results of these cells, made where they are missing."""
        by_id = {f"{cell.source}/{cell.id}": cell for cell in cells}
        units = [Unit("evaluate", id, self.work.places[cell.source].fingerprint) for id, cell in by_id.items()]
        self.made_now += sum(unit.id not in self.have for unit in units)
        work = EvaluationWork(self.work.config, self.work.inputs, self.work.distilled, self.work.places, by_id)
        made = make_missing(self.context, work, units, self.have, later)
        self.numerics = self.numerics or made.numerics
        self.have |= {unit.id: item for unit, item in zip(units, made.objects, strict=True)}
        contents = [json.loads(self.context.location.get(item.key)) for item in made.objects]
        return dict(zip(by_id.values(), contents, strict=True))


def _tries(results: Results) -> dict[tuple[Source, NetworkSettings], list[table.CellResult]]:
    """The cells that choose a learning rate, by control and network."""
    found: dict[tuple[Source, NetworkSettings], list[table.CellResult]] = {}
    for cell, result in results.items():
        if cell.lr is not None:
            found.setdefault((cell.source, cell.network), []).append(result)
    return found


def _shown(
    results: Results, source: Source, network: NetworkSettings, chosen: dict[Any, float], seeds: int
) -> list[table.CellResult]:
    lr = chosen.get((source, network))
    return [results[Cell(source, network, seed, lr)] for seed in range(seeds)]


def _commit(context: Context, grid: _Grid, source: Source, rows: list[table.Row]) -> None:
    place = grid.work.places[source]
    folder = context.folder(place)
    objects = [item for id, item in sorted(grid.have.items()) if id.startswith(f"{source}/")]
    inputs = {"data": grid.work.inputs.data.fingerprint}
    if source == "distilled":
        columns: dict[str, Any] = {key: [row[key] for row in rows] for key in rows[0]}
        objects.append(folder.put("table", "parquet", stored.encode_table(columns)))
        inputs["set"] = fingerprint.set_fingerprint(grid.work.distilled, context.config.distill.iterations)
    before = folder.manifest()
    numerics = grid.numerics or (before.numerics if before else None)
    folder.commit(context.manifest(place, objects, inputs=inputs, numerics=numerics))
