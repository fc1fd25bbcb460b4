"""Stage `scores`: several networks are trained, each scores every training sample."""

import time
from dataclasses import dataclass

from padray import fingerprint, networks
from padray.config import Config
from padray.draws import seed_for
from padray.experts.scores import SCORES
from padray.experts.training import Draws, Recipe, Samples, logits_of, train
from padray.fingerprint import Identity
from padray.numerics import decide
from padray.stages import stored
from padray.stages.base import Context, Inputs, Make, Unit, by_stem, make_missing
from padray.store.artifacts import Folder, StoredObject
from padray.store.crash import crash_point


@dataclass(frozen=True)
class ScoreWork:
    """One unit is one scoring network; its object is a table of sample, label and score."""

    config: Config
    inputs: Inputs
    scores: Identity

    def prepare(self) -> Make:
        numerics = decide(self.config.compute)
        device = numerics.use()
        dataset = self.inputs.dataset()
        images, labels = dataset.split("train")
        samples = Samples(images.to(device, numerics.dtype), labels.to(device))
        folder = Folder(self.inputs.location(), self.scores.folder, self.scores.fingerprint)
        settings, seed = self.config.scores, self.config.seed_of("scores")
        recipe = Recipe(
            settings.epochs, settings.batch, settings.lr, settings.momentum, settings.weight_decay, settings.augment
        )

        def make(unit: Unit) -> StoredObject:
            start = seed_for(seed, "scores", unit.id, "network")
            network = networks.build(settings.network, dataset.shape, dataset.classes, start)
            network = network.to(device, numerics.dtype)
            for _ in train(network, samples, recipe, Draws(seed, "scores", unit.id)):
                pass
            found = SCORES[settings.method](logits_of(network, samples.images), samples.labels).cpu().double()
            ids = dataset.splits["train"].tolist()
            columns = {"sample": ids, "label": labels.tolist(), "score": found.tolist()}
            crash_point("scores", "before-put", int(unit.id[-4:]))
            return folder.put(unit.id, "parquet", stored.encode_table(columns))

        return make


def make(context: Context, data: Identity) -> Identity:
    """Train the scoring networks that are missing."""
    began = time.monotonic()
    identity = fingerprint.scores_identity(context.config, data)
    folder, count = context.folder(identity), context.config.scores.networks
    present = context.present(identity)
    reused = present is not None and len(present.objects) >= count
    if not reused:
        units = [Unit("scores", f"network-{k:04d}", identity.fingerprint) for k in range(count)]
        have = by_stem(folder.loose("network-"))
        work = ScoreWork(context.config, Inputs(context.location.uri, data), identity)
        made = make_missing(context, work, units, have)
        inputs = {"data": data.fingerprint}
        numerics = made.numerics_after(present)
        folder.commit(context.manifest(identity, made.objects, inputs=inputs, numerics=numerics))
    context.finished(identity, began, reused)
    return identity
