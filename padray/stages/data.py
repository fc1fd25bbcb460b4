"""Stage `data`: real data in, one stored dataset with its splits and its preprocessing out."""

import time
from typing import NamedTuple

from padray import fingerprint
from padray.config import Config
from padray.data import datasets, sources
from padray.data.datasets import Dataset
from padray.data.listing import HOLDS
from padray.errors import InputError
from padray.fingerprint import Identity
from padray.machine.numerics import within_memory
from padray.networks import factory
from padray.stages import stored
from padray.stages.base import Context, Progress
from padray.stages.facts import DatasetFacts, dataset_facts, facts_of, plain


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
    known = folder.require() if context.stored_data else folder.present()
    if known is not None and known.objects:
        check(dataset_facts(folder, known), context.config)
    manifest = known if context.stored_data else context.whole(identity, "dataset")
    reused = manifest is not None
    if manifest is None:
        context.notify(Progress("data", 0, 1, identity.name))
        with within_memory(f"the dataset {context.config.data.dataset}", sources.REMEDY):
            facts = _store(context, identity)
    else:
        facts = dataset_facts(folder, manifest)
    context.notify(Progress("data", 1, 1, identity.name + _stand_in(facts)))
    context.finished(identity, began, reused)
    return identity


def check(facts: DatasetFacts, config: Config) -> None:
    """Refuse settings that do not fit the dataset with these facts. Raises InputError."""
    _check_ipc(facts, config)
    _check_augment(facts, config)
    check_networks(facts, config)


def check_networks(facts: DatasetFacts, config: Config) -> None:
    """Refuse networks that cannot work on samples of this shape, before any is trained. Raises InputError."""
    asked = [("network", config.network)]
    if config.trains_scoring_networks:
        asked.append(("scores.network", config.scores.network))
    asked += [("evaluation.architectures", network) for network in config.evaluation.architectures]
    if config.evaluation.taught:
        asked.append(("evaluation.teacher.network", config.evaluation.teacher.network))
    for key, network in asked:
        try:
            factory.check(network, facts.shape)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None


def _store(context: Context, identity: Identity) -> DatasetFacts:
    """Read, split, fit, look whether the settings suit it, and store."""
    dataset, origin = _read(context.config)
    facts, folder = facts_of(dataset, origin.places, origin.available), context.folder(identity)
    check(facts, context.config)
    content = stored.encode_dataset(dataset)
    objects = [folder.put(stem, "safetensors", part) for stem, part in content.items()]
    folder.commit(context.manifest(identity, objects, facts=plain(facts)))
    return facts


class _Origin(NamedTuple):
    """What the train and the test samples were read from, and how many training samples lay there."""

    places: dict[str, str]
    available: int | None


def _read(config: Config) -> tuple[Dataset, _Origin]:
    """The dataset, and where it comes from; the raw arrays are let go."""
    raw = sources.read(config.data)
    places = {"train": raw.train.place, "test": raw.test.place}
    return datasets.make(config.data, raw), _Origin(places, raw.available)


def _stand_in(facts: DatasetFacts) -> str:
    """A remark where samples named validation are those that are tested on, or where some were set aside for it."""
    place = facts.read_from.get("test", "")
    if facts.splits_off:
        return f", the test split is {place}"
    return f", {place} serves as the test split" if place.removeprefix("data/").startswith("val") else ""


def _check_ipc(facts: DatasetFacts, config: Config) -> None:
    """Refuse more images per class than the smallest class has, before any training. Raises InputError."""
    counts, ipc = facts.train_per_class, config.distill.ipc
    smallest = counts.index(min(counts))
    if ipc > counts[smallest]:
        tail = " or data.imbalance" if config.data.imbalance > 1 else ""
        raise InputError(
            f"distill.ipc is {ipc}, but class {facts.class_names[smallest]!r} has only {counts[smallest]} "
            f"training samples; lower distill.ipc{tail}"
        )


def _check_augment(facts: DatasetFacts, config: Config) -> None:
    """Refuse to augment what is no image, before any training. Raises InputError."""
    if facts.content == "image":
        return
    if config.evaluation.training.cutmix:
        raise InputError(
            f"{config.data.dataset} holds {HOLDS[facts.content]}, and evaluation.protocol: "
            f"{config.evaluation.protocol} mixes images; take another one, such as dc300"
        )
    strategies = {"distill.augment": config.distill.augment, "evaluation.augment": config.evaluation.judging.augment}
    if config.distill.needs_experts and config.experts.imported is None:
        strategies["experts.augment"] = config.experts.augment
    if config.trains_scoring_networks:
        strategies["scores.augment"] = config.scores.augment
    wrong = [f"{key}=none" for key, strategy in strategies.items() if strategy != "none"]
    if wrong:
        raise InputError(
            f"{config.data.dataset} holds {HOLDS[facts.content]}, and augmentation "
            f"is for images; set {', '.join(wrong)}"
        )
