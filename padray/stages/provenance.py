"""A set as it is stored: with everything that a stranger needs to know of how it came about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from padray import fingerprint
from padray.data.datasets import Dataset, about_features
from padray.fingerprint import Identity
from padray.stages.materials import Source
from padray.store.artifacts import StoredObject
from padray.synthetic.set import Learned, SyntheticSet, encode


@dataclass(frozen=True)
class About:
    """After how many iterations the set was made, which iterate it is, and what is known of that.

    Attributes:
        accuracy: on the validation split, where it was judged.
        selected: the ids of the training samples that it consists of, where it does.
    """

    iterations: int
    chosen: int
    accuracy: float | None = None
    warning: str | None = None
    selected: Sequence[float] | None = None


def put_set(source: Source, place: Identity, dataset: Dataset, learned: Learned, about: About) -> StoredObject:
    """Store a set in its folder."""
    content = encode(SyntheticSet(learned, dataset.preprocessing, _facts(source, place, dataset, about)))
    return source.folder(place).put(fingerprint.set_name(about.iterations), "safetensors", content)


def _facts(source: Source, place: Identity, dataset: Dataset, about: About) -> dict[str, Any]:
    """A function of settings and inputs, without clock or host."""
    config, distill = source.config, source.config.distill
    return {
        "class_names": list(dataset.class_names),
        "dataset": config.data.dataset,
        "shape": list(dataset.shape),
        **about_features(dataset.features),
        "ipc": distill.ipc,
        "network": config.network.model_dump(mode="json"),
        "label_kind": "soft" if distill.soft_labels else "hard",
        "iterations": about.iterations,
        "iteration": about.chosen,
        "validation_accuracy": about.accuracy,
        "fingerprint": fingerprint.set_fingerprint(place, about.iterations),
        "distillation": place.fingerprint,
        "dataset_fingerprint": source.read.data.fingerprint,
        "settings": fingerprint.meaning(distill),
        "seed": config.seed_of("distill"),
        **source.read.experts_used(config),
        **({"warning": about.warning} if about.warning else {}),
        **({"selected": list(about.selected)} if about.selected is not None else {}),
    }
