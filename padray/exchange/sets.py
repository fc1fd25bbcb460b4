"""Import of a distilled set in the peers' layout: what its files leave out, the settings and the user say.

Legend: M = C*IPC samples, K classes, ch H W. Images are taken to be in the space that `data.preprocessing` makes, in
which the peers save them; labels are class indices (M,), or (M, K) raw logits (DATM, PAD) or probabilities (TESLA's
teacher labels), which become their logarithms, so that their softmax gives them back.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from padray import fingerprint
from padray.config import Config, ValidationSettings
from padray.data.datasets import about_features
from padray.errors import InputError
from padray.exchange import foreign
from padray.exchange.foreign import SetFiles
from padray.exchange.received import ImportedSet
from padray.fingerprint import Identity
from padray.machine.files import shown
from padray.machine.numerics import decide
from padray.methods.trajectory.settings import LabelSettings, TrajectorySettings
from padray.networks import factory
from padray.stages import data, stored
from padray.stages.base import Context
from padray.stages.facts import DatasetFacts, dataset_facts
from padray.store.artifacts import Manifest
from padray.synthetic.set import Learned, SyntheticSet, encode
from padray.synthetic.start import class_labels

ITERATIONS = 1  # what an imported set is filed under: how long others iterated is not known
LABELS = ("logits", "probabilities")
_SMALLEST = 1e-12  # probability, so that logarithms stay finite
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class ImportOptions:
    """What the user says of a set's files: how to read labels that are not indices, and the learning rate."""

    labels: str | None = None
    lr: float | None = None


def import_set(context: Context, source: str, options: ImportOptions) -> ImportedSet:
    """Store a set of others as a distilled set that can be evaluated, exported and shown.

    Raises:
        InputError: the files are missing, hostile, or do not fit the dataset of the settings.
    """
    if options.labels not in (None, *LABELS):
        raise InputError(f"--labels {options.labels} is not known; there are {' and '.join(LABELS)}")
    files = foreign.find_set(source)
    if options.lr is not None:
        files = replace(files, lr=None)
    dtype = decide(context.config.compute).dtype
    lr = _lr(files, options, dtype)
    images, labels, notes = _read(files, dtype)
    one = context.config.distill.model_copy(update={"ipc": 1})  # how many there are is known from the dataset's classes
    own = replace(context, config=context.config.model_copy(update={"distill": one}))
    stored_data = data.make(own)
    facts = dataset_facts(own.folder(stored_data))
    factory.check(own.config.network, facts.shape)
    notes += _notes(own.config)
    try:
        learned = _learned(images, labels, lr, facts, options, notes)
    except InputError as error:
        raise InputError(f"{shown(files.images.parent)}: {error}") from None
    options = replace(options, labels=(options.labels or "logits") if learned.soft else "indices")
    return replace(_store(own, stored_data, files, options, learned), notes=notes)


