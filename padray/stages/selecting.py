"""A set from units: each is made by itself and kept, and the set is put together when all are there."""

from dataclasses import dataclass

import safetensors.torch

from padray.config import Config
from padray.data.datasets import Dataset
from padray.fingerprint import Identity
from padray.machine.numerics import decide
from padray.methods.families import selective
from padray.methods.method import Selected
from padray.stages import stored, unfinished
from padray.stages.base import Context, Make, Unit, by_stem, make_missing
from padray.stages.materials import Source, StoredMaterials
from padray.stages.provenance import About, put_set
from padray.stages.unfinished import UnitKeeper
from padray.store.artifacts import StoredObject
from padray.store.crash import crash_point

_SHARED = "shared"  # what is trained once for all units


@dataclass(frozen=True)
class SelectWork:
    """How to make the units of a set. It travels; it holds settings and names."""

    source: Source
    identity: Identity

    @property
    def config(self) -> Config:
        return self.source.config

    def prepare(self) -> Make:
        numerics, folder = decide(self.config.compute), self.source.folder(self.identity)
        materials = StoredMaterials(self.source, self.source.dataset(), numerics.use(), numerics)
        materials.keeper = UnitKeeper(folder, _SHARED, numerics)
        method = selective(self.config.distill, materials)

        def make(unit: Unit) -> StoredObject:
            number = int(unit.id.removeprefix("unit-"))
            tensors = {name: part.detach().cpu().contiguous() for name, part in method.make(number).items()}
            crash_point("distill", "before-put", number)
            return folder.put(unit.id, "safetensors", safetensors.torch.save(tensors))

        return make


def make(context: Context, work: SelectWork, count: int) -> StoredObject:
    """The set, stored and listed with its units, of which those that lie there are not made again."""
    folder = context.folder(work.identity)
    units = [Unit("distill", f"unit-{number:06d}", work.identity.fingerprint) for number in range(count)]
    units_made = make_missing(context, work, units, by_stem(folder.loose("unit-")))
    parts = [safetensors.torch.load(folder.get(item)) for item in units_made.objects]
    numerics, dataset = decide(work.config.compute), work.source.dataset()
    materials = StoredMaterials(work.source, dataset, numerics.use(), numerics)
    method = selective(work.config.distill, materials)
    iterations, selected = work.config.distill.iterations, method.selected(parts)
    columns = {} if selected is None else _columns(dataset, selected)
    item = put_set(
        work.source,
        work.identity,
        dataset,
        method.assemble(parts),
        About(iterations, iterations, selected=columns.get("sample")),
    )
    listed = [folder.put("selected", "parquet", stored.encode_table(columns))] if columns else []
    inputs = work.source.read.for_manifest(work.config)
    context.extend(work.identity, [*units_made.objects, *listed, item], inputs, units_made.numerics)
    unfinished.sweep(folder, {_SHARED})
    return item


def _columns(dataset: Dataset, selected: Selected) -> dict[str, list[int] | list[float]]:
    """The samples of which the set consists, in its order: a keep-list for other runs."""
    samples = dataset.splits["train"][selected.rows]
    columns: dict[str, list[int] | list[float]] = {
        "sample": samples.tolist(),
        "label": dataset.labels[samples].tolist(),
    }
    return columns if selected.weights is None else columns | {"weight": selected.weights.tolist()}
