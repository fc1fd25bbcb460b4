"""Stage `scores`: several networks are trained, and each gives every sample the scores of all methods.

A network's table has a row for each training sample, and then for each validation sample, which no network has
trained on: columns sample, split, label, correct (at the end of training), and one column per method. A ranking
from a file becomes one table of the same kind, with the training samples and the column `file`. A table that was stored
before its method was known is made again when that is asked for, and keeps the columns that it had: what was made from
them stays what it is.
"""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from padray import fingerprint
from padray.config import Config, ScoreSettings
from padray.data.datasets import Dataset
from padray.draws import generator, seed_for
from padray.errors import DivergedError, InputError
from padray.experts.scorers import SCORES, Observed, observe
from padray.experts.training import Draws, Recipe, samples_of, train
from padray.fingerprint import Identity
from padray.machine.files import read_regular, shown
from padray.machine.numerics import decide
from padray.networks import factory
from padray.networks.derivatives import execution_of
from padray.stages import stored
from padray.stages.base import Context, Inputs, Make, Progress, Unit, by_stem, has_units, make_missing
from padray.stages.unfinished import UnitKeeper
from padray.store.artifacts import Folder, Manifest, StoredObject
from padray.store.crash import crash_point

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class ScoreWork:
    """One unit is one scoring network; its object is its table.

    Attributes:
        older: the tables that lack the method, by unit.
    """

    config: Config
    inputs: Inputs
    scores: Identity
    older: dict[str, StoredObject] = field(default_factory=dict)

    def prepare(self) -> Make:
        numerics = decide(self.config.compute)
        device = numerics.use(self.config.compute.allocator)
        dataset = self.inputs.dataset()
        parts = [samples_of(dataset, name, device, numerics.dtype) for name in SPLITS]
        folder = Folder(self.inputs.location, self.scores.folder, self.scores.fingerprint)
        settings, seed = self.config.scores, self.config.seed_of("scores")
        how = replace(recipe(settings), execution=execution_of(numerics))

        def make(unit: Unit) -> StoredObject:
            start = seed_for(seed, "scores", unit.id, "network")
            network = factory.build(settings.network, dataset.shape, dataset.classes, start)
            network = network.to(device, numerics.dtype)
            keeper = UnitKeeper(folder, unit.id, numerics)
            epochs = train(network, parts[0], replace(how, keeper=keeper), Draws(seed, "scores", unit.id))
            seen = observe(network, epochs, parts, generator(seed, "scores", unit.id, "random"), keeper)
            columns = _columns(dataset, seen, unit.id, settings.lr)
            if unit.id in self.older:
                columns |= stored.read_table(folder.get(self.older[unit.id]))
            crash_point("scores", "before-put", int(unit.id[-4:]))
            item = folder.put(unit.id, "parquet", stored.encode_table(columns), _about(columns))
            keeper.over()
            return item

        return make


def recipe(settings: ScoreSettings) -> Recipe:
    """How a scoring network is trained."""
    return Recipe(
        settings.epochs, settings.batch, settings.lr, settings.momentum, settings.weight_decay, settings.augment
    )


def _columns(dataset: Dataset, seen: Observed, unit: str, lr: float) -> dict[str, Any]:
    """The table of one network. Raises WorkError if a score is not finite."""
    columns: dict[str, Any] = {
        "sample": torch.cat([dataset.splits[name] for name in SPLITS]).tolist(),
        "split": [name for name in SPLITS for _ in range(len(dataset.splits[name]))],
        "label": seen.labels_N.tolist(),
        "correct": seen.correct_EN[-1].tolist(),
    }
    for method, score in SCORES.items():
        scores_N = score(seen)
        if not bool(scores_N.isfinite().all()):
            raise DivergedError(f"the {method} scores of {unit} are not finite: lower scores.lr ({lr:g})")
        columns[method] = scores_N.tolist()
    return columns


def _about(columns: Iterable[str]) -> dict[str, Any]:
    """What a manifest says of a table, so that whoever looks for a method need not read it."""
    return {"methods": [method for method in SCORES if method in columns]}


def _described(folder: Folder, item: StoredObject) -> StoredObject:
    """A table with what a manifest says of it; one that no manifest describes is read."""
    return item if item.extra else replace(item, extra=_about(stored.read_table(folder.get(item))))


def make(context: Context, data: Identity) -> Identity:
    """Train the scoring networks that are missing or whose tables lack the method, or take the ranking over."""
    began = time.monotonic()
    identity = fingerprint.scores_identity(context.config, data)
    present = context.present(identity)
    from_file = context.config.scores.method == "file"
    names = ["ranking"] if from_file else [f"network-{k:04d}" for k in range(context.config.scores.networks)]
    units = [Unit("scores", name, identity.fingerprint) for name in names]
    reused = has_units(present, units) and (from_file or _hold(context, identity, present, units))
    if not reused and from_file:
        _take_over(context, data, identity)
    elif not reused:
        _train(context, data, identity, units)
    context.finished(identity, began, reused)
    return identity


def _hold(context: Context, identity: Identity, present: Manifest | None, units: Sequence[Unit]) -> bool:
    """Whether the tables of these networks have the method's column."""
    folder, listed = context.folder(identity), by_stem(present.objects if present else ())
    tables = (_described(folder, listed[unit.id]) for unit in units)
    return all(context.config.scores.method in table.extra["methods"] for table in tables)


def _train(context: Context, data: Identity, identity: Identity, units: Sequence[Unit]) -> None:
    """Make the tables that are not there, or lack the method, and list them instead of those."""
    folder, method = context.folder(identity), context.config.scores.method
    tables = [_described(folder, item) for item in folder.loose("network-")]
    have = by_stem([item for item in tables if method in item.extra["methods"]])
    older = {stem: item for stem, item in by_stem(tables).items() if stem not in have}
    work = ScoreWork(context.config, Inputs(context.location, data), identity, older)
    stored_tables = make_missing(context, work, units, have)
    context.extend(identity, stored_tables.objects, {"data": data.fingerprint}, stored_tables.numerics)
    for unit in units:
        if unit.id in older:
            context.location.delete(older[unit.id].key)


def _take_over(context: Context, data: Identity, identity: Identity) -> None:
    """Store the ranking of a file; afterwards the file is not needed. Raises InputError if it cannot be used."""
    from padray.experts import external_ranking  # it brings PyArrow

    context.notify(Progress("scores", 0, 1, "ranking"))
    path, folder = context.config.scores.path or "", context.folder(identity)
    content = read_regular(path, "the ranking of scores.path", external_ranking.MOST_BYTES)
    if hashlib.sha256(content).hexdigest() != context.config.scores.digest:
        raise InputError(f"scores.path: {shown(path)} has changed since its digest was taken; run the command again")
    dataset = stored.load_dataset(context.folder(data))
    rows = dataset.splits["train"]
    columns = {
        "sample": rows.tolist(),
        "split": ["train"] * len(rows),
        "label": dataset.labels[rows].tolist(),
        "file": external_ranking.scores_of(content, shown(Path(path).name), dataset).tolist(),
    }
    item = folder.put("ranking", "parquet", stored.encode_table(columns))
    folder.commit(context.manifest(identity, [item], inputs={"data": data.fingerprint}))
    context.notify(Progress("scores", 1, 1, "ranking"))