def _read(files: SetFiles, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
    """The images in `dtype`; the labels as whole numbers (int64), or as numbers that have logarithms; notes."""
    images_place, notes = files.images.name, list[str]()
    if files.labels is None:
        images_content, labels_content, runs = foreign.last_run(files.images)
        labels_place = f"{images_place}, its labels"
        if runs > 1:
            notes.append(f"{images_place} holds the sets of {runs} runs; the last one is taken")
    else:
        images_content, labels_content = foreign.load(files.images), foreign.load(files.labels)
        labels_place = files.labels.name
    images, labels = foreign.tensor(images_content, images_place), foreign.tensor(labels_content, labels_place)
    if not images.is_floating_point() or images.ndim != 4:
        raise InputError(
            f"{images_place} must hold floats of the shape samples, channels, height, width "
            f"(got {foreign.type_name(images)} {list(images.shape)})"
        )
    if labels.dtype == torch.bool or labels.is_complex():
        raise InputError(f"{labels_place} must hold class indices or numbers (got {foreign.type_name(labels)})")
    wide = torch.float64 if labels.dtype == torch.float64 else torch.float32
    kind = wide if labels.is_floating_point() else torch.int64
    return foreign.converted(images, dtype, images_place), foreign.converted(labels, kind, labels_place), notes


def _lr(files: SetFiles, options: ImportOptions, dtype: torch.dtype) -> torch.Tensor | None:
    """The learning rate, (), as it is stored; None of a set whose method learns none."""
    if files.lr is not None:
        content = foreign.load(files.lr)
        number = isinstance(content, float)
        value = torch.tensor(content, dtype=torch.float64) if number else foreign.tensor(content, files.lr.name)
        if value.dtype == torch.bool or value.is_complex():
            raise InputError(f"{files.lr.name} must hold one positive number (got {foreign.type_name(value)})")
        lr = foreign.converted(value, torch.float64, files.lr.name).reshape(-1)
    elif options.lr is not None:
        lr = torch.tensor([options.lr], dtype=torch.float64)
    elif files.labels is None:
        return None
    else:
        raise InputError(
            f"there is no lr_….pt beside {files.images.name}, and without the learning rate that was learned with the "
            f"images they cannot be judged: give it as --lr NUMBER"
        )
    stored = lr.to(dtype)
    if lr.numel() != 1 or not torch.finfo(dtype).tiny <= float(stored[0]) < math.inf:
        kind = str(dtype).removeprefix("torch.")
        where = files.lr.name if files.lr else "--lr"
        raise InputError(
            f"{where}: the learning rate must be one positive number that {kind} can hold (got {lr.tolist()[:3]})"
        )
    return stored[0]


def _learned(
    images: torch.Tensor,
    labels: torch.Tensor,
    lr: torch.Tensor | None,
    facts: DatasetFacts,
    options: ImportOptions,
    notes: list[str],
) -> Learned:
    """What was learned, class after class. Raises InputError where it does not fit the dataset of `facts`."""
    shape, names, count = list(facts.shape), facts.class_names, len(images)
    if list(images.shape[1:]) != shape:
        raise InputError(
            f"the images have the shape {list(images.shape[1:])}, but those of the dataset {shape}: "
            f"set data.dataset (and data.size) to what they were distilled from"
        )
    if not count or count % len(names):
        raise InputError(f"{count} images cannot be equally many for each of the dataset's {len(names)} classes")
    ipc = count // len(names)
    if ipc > min(facts.train_per_class):
        raise InputError(
            f"{ipc} images per class are more than the {min(facts.train_per_class)} training samples of the "
            f"dataset's smallest class; they were distilled from another dataset"
        )
    _check_finite(images, "images")
    if labels.is_floating_point():
        soft = _soft(labels, ipc, len(names), options, notes).to(images.dtype)
        _check_finite(soft, "labels")
        return Learned(images, soft, lr)
    order = _class_order(labels, ipc, len(names))
    if not torch.equal(order, torch.arange(count)):
        notes.append("the samples were not in the order of their classes; they were put into it")
    return Learned(images[order], labels[order], lr)


def _check_finite(values: torch.Tensor, what: str) -> None:
    """Of what is stored; a number may be too large for its type. Raises InputError."""
    if not bool(values.isfinite().all()):
        kind = foreign.type_name(values)
        raise InputError(f"the {what} hold NaN or infinity, or a number beyond {kind}; every value must be finite")


def _class_order(labels_M: torch.Tensor, ipc: int, classes: int) -> torch.Tensor:
    """The order (M,) that puts hard labels class after class, otherwise as they were. Raises InputError."""
    count = ipc * classes
    if labels_M.shape != (count,):
        raise InputError(
            f"labels must be {count} class indices, or {[count, classes]} numbers (got "
            f"{foreign.type_name(labels_M)} {list(labels_M.shape)})"
        )
    outside = (labels_M < 0) | (labels_M >= classes)
    if bool(outside.any()):
        raise InputError(f"label {int(labels_M[outside][0])} is outside 0..{classes - 1}, the dataset's classes")
    counts = labels_M.bincount(minlength=classes)
    if bool((counts != ipc).any()):
        label = int((counts != ipc).nonzero()[0])
        raise InputError(f"class {label} has {int(counts[label])} images, but every class must have {ipc}")
    return labels_M.argsort(stable=True)


def _soft(labels_MK: torch.Tensor, ipc: int, classes: int, options: ImportOptions, notes: list[str]) -> torch.Tensor:
    """Raw logits (M, K). Raises InputError for labels that may be probabilities and were not said to be."""
    if labels_MK.shape != (ipc * classes, classes):
        raise InputError(f"soft labels must be {[ipc * classes, classes]} numbers (got {list(labels_MK.shape)})")
    _check_finite(labels_MK, "labels")
    sums = labels_MK.double().sum(dim=1)
    distributions = bool((labels_MK >= 0).all()) and bool(((sums - 1).abs() < _SUM_TOLERANCE).all())
    if distributions and options.labels is None:
        raise InputError("the labels look like probabilities: say --labels probabilities, or --labels logits")
    if options.labels == "probabilities":
        if not distributions:
            raise InputError("--labels probabilities needs rows of numbers from 0 to 1 whose sum is 1")
        labels_MK = labels_MK.clamp(min=_SMALLEST).log()
    elsewhere = int((labels_MK.argmax(dim=1) != class_labels(classes, ipc)).sum())
    if elsewhere:
        notes.append(f"{elsewhere} of {len(labels_MK)} labels name another class than their place in class order does")
    return labels_MK


def _notes(config: Config) -> list[str]:
    if config.data.preprocessing == "zca" and config.data.validation:
        return [
            "the whitening is that of the training split without its validation samples; "
            "data.validation=0 gives that of all"
        ]
    return []


def _identity(config: Config, stored_data: Identity, ipc: int, meaning: dict[str, Any]) -> Identity:
    """A set of others means its files' bytes, how they were read, and the network and dataset that it is for."""
    own = {**meaning, **fingerprint.meaning(config.compute), "network": fingerprint.meaning(config.network)}
    name = f"{stored_data.name}-{config.network.label}-imported-ipc{ipc}"
    return Identity("distill", name, fingerprint.fingerprint("distill", own, {"data": stored_data.fingerprint}))


def _as_imported(config: Config, ipc: int, soft: bool) -> Config:
    """The settings that are known of such a set; how it was distilled is not, so those are left at their defaults."""
    distill = TrajectorySettings(
        ipc=ipc,
        iterations=ITERATIONS,
        labels=LabelSettings(kind="soft" if soft else "hard"),
        validation=ValidationSettings(seeds=0),
    )
    known = {name: getattr(config, name) for name in ("data", "network", "evaluation", "cluster", "compute", "storage")}
    return Config(**known, distill=distill, seed=config.seed)


def _store(
    context: Context, stored_data: Identity, files: SetFiles, options: ImportOptions, learned: Learned
) -> ImportedSet:
    """Put the set and commit its manifest; a set that is there already only gets the newest evaluation settings."""
    names = {"images": files.images, "labels": files.labels, "lr": files.lr}
    digests = {role: foreign.digest(path) for role, path in names.items() if path is not None}
    dataset = stored.load_dataset(context.folder(stored_data))
    ipc = len(learned.images) // dataset.classes
    identity = _identity(
        context.config, stored_data, ipc, {"imported": digests, "labels": options.labels, "lr": options.lr}
    )
    facts = {
        "provenance": "imported",
        "sources": digests,
        "class_names": list(dataset.class_names),
        "dataset": context.config.data.dataset,
        "shape": list(dataset.shape),
        **about_features(dataset.features),
        "ipc": ipc,
        "network": context.config.network.model_dump(mode="json"),
        "label_kind": "soft" if learned.soft else "hard",
        "iterations": ITERATIONS,
        "iteration": ITERATIONS,
        "validation_accuracy": None,
        "fingerprint": fingerprint.set_fingerprint(identity, ITERATIONS),
        "distillation": identity.fingerprint,
        "dataset_fingerprint": stored_data.fingerprint,
    }
    folder, content = context.folder(identity), encode(SyntheticSet(learned, dataset.preprocessing, facts))
    item = folder.put(fingerprint.set_name(ITERATIONS), "safetensors", content)
    known = replace(context, config=_as_imported(context.config, ipc, learned.soft))
    manifest: Manifest = known.manifest(
        identity, [item], inputs={"data": stored_data.fingerprint}, facts={"provenance": "imported", "sources": digests}
    )
    folder.commit(manifest)
    return ImportedSet(
        "set",
        folder.uri,
        identity.fingerprint,
        f"padray evaluate {identity.folder}",
        notes=[],
        sha256=item.sha256,
        images=len(learned.images),
        ipc=ipc,
        label_kind="soft" if learned.soft else "hard",
        lr=learned.lr_to_use,
    )
