"""Stage `experts`: every expert is trained on the scheduled data and stored as one shard of snapshots."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from padray import fingerprint
from padray.config import Config, ExpertSettings
from padray.data.datasets import Dataset
from padray.draws import seed_for
from padray.errors import DivergedError, InputError
from padray.experts.positions import Tensors
from padray.experts.schedule import rank, samples_of_epoch
from padray.experts.sharpness import Sharpness
from padray.experts.training import Draws, Recipe, Samples, accuracy, samples_of, train
from padray.fingerprint import Identity
from padray.machine.numerics import decide
from padray.networks import factory
from padray.networks.derivatives import execution_of
from padray.networks.flat import FlatNetwork, spans_of
from padray.stages import imported, keeplist, stored
from padray.stages.base import Context, Inputs, Make, Unit, by_stem, has_units, make_missing
from padray.stages.unfinished import UnitKeeper
from padray.store import shards
from padray.store.artifacts import Folder, StoredObject
from padray.store.crash import crash_point

_ROWS, _ACCURACIES, _BUFFER = "rows", "accuracies", "buffer."  # of what is kept of an unfinished expert


@dataclass
class _Snapshots:
    """What is kept of a network while it is trained: its parameters and buffers after each kept epoch, copied.

    Attributes:
        accuracies: after each epoch, on the validation split; empty where there is none.
    """

    flat: FlatNetwork
    settings: ExpertSettings
    epochs: list[int] = field(default_factory=list)
    rows: list[torch.Tensor] = field(default_factory=list)
    buffers: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    accuracies: list[float] = field(default_factory=list)

    def take(self, epoch: int) -> None:
        """Copy the network as it is after `epoch` epochs, if that one is kept."""
        if self.settings.keeps(epoch):
            self.epochs.append(epoch)
            self.rows.append(self.flat.flatten().cpu())
            for name, buffer in self.flat.buffers().items():
                self.buffers.setdefault(name, []).append(buffer.cpu())

    def tensors(self) -> dict[str, torch.Tensor]:
        """What was kept so far."""
        buffers = {f"{_BUFFER}{name}": torch.stack(rows) for name, rows in self.buffers.items()}
        accuracies = torch.tensor(self.accuracies, dtype=torch.float64)
        return {_ROWS: torch.stack(self.rows), _ACCURACIES: accuracies, **buffers}

    def put_back(self, tensors: Tensors, epochs: int) -> None:
        """What was kept of so many epochs by whoever began. Raises InputError if that is something else."""
        self.epochs = [epoch for epoch in range(epochs + 1) if self.settings.keeps(epoch)]
        like = {_ROWS: self.flat.flatten()} | {f"{_BUFFER}{name}": each for name, each in self.flat.buffers().items()}
        for name, value in like.items():
            if name not in tensors or tensors[name].shape != (len(self.epochs), *value.shape):
                raise InputError(f"an expert cannot go on from what is stored of it ({name}); remove that")
        self.rows, self.accuracies = list(tensors[_ROWS].unbind()), tensors[_ACCURACIES].tolist()
        self.buffers = {name: list(tensors[f"{_BUFFER}{name}"].unbind()) for name in self.flat.buffers()}

    def encode(self, facts: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
        """The shard's bytes and its row index."""
        buffers = {name: torch.stack(rows) for name, rows in self.buffers.items()}
        return shards.encode(torch.stack(self.rows), facts, self.epochs, buffers)


