"""Import of expert buffers: `replay_buffer_{n}.pt`, a list of experts, each a list of E+1 lists of parameter tensors.

Each expert becomes a shard like those that padray trains; `experts.imported` names all of them by one digest, the
SHA-256 of the files' digests in rising order. The files are taken in that order too, so that the same files mean the
same experts with the same numbers, whatever the files are called. Legend: P parameters, E epochs.
"""

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from padray import fingerprint
from padray.config import Config
from padray.errors import InputError
from padray.exchange import foreign
from padray.exchange.received import ImportedExperts
from padray.machine.numerics import decide
from padray.networks import factory
from padray.networks.flat import Span, spans_of
from padray.stages import data
from padray.stages.base import Context, Progress
from padray.stages.facts import DatasetFacts, dataset_facts
from padray.store import shards
from padray.store.artifacts import Folder, StoredObject


def import_experts(context: Context, source: str) -> ImportedExperts:
    """Store the experts of a folder of buffers, or of one file, for `padray distill`.

    Raises:
        InputError: the files are missing or hostile, or do not fit the network, the dataset or `experts.epochs`.
    """
    pairs = sorted((foreign.digest(path), path) for path in foreign.find_buffers(source))
    digests = {path: digest for digest, path in pairs}
    imported = hashlib.sha256("\n".join(digests.values()).encode()).hexdigest()
    config = _as_imported(context.config, imported)
    context = replace(context, config=config)
    stored_data = data.make(context)
    identity = fingerprint.experts_identity(config, stored_data)
    folder = context.folder(identity)
    manifest = folder.manifest()
    if manifest is None or not manifest.objects or folder.gone(manifest):
        importer = _Importer(context, folder, dataset_facts(context.folder(stored_data)))
        given = (item for place, path in enumerate(digests) for item in importer.shards(place, path, digests))
        objects = _all_or_none(folder, given)
        config = config.model_copy(update={"experts": config.experts.model_copy(update={"count": len(objects)})})
        manifest = replace(context, config=config).manifest(
            identity,
            objects,
            inputs={"data": stored_data.fingerprint},
            facts={"provenance": "imported", "sources": {path.name: digest for path, digest in digests.items()}},
        )
        folder.commit(manifest)
    count, epochs = len(manifest.objects), shards.rows_of(manifest.objects[0]).count - 1
    use = _use((*context.overrides, f"experts.imported={imported}", f"experts.count={count}"))
    return ImportedExperts(
        "experts", folder.uri, identity.fingerprint, use, _notes(config), experts=imported, count=count, epochs=epochs
    )


def _use(overrides: Sequence[str]) -> str:
    """What to type next: with what was typed here, for other settings may mean another dataset or network."""
    return " ".join(["padray distill CONFIG", *(f"--set {shlex.quote(override)}" for override in overrides)])


def _all_or_none(folder: Folder, given: Iterable[StoredObject]) -> list[StoredObject]:
    """The shards as they are stored; where one of them is refused, none of the new ones stays."""
    before, objects = set(folder.keys()), list[StoredObject]()
    try:
        objects += given
    except InputError:
        for key in set(folder.keys()) - before:
            folder.location.delete(key)
        raise
    return objects


def _as_imported(config: Config, imported: str) -> Config:
    experts = config.experts.model_copy(update={"imported": imported, "keep_epochs": None})
    distill = config.distill.model_copy(update={"ipc": 1})  # experts serve sets of any size
    return config.model_copy(update={"experts": experts, "distill": distill})


def _notes(config: Config) -> list[str]:
    if config.data.validation:
        return [
            "experts of others were trained on what is the validation split here, so what is chosen by validation "
            "accuracy is chosen with too high hopes; data.validation=0 does without"
        ]
    return []


