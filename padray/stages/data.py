"""Stage `data`: real data in, one stored dataset with its splits and its preprocessing out."""

import time
from typing import Any

from padray import fingerprint, networks
from padray.config import Config
from padray.data import datasets, sources
from padray.data.datasets import Dataset
from padray.data.listing import HOLDS
from padray.errors import InputError
from padray.fingerprint import Identity
from padray.numerics import within_memory
from padray.stages import stored
from padray.stages.base import Context, Progress
from padray.store.artifacts import Manifest

Facts = dict[str, Any]


def identify(context: Context) -> Identity:
    """The dataset's identity; reads the source's bytes but decodes nothing."""
    return fingerprint.data_identity(context.config, sources.source_digest(context.config.data))


def make(context: Context) -> Identity:
    """Store the dataset if it is not there. Raises InputError for settings that do not fit it; nothing is stored then.

    With `--fresh`, too, what is there is only forgotten for settings that fit.
    """
    began = time.monotonic()
    identity = context.stored_data or identify(context)
    folder = context.folder(identity)
    known = folder.require() if context.stored_data else folder.manifest()
    if known is not None:
        check(known.facts, context.config)
    manifest = known if context.stored_data else context.present(identity)
    reused = manifest is not None
    if manifest is None:
        context.notify(Progress("data", 0, 1, identity.name))
        with within_memory(f"the dataset {context.config.data.dataset}", sources.REMEDY):
            manifest = _store(context, identity)
    context.notify(Progress("data", 1, 1, identity.name + _stand_in(manifest.facts)))
    context.finished(identity, began, reused)
    return identity


def check(facts: Facts, config: Config) -> None:
    """Refuse settings that do not fit the dataset with these facts. Raises InputError."""
    _check_ipc(facts, config)
    _check_augment(facts, config)
    check_networks(facts, config)


def check_networks(facts: Facts, config: Config) -> None:
    """Refuse networks that cannot work on samples of this shape, before any is trained. Raises InputError."""
    channels, height, width = facts["shape"]
    asked = [("network", config.network)]
    if config.trains_scoring_networks:
        asked.append(("scores.network", config.scores.network))
    asked += [("evaluation.architectures", network) for network in config.evaluation.architectures]
    if config.evaluation.protocol == "teacher":
        asked.append(("evaluation.teacher.network", config.evaluation.teacher.network))
    for key, network in asked:
        try:
            networks.check(network, (channels, height, width))
        except InputError as error:
            raise InputError(f"{key}: {error}") from None


def _store(context: Context, identity: Identity) -> Manifest:
    """Read, split, fit, look whether the settings suit it, and store."""
    dataset, places = _read(context.config)
    facts = {
        "class_names": list(dataset.class_names), "shape": list(dataset.shape), "content": dataset.content,
        "splits": {name: len(rows) for name, rows in dataset.splits.items()},
        "train_per_class": dataset.per_class("train").tolist(), "read_from": places,
    }  # fmt: skip
    check(facts, context.config)
    item = context.folder(identity).put("dataset", "safetensors", stored.encode_dataset(dataset))
    manifest = context.manifest(identity, [item], facts=facts)
    context.folder(identity).commit(manifest)
    return manifest


def _read(config: Config) -> tuple[Dataset, dict[str, str]]:
    """The dataset, and what its train and test samples were read from; the raw arrays are let go."""
    raw = sources.read(config.data)
    return datasets.make(config.data, raw), {"train": raw.train.place, "test": raw.test.place}


def _stand_in(facts: Facts) -> str:
    """A remark where samples named validation are those that are tested on."""
    place = facts.get("read_from", {}).get("test", "")
    return f", {place} serves as the test split" if place.removeprefix("data/").startswith("val") else ""


def _check_ipc(facts: Facts, config: Config) -> None:
    """Refuse more images per class than the smallest class has, before any training. Raises InputError."""
    counts, ipc = facts["train_per_class"], config.distill.ipc
    smallest = counts.index(min(counts))
    if ipc > counts[smallest]:
        tail = " or data.imbalance" if config.data.imbalance > 1 else ""
        raise InputError(
            f"distill.ipc is {ipc}, but class {facts['class_names'][smallest]!r} has only {counts[smallest]} "
            f"training samples; lower distill.ipc{tail}"
        )


def _check_augment(facts: Facts, config: Config) -> None:
    """Refuse to augment what is no image, before any training. Raises InputError."""
    if facts.get("content", "image") == "image":
        return
    strategies = {"distill.augment": config.distill.augment, "evaluation.augment": config.evaluation.augment}
    if config.experts.imported is None:
        strategies["experts.augment"] = config.experts.augment
    if config.trains_scoring_networks:
        strategies["scores.augment"] = config.scores.augment
    wrong = [f"{key}=none" for key, strategy in strategies.items() if strategy != "none"]
    if wrong:
        raise InputError(
            f"{config.data.dataset} holds {HOLDS[facts['content']]}, and augmentation "
            f"is for images; set {', '.join(wrong)}"
        )