@dataclass(frozen=True)
class ExpertWork:
    """One unit is one expert; its object is a shard of the snapshots before training and after every kept epoch."""

    config: Config
    inputs: Inputs
    scores: Identity | None
    keep: Identity | None
    experts: Identity

    def prepare(self) -> Make:
        numerics = decide(self.config.compute)
        device = numerics.use(self.config.compute.allocator)
        dataset = self.inputs.dataset()
        location = self.inputs.location
        chosen = self._curriculum(dataset)
        how = replace(recipe(self.config.experts), execution=execution_of(numerics))
        splits = {name: samples_of(dataset, name, device, numerics.dtype) for name in ("train", "validation")}
        folder = Folder(location, self.experts.folder, self.experts.fingerprint)

        def make(unit: Unit) -> StoredObject:
            seed = seed_for(self.config.seed_of("experts"), "experts", unit.id, "network")
            network = factory.build(self.config.network, dataset.shape, dataset.classes, seed)
            snapshots = _Snapshots(FlatNetwork(network.to(device, numerics.dtype)), self.config.experts)
            keeper = UnitKeeper(folder, unit.id, numerics)
            before = keeper.remember(snapshots.tensors)
            if left := keeper.left():
                snapshots.put_back(before, left.epoch)
            else:
                snapshots.take(0)
            facts = self._train(unit, snapshots, replace(how, keeper=keeper), splits, chosen)
            content, rows = snapshots.encode({**facts, "spans": _spans(network), "seed": seed})
            crash_point("experts", "before-put", int(unit.id[-4:]))
            item = folder.put(unit.id, "safetensors", content, {"rows": rows})
            crash_point("experts", "after-put", int(unit.id[-4:]))
            keeper.over()
            return item

        return make

    def _curriculum(self, dataset: Dataset) -> Callable[[int], torch.Tensor] | None:
        """FIEX: epoch -> positions within the train split; None where every epoch sees everything."""
        kept_N = torch.ones(len(dataset.splits["train"]), dtype=torch.bool)
        if self.keep is not None:
            folder = Folder(self.inputs.location, self.keep.folder, self.keep.fingerprint)
            kept_N[:] = False
            kept_N[keeplist.rows_of(folder, dataset)] = True
        if self.scores is None:
            rows = kept_N.nonzero().flatten()
            return None if self.keep is None else lambda epoch: rows
        folder = Folder(self.inputs.location, self.scores.folder, self.scores.fingerprint)
        scores_N = stored.scores_of_rows(folder, self.config.scores, dataset.splits["train"])
        ranked = rank(scores_N, dataset.labels[dataset.splits["train"]], dataset.classes)
        left, over = [ids[kept_N[ids]] for ids in ranked], {"prune_hardest": 0.0, "prune_easiest": 0.0}
        schedule = self.config.schedule.model_copy(update=over)  # what they leave out is not on the keep-list
        return lambda epoch: samples_of_epoch(left, epoch, schedule)

    def _train(
        self,
        unit: Unit,
        snapshots: _Snapshots,
        recipe: Recipe,
        splits: dict[str, Samples],
        chosen: Callable[[int], torch.Tensor] | None,
    ) -> dict[str, Any]:
        """Take the snapshots; the facts, with the accuracy after each epoch on the validation split if there is one."""
        settings, network, left = self.config.experts, snapshots.flat.module, recipe.keeper.left()
        draws = Draws(self.config.seed_of("experts"), "experts", unit.id)
        epochs = train(network, splits["train"], recipe, draws, chosen)
        for epoch, _ in enumerate(epochs, start=1 + (left.epoch if left else 0)):
            snapshots.take(epoch)
            if len(splits["validation"].labels):
                snapshots.accuracies.append(accuracy(network, splits["validation"], recipe.execution))
        if not all(bool(torch.isfinite(row).all()) for row in snapshots.rows):
            raise DivergedError(f"{unit.id} has parameters that are not finite: lower experts.lr ({settings.lr:g})")
        facts = {"network": self.config.network.model_dump(mode="json"), "epochs": settings.epochs, "unit": unit.id}
        return {**facts, "validation_accuracy": snapshots.accuracies}


def recipe(settings: ExpertSettings) -> Recipe:
    """How an expert is trained."""
    sharpness = Sharpness(settings.rho, settings.gsam_alpha, settings.adaptive) if settings.rho else None
    return Recipe(
        settings.epochs,
        settings.batch,
        settings.lr,
        settings.momentum,
        settings.weight_decay,
        settings.augment,
        sharpness=sharpness,
    )


def _spans(network: torch.nn.Module) -> list[dict[str, Any]]:
    return [asdict(span) for span in spans_of(network)]


def _with_rows(folder: Folder, items: list[StoredObject]) -> list[StoredObject]:
    """Shards that lie in the folder, with the row index that the manifest has, or else their own headers."""
    return [
        item if "rows" in item.extra else replace(item, extra={"rows": shards.read_header(folder, item)["rows"]})
        for item in items
    ]


def make(context: Context, data: Identity, scores: Identity | None, keep: Identity | None = None) -> Identity:
    """Train the experts that are missing, on the samples of the keep-list `keep` as the schedule has them."""
    began = time.monotonic()
    identity = fingerprint.experts_identity(context.config, data)
    if context.config.experts.imported is not None:
        imported.require(context, identity, data)
        context.finished(identity, began, reused=True)
        return identity
    folder, count = context.folder(identity), context.config.experts.count
    present = context.present(identity)
    units = [Unit("experts", f"expert-{k:04d}", identity.fingerprint) for k in range(count)]
    reused = has_units(present, units)
    if not reused:
        have = by_stem(_with_rows(folder, folder.loose("expert-", {unit.id for unit in units})))
        work = ExpertWork(context.config, Inputs(context.location, data), scores, keep, identity)
        shards_of_units = make_missing(context, work, units, have)
        read = {"data": data, "scores": scores, "keep": keep}
        inputs = {stage: place.fingerprint for stage, place in read.items() if place is not None}
        context.extend(identity, shards_of_units.objects, inputs, shards_of_units.numerics)
    context.finished(identity, began, reused)
    return identity