class _Importer:
    """Where buffers become shards: the network that they must fit, and the folder that the shards go to."""

    def __init__(self, context: Context, folder: Folder, facts: DatasetFacts) -> None:
        self.context, self.folder, self.config = context, folder, context.config
        network = factory.build(self.config.network, facts.shape, facts.classes, 0)
        if any(True for _ in network.buffers()):
            raise InputError(
                f"{self.config.network.label} keeps running statistics, which such files do not hold; only experts of "
                f"networks without them can be imported"
            )
        self.spans = spans_of(network)
        self.dtype = decide(self.config.compute).dtype
        self.count = 0

    def shards(self, place: int, path: Path, digests: dict[Path, str]) -> Iterator[StoredObject]:
        """The experts of one file, each stored as it is asked for."""
        self.context.notify(Progress("import", place, len(digests), path.name))
        experts = foreign.load(path)
        if not isinstance(experts, list) or not experts:
            raise InputError(f"{path} must hold a list of experts (got {type(experts).__name__})")
        room = path.stat().st_size  # a parameter has at least one byte of its own, or a small file would fill a disk
        for number, snapshots in enumerate(experts):
            expert = Expert(f"{path.name}, expert {number}", snapshots)
            theta_EP = trajectory(expert, self.spans, self.config).to(self.dtype)
            room -= theta_EP.numel()
            if room < 0:
                raise InputError(f"{path.name} holds fewer bytes than its experts' parameters: some are there twice")
            origin = {"file": path.name, "sha256": digests[path], "expert": number}
            yield self._put(theta_EP, origin)
        self.context.notify(Progress("import", place + 1, len(digests), path.name))

    def _put(self, theta_EP: torch.Tensor, origin: dict[str, Any]) -> StoredObject:
        unit = f"expert-{self.count:04d}"
        self.count += 1
        facts = {
            "network": self.config.network.model_dump(mode="json"),
            "epochs": len(theta_EP) - 1,
            "unit": unit,
            "validation_accuracy": [],
            "spans": [asdict(span) for span in self.spans],
            "origin": origin,
        }
        content, rows = shards.encode(theta_EP, facts)
        return self.folder.put(unit, "safetensors", content, {"rows": rows})


@dataclass(frozen=True)
class Expert:
    """One expert as its file holds it, and the place to name where it does not fit."""

    place: str
    snapshots: Any


def trajectory(expert: Expert, spans: Sequence[Span], config: Config) -> torch.Tensor:
    """The snapshots as rows (E+1, P).

    Raises:
        InputError: other epochs or parameters than those of the settings, values that are not finite, or snapshots
            that do not move, as they are where a file holds one network's tensors under every epoch.
    """
    snapshots, epochs = expert.snapshots, config.experts.epochs
    if not isinstance(snapshots, list) or len(snapshots) < 2:
        raise InputError(f"{expert.place} must be a list of snapshots, one before training and one after every epoch")
    if len(snapshots) != epochs + 1:
        raise InputError(
            f"{expert.place} has {len(snapshots)} snapshots, which is {len(snapshots) - 1} epochs, but experts.epochs "
            f"is {epochs}: set experts.epochs={len(snapshots) - 1}"
        )
    theta_EP = torch.stack([_row(f"{expert.place}, snapshot {t}", s, spans, config) for t, s in enumerate(snapshots)])
    if not bool(theta_EP.isfinite().all()):
        row = int((~theta_EP.isfinite().all(dim=1)).nonzero()[0])
        raise InputError(
            f"{expert.place}, snapshot {row} holds NaN or infinity, or a number beyond float32; every value must be "
            f"finite"
        )
    still = (theta_EP[1:] == theta_EP[:-1]).all(dim=1)
    if bool(still.any()):
        raise InputError(
            f"{expert.place} does not move in epoch {int(still.nonzero()[0]) + 1}, so there is nothing to match; its "
            f"snapshots may be one network's tensors, saved under every epoch"
        )
    return theta_EP


def _row(place: str, tensors: Any, spans: Sequence[Span], config: Config) -> torch.Tensor:
    """One snapshot as a vector (P,)."""
    if not isinstance(tensors, list | tuple) or len(tensors) != len(spans):
        size = len(tensors) if isinstance(tensors, list | tuple) else 0
        raise InputError(f"{place} has {size} tensors, but {config.network.label} has {len(spans)} of parameters")
    parts = []
    for number, (content, span) in enumerate(zip(tensors, spans, strict=True)):
        part = foreign.tensor(content, f"{place}, tensor {number}")
        if tuple(part.shape) != span.shape or not part.is_floating_point():
            raise InputError(
                f"{place}, tensor {number} has the shape {list(part.shape)}, but {span.name} of "
                f"{config.network.label} has {list(span.shape)}: set network to what the experts are"
            )
        parts.append(foreign.converted(part.reshape(-1), torch.float32, f"{place}, tensor {number}"))
    return torch.cat(parts)
