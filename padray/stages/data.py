"""Stage `data`: real data in, one stored dataset with its splits and its preprocessing out."""

import time
from typing import Any

from padray import fingerprint
from padray.data import datasets, sources
from padray.data.datasets import Dataset
from padray.errors import InputError
from padray.fingerprint import Identity
from padray.stages import stored
from padray.stages.base import Context, Progress


def identify(context: Context) -> Identity:
    """The dataset's identity; reads the source's bytes but decodes nothing."""
    return fingerprint.data_identity(context.config, sources.source_digest(context.config.data))


def make(context: Context) -> Identity:
    """Store the dataset if it is not there."""
    began = time.monotonic()
    identity = context.stored_data or identify(context)
    manifest = context.folder(identity).require() if context.stored_data else context.present(identity)
    reused = manifest is not None
    if manifest is None:
        context.notify(Progress("data", 0, 1, identity.name))
        dataset = datasets.make(context.config.data, sources.read(context.config.data))
        item = context.folder(identity).put("dataset", "safetensors", stored.encode_dataset(dataset))
        sizes = {name: len(ids) for name, ids in dataset.splits.items()}
        facts = {
            "class_names": list(dataset.class_names), "shape": list(dataset.shape), "splits": sizes,
            "train_per_class": _train_counts(dataset),
        }  # fmt: skip
        manifest = context.manifest(identity, [item], facts=facts)
        context.folder(identity).commit(manifest)
    _check_ipc(manifest.facts, context.config.distill.ipc)
    context.notify(Progress("data", 1, 1, identity.name))
    context.finished(identity, began, reused)
    return identity


def _train_counts(dataset: Dataset) -> list[int]:
    counts: list[int] = dataset.labels[dataset.splits["train"]].bincount(minlength=dataset.classes).tolist()
    return counts


def _check_ipc(facts: dict[str, Any], ipc: int) -> None:
    """Refuse more images per class than the smallest class has, before any training. Raises InputError."""
    counts = facts["train_per_class"]
    smallest = counts.index(min(counts))
    if ipc > counts[smallest]:
        raise InputError(
            f"distill.ipc is {ipc}, but class {facts['class_names'][smallest]!r} has only {counts[smallest]} "
            f"training samples; lower distill.ipc"
        )
