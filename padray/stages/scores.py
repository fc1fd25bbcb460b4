"""Stage `scores`: several networks are trained, and each gives every sample the scores of all methods.

A network's table has a row for each training sample, and then for each validation sample, which no network has
trained on: columns sample, split, label, correct (at the end of training), and one column per method. A ranking
from a file becomes one table of the same kind, with the training samples and the column `file`.
"""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from padray import fingerprint, networks
from padray.config import Config, ScoreSettings
from padray.data.datasets import Dataset
from padray.draws import generator, seed_for
from padray.errors import DivergedError, InputError
from padray.experts import ranking
from padray.experts.scores import SCORES, Observed, observe
from padray.experts.training import Draws, Recipe, samples_of, train
from padray.fingerprint import Identity
from padray.numerics import decide
from padray.stages import stored
from padray.stages.base import Context, Inputs, Make, Progress, Unit, by_stem, has_units, make_missing, with_others
from padray.store.artifacts import Folder, StoredObject
from padray.store.crash import crash_point

SPLITS = ("train", "validation")


@dataclass(frozen=True)
class ScoreWork:
    """One unit is one scoring network; its object is its table."""

    config: Config
    inputs: Inputs
    scores: Identity

    def prepare(self) -> Make:
        numerics = decide(self.config.compute)
        device = numerics.use()
        dataset = self.inputs.dataset()
        parts = [samples_of(dataset, name, device, numerics.dtype) for name in SPLITS]
        folder = Folder(self.inputs.location, self.scores.folder, self.scores.fingerprint)
        settings, seed = self.config.scores, self.config.seed_of("scores")

        def make(unit: Unit) -> StoredObject:
            start = seed_for(seed, "scores", unit.id, "network")
            network = networks.build(settings.network, dataset.shape, dataset.classes, start)
            network = network.to(device, numerics.dtype)
            epochs = train(network, parts[0], recipe(settings), Draws(seed, "scores", unit.id))
            seen = observe(network, epochs, parts, generator(seed, "scores", unit.id, "random"))
            content = stored.encode_table(_columns(dataset, seen, unit.id, settings.lr))
            crash_point("scores", "before-put", int(unit.id[-4:]))
            return folder.put(unit.id, "parquet", content)

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
        found = score(seen)
        if not bool(found.isfinite().all()):
            raise DivergedError(f"the {method} scores of {unit} are not finite: lower scores.lr ({lr:g})")
        columns[method] = found.tolist()
    return columns


def make(context: Context, data: Identity) -> Identity:
    """Train the scoring networks that are missing, or take the ranking over."""
    began = time.monotonic()
    identity = fingerprint.scores_identity(context.config, data)
    present = context.present(identity)
    from_file = context.config.scores.method == "file"
    names = ["ranking"] if from_file else [f"network-{k:04d}" for k in range(context.config.scores.networks)]
    units = [Unit("scores", name, identity.fingerprint) for name in names]
    reused = has_units(present, units)
    if not reused and from_file:
        _take_over(context, data, identity)
    elif not reused:
        folder = context.folder(identity)
        have = by_stem(folder.loose("network-"))
        work = ScoreWork(context.config, Inputs(context.location, data), identity)
        made = make_missing(context, work, units, have)
        inputs = {"data": data.fingerprint}
        numerics = made.numerics_after(present)
        objects = with_others(made, folder.manifest())
        folder.commit(context.manifest(identity, objects, inputs=inputs, numerics=numerics))
    context.finished(identity, began, reused)
    return identity


def _take_over(context: Context, data: Identity, identity: Identity) -> None:
    """Store the ranking of a file; afterwards the file is not needed. Raises InputError if it cannot be used."""
    context.notify(Progress("scores", 0, 1, "ranking"))
    path, folder = context.config.scores.path or "", context.folder(identity)
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"scores.path: cannot read the ranking {path}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != context.config.scores.digest:
        raise InputError(f"scores.path: {path} has changed since its digest was taken; run the command again")
    dataset = stored.load_dataset(context.folder(data))
    rows = dataset.splits["train"]
    columns = {
        "sample": rows.tolist(), "split": ["train"] * len(rows), "label": dataset.labels[rows].tolist(),
        "file": ranking.scores_of(content, Path(path).name, dataset).tolist(),
    }  # fmt: skip
    item = folder.put("ranking", "parquet", stored.encode_table(columns))
    folder.commit(context.manifest(identity, [item], inputs={"data": data.fingerprint}))
    context.notify(Progress("scores", 1, 1, "ranking"))
