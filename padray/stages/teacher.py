"""The teacher of `evaluation.protocol: rded-kd`: trained once on the real data, stored, and used by all cells.

`teacher.safetensors` holds the network's parameters and buffers by their names, and its facts in the header.
"""

import json
from dataclasses import asdict, dataclass, replace

import safetensors.torch
import torch
from torch import nn

from padray import fingerprint
from padray.config import Config
from padray.data.datasets import Dataset
from padray.draws import seed_for
from padray.errors import DivergedError
from padray.evaluation.accuracy import measure
from padray.evaluation.protocol import recipe_for
from padray.experts.positions import Keeper
from padray.experts.training import Draws, Samples, samples_of, train
from padray.fingerprint import Identity
from padray.machine.numerics import decide
from padray.networks import factory
from padray.networks.derivatives import execution_of
from padray.stages.base import Context, Inputs, Make, Unit, by_stem, has_units, make_missing
from padray.stages.unfinished import UnitKeeper
from padray.store.artifacts import Folder, StoredObject

_STEM = "teacher"


@dataclass(frozen=True)
class TeacherWork:
    """Its one unit is the teacher."""

    config: Config
    inputs: Inputs
    place: Identity

    def prepare(self) -> Make:
        numerics = decide(self.config.compute)
        device = numerics.use(self.config.compute.allocator)
        dataset, settings = self.inputs.dataset(), self.config.evaluation.teacher

        def samples(split: str) -> Samples:
            return samples_of(dataset, split, device, numerics.dtype)

        def make(unit: Unit) -> StoredObject:
            folder = _folder(self.inputs, self.place)
            keeper = UnitKeeper(folder, unit.id, numerics)
            try:
                model = _trained(self.config, dataset, samples("train"), keeper)
                reached = asdict(measure(model, samples("test")))
            except DivergedError:
                raise DivergedError(
                    "the teacher's loss is not finite any more: lower evaluation.teacher.teacher_lr "
                    f"({settings.teacher_lr:g})"
                ) from None
            facts = {"network": settings.network.model_dump(mode="json"), "epochs": settings.epochs, "test": reached}
            tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
            content = safetensors.torch.save(tensors, metadata={"padray": json.dumps(facts, sort_keys=True)})
            item = folder.put(unit.id, "safetensors", content)
            keeper.over()
            return item

        return make


def _folder(inputs: Inputs, place: Identity) -> Folder:
    return Folder(inputs.location, place.folder, place.fingerprint)


def _trained(config: Config, dataset: Dataset, samples: Samples, keeper: Keeper) -> nn.Module:
    """A fresh network after tm1001 with the teacher's epochs, lr and batch.

    Raises:
        DivergedError: the loss is not finite.
    """
    evaluation, seed = config.evaluation, config.seed_of("evaluation")
    settings = evaluation.teacher
    start = seed_for(seed, "evaluation", "teacher", "network")
    model = factory.build(settings.network, dataset.shape, dataset.classes, start)
    model = model.to(samples.images.device, samples.images.dtype)
    batched = replace(evaluation.judging, batch=settings.teacher_batch)
    recipe = replace(
        recipe_for(batched, settings.epochs, settings.teacher_lr),
        execution=execution_of(decide(config.compute), bf16=False),
        keeper=keeper,
    )
    for _ in train(model, samples, recipe, Draws(seed, "evaluation", "teacher")):
        pass
    return model


def make(context: Context, inputs: Inputs, later: int = 0) -> Identity:
    """Train the teacher if it is not there. `later`: how many units of the evaluation follow."""
    place = fingerprint.teacher_identity(context.config, inputs.data)
    units = [Unit("evaluate", _STEM, place.fingerprint)]
    if not has_units(context.present(place), units):
        folder = context.folder(place)
        work = TeacherWork(context.config, inputs, place)
        networks = make_missing(context, work, units, by_stem(folder.loose(_STEM)), later=later)
        of = {"data": inputs.data.fingerprint}
        folder.commit(context.manifest(place, networks.objects, inputs=of, numerics=networks.numerics))
    return place


def load(config: Config, inputs: Inputs, dataset: Dataset, device: torch.device) -> nn.Module:
    """The stored teacher on a device, in evaluation mode."""
    place = fingerprint.teacher_identity(config, inputs.data)
    folder = _folder(inputs, place)
    content = folder.get(folder.require().object(_STEM))
    model = factory.build(config.evaluation.teacher.network, dataset.shape, dataset.classes, 0)
    model = model.to(decide(config.compute).dtype)
    model.load_state_dict(safetensors.torch.load(content))
    return model.to(device).eval().requires_grad_(False)
