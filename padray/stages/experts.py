"""Stage `experts`: every expert is trained on the scheduled data and stored as one shard of snapshots."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from padray import fingerprint, networks
from padray.config import Config
from padray.data.datasets import Dataset
from padray.draws import seed_for
from padray.errors import WorkError
from padray.experts.schedule import rank, samples_of_epoch
from padray.experts.training import Draws, Recipe, Samples, accuracy, train
from padray.fingerprint import Identity
from padray.networks.flat import FlatNetwork, spans_of
from padray.numerics import decide
from padray.stages import stored
from padray.stages.base import Context, Inputs, Make, Unit, by_stem, make_missing
from padray.store import shards
from padray.store.artifacts import Folder, StoredObject
from padray.store.crash import crash_point


@dataclass(frozen=True)
class ExpertWork:
    """One unit is one expert; its object is a shard of epochs + 1 snapshots."""

    config: Config
    inputs: Inputs
    scores: Identity | None
    experts: Identity

    def prepare(self) -> Make:
        numerics = decide(self.config.compute)
        device = numerics.use()
        dataset = self.inputs.dataset()
        location = self.inputs.location()
        chosen = self._curriculum(dataset)
        splits = {}
        for name in ("train", "validation"):
            images, labels = dataset.split(name)
            splits[name] = Samples(images.to(device, numerics.dtype), labels.to(device))
        folder = Folder(location, self.experts.folder, self.experts.fingerprint)

        def make(unit: Unit) -> StoredObject:
            seed = seed_for(self.config.seed_of("experts"), "experts", unit.id, "network")
            network = networks.build(self.config.network, dataset.shape, dataset.classes, seed)
            theta, facts = self._train(unit, network.to(device, numerics.dtype), splits, chosen)
            content, rows = shards.encode(theta, {**facts, "spans": _spans(network), "seed": seed})
            crash_point("experts", "before-put", int(unit.id[-4:]))
            item = folder.put(unit.id, "safetensors", content, {"rows": rows})
            crash_point("experts", "after-put", int(unit.id[-4:]))
            return item

        return make

    def _curriculum(self, dataset: Dataset) -> Callable[[int], torch.Tensor] | None:
        """FIEX: epoch -> positions within the train split; None where every epoch sees everything."""
        if self.scores is None:
            return None
        folder = Folder(self.inputs.location(), self.scores.folder, self.scores.fingerprint)
        _, scores = stored.load_scores(folder, self.config.scores.networks)
        ranked = rank(scores, dataset.labels[dataset.splits["train"]], dataset.classes)
        return lambda epoch: samples_of_epoch(ranked, epoch, self.config.schedule)

    def _train(
        self,
        unit: Unit,
        network: torch.nn.Module,
        splits: dict[str, Samples],
        chosen: Callable[[int], torch.Tensor] | None,
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """The snapshots (E+1, P), and the accuracy after each epoch on the validation split, if there is one."""
        settings = self.config.experts
        recipe = Recipe(
            settings.epochs, settings.batch, settings.lr, settings.momentum, settings.weight_decay, settings.augment
        )
        flat = FlatNetwork(network)
        rows, accuracies = [flat.flatten().cpu()], []
        draws = Draws(self.config.seed_of("experts"), "experts", unit.id)
        for _ in train(network, splits["train"], recipe, draws, chosen):
            rows.append(flat.flatten().cpu())
            if len(splits["validation"].labels):
                accuracies.append(accuracy(network, splits["validation"]))
        theta = torch.stack(rows)
        if not bool(torch.isfinite(theta).all()):
            raise WorkError(f"{unit.id} has parameters that are not finite: lower experts.lr ({settings.lr:g})")
        facts = {"network": self.config.network.model_dump(mode="json"), "epochs": settings.epochs, "unit": unit.id}
        return theta, {**facts, "validation_accuracy": accuracies}


def _spans(network: torch.nn.Module) -> list[dict[str, Any]]:
    return [asdict(span) for span in spans_of(network)]


def _with_rows(folder: Folder, items: list[StoredObject]) -> list[StoredObject]:
    """Shards that lie in the folder, with the row index from their own headers."""
    return [replace(item, extra={"rows": shards.describe(folder.get(item))["rows"]}) for item in items]


def make(context: Context, data: Identity, scores: Identity | None) -> Identity:
    """Train the experts that are missing."""
    began = time.monotonic()
    identity = fingerprint.experts_identity(context.config, data)
    folder, count = context.folder(identity), context.config.experts.count
    present = context.present(identity)
    reused = present is not None and len(present.objects) >= count
    if not reused:
        units = [Unit("experts", f"expert-{k:04d}", identity.fingerprint) for k in range(count)]
        have = by_stem(_with_rows(folder, folder.loose("expert-")))
        work = ExpertWork(context.config, Inputs(context.location.uri, data), scores, identity)
        made = make_missing(context, work, units, have)
        inputs = {"data": data.fingerprint} | ({"scores": scores.fingerprint} if scores else {})
        numerics = made.numerics_after(present)
        folder.commit(context.manifest(identity, made.objects, inputs=inputs, numerics=numerics))
    context.finished(identity, began, reused)
    return identity
