"""A real run: PAD on CIFAR-10 (or made images of its shape), 10 images a class, through padray's chain in one process.

The settings are those of the preset pad-cifar10-ipc10 but for the counts, which are chosen stage by stage from what was
measured of the one before, so that the run ends with an evaluation in the time that is left. What was chosen is told
beside what the published counts would take at the rates seen.
"""

import hashlib
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from padray import fingerprint
from padray.config import Config
from padray.configuration import loading
from padray.data import datasets
from padray.data.sources import RawDataset, RawSplit
from padray.stages import pipeline, stored
from padray.stages.base import Context
from padray.stages.facts import facts_of, plain
from padray.stages.inline import InlineRunner
from padray.store.opening import open_location
from tests.benchmarks.gpu.record import Programme

PRESET = "pad-cifar10-ipc10"
PUBLISHED = {"experts": 100, "epochs": 100, "iterations": 10_000}
_NAMES = ("train_images", "train_labels", "test_images", "test_labels")
# Shares of what is left when a stage begins; the last of the windows' epochs is the least that experts can do with.
_EXPERTS, _DISTIL = 0.35, 0.6
_TRIED = 10  # iterations that are timed, after as many that are not


def real(path: Path) -> RawDataset:
    """The samples of an .npz file. Raises ValueError for one without the four arrays or of another shape."""
    with np.load(path, allow_pickle=False) as held:
        missing = [name for name in _NAMES if name not in held.files]
        if missing:
            raise ValueError(f"{path.name} has no array {missing[0]}; it needs {', '.join(_NAMES)}")
        arrays = [held[name] for name in _NAMES]
    splits = []
    for images, labels in (arrays[:2], arrays[2:]):
        if images.ndim != 4 or images.dtype != np.uint8 or len(images) != len(labels):
            raise ValueError(f"images must be uint8 with 4 axes, one label each (got {images.shape}, {images.dtype})")
        if images.shape[3] in (1, 3):
            images = images.transpose(0, 3, 1, 2)
        splits.append(RawSplit(np.ascontiguousarray(images), labels.astype(np.int64).reshape(-1), path.name))
    return RawDataset(*splits, tuple(str(label) for label in range(int(splits[0].labels.max()) + 1)))


def made(quick: bool) -> RawDataset:
    """Ten kinds of blurred noise, each sample its class's pattern under noise of its own."""
    draw = np.random.default_rng(0)
    side, counts = (8, (20, 10)) if quick else (32, (5000, 1000))
    small = draw.normal(size=(10, 3, side // 4, side // 4))
    patterns = small.repeat(4, axis=2).repeat(4, axis=3)

    def split(count: int) -> RawSplit:
        labels = np.arange(10).repeat(count)
        images = np.empty((len(labels), 3, side, side), np.uint8)
        for first in range(0, len(labels), 1000):
            part = labels[first : first + 1000]
            noise = draw.normal(size=(len(part), 3, side, side)) * 2
            images[first : first + 1000] = np.clip(128 + 25 * (patterns[part] + noise), 0, 255)
        return RawSplit(images, labels, "made")

    return RawDataset(split(counts[0]), split(counts[1]), tuple(str(label) for label in range(10)))


def settings(programme: Programme, **changes: Any) -> Config:
    """The preset with other counts: `section__key=value`."""
    counts: dict[str, Any] = {
        "compute__device": programme.device,
        "data__path": ".",
        "scores__networks": 1,
        "scores__epochs": 5,
        "experts__count": 1,
        "experts__epochs": 22,
        "distill__iterations": _TRIED,
        "distill__checkpoint_seconds": 60.0,
        "evaluation__seeds": 2,
        "evaluation__controls__lrs": "[0.01]",
        "evaluation__controls__tuning_seeds": 1,
    }
    if programme.quick:
        counts |= {
            "network__width": 8,
            "network__depth": 2,
            "scores__network__width": 8,
            "scores__network__depth": 2,
            "scores__epochs": 1,
            "schedule__addition_end_epoch": 2,
            "distill__windows__start": 2,
            "distill__windows__max_start": 2,
            "distill__expert_epochs": 1,
            "experts__epochs": 3,
            "distill__ipc": 2,
            "distill__student_steps": 2,
            "distill__batch": 10,
            "distill__lr_images": 1,
            "distill__iterations": 2,
            "evaluation__epochs": 3,
            "evaluation__seeds": 1,
        }
    counts |= changes
    words = [f"{name.replace('__', '.')}={value}" for name, value in counts.items()]
    return loading.load(PRESET, words).config


def store(context: Context, raw: RawDataset) -> None:
    """Keep the samples as the stage `data` would, whose sources have no .npz; the context then knows where."""
    config = context.config
    digest = hashlib.sha256(raw.train.images.tobytes() + raw.test.images.tobytes()).hexdigest()
    identity = fingerprint.data_identity(config, digest)
    folder, dataset = context.folder(identity), datasets.make(config.data, raw)
    parts = stored.encode_dataset(dataset)
    objects = [folder.put(stem, "safetensors", content) for stem, content in parts.items()]
    read_from = {"train": raw.train.place, "test": raw.test.place}
    folder.commit(context.manifest(identity, objects, facts=plain(facts_of(dataset, read_from))))
    context.stored_data = identity


class Run:
    """The chain in a folder of its own, from stage to stage with settings that grow."""

    def __init__(self, programme: Programme, folder: str) -> None:
        self.programme, self.location = programme, open_location(folder)
        first = self.context(settings(programme))
        raw = real(programme.data) if programme.data else made(programme.quick)
        began = time.monotonic()
        store(first, raw)
        self.data, self.whitening_s = first.stored_data, time.monotonic() - began

    def context(self, config: Config) -> Context:
        return Context(PRESET, config, self.location, InlineRunner())

    def until(self, stage: str, **changes: Any) -> tuple[pipeline.Outcome, dict[str, float]]:
        """The chain up to a stage; what it has made, and the seconds of each stage that did something."""
        context = self.context(settings(self.programme, **changes))
        context.stored_data = self.data
        outcome = pipeline.run(context, stage)
        return outcome, {name: took for name, took in context.seconds.items() if name not in context.reused}


def run(programme: Programme) -> None:
    """One expert and a few iterations, to see what they take; as many as fit; the evaluation."""
    with tempfile.TemporaryDirectory(prefix="padray-gpu-") as folder:
        results = programme.results
        chain = Run(programme, folder)
        results.put("chain", "data", {"samples": "real" if programme.data else "made", "s": chain.whitening_s})
        chosen = _experts(programme, chain)
        chosen = _distilled(programme, chain, chosen)
        began = time.monotonic()
        outcome, _ = chain.until("evaluate", **chosen)
        rows = [asdict(row) for row in outcome.rows]
        results.put("chain", "evaluation", {"s": time.monotonic() - began, "rows": rows})


def _experts(programme: Programme, chain: Run) -> dict[str, Any]:
    """Scores, one expert, then as many as their share of the time allows."""
    results = programme.results
    _, took = chain.until("experts")
    each, epochs = took["experts"], settings(programme).experts.epochs
    results.put("chain", "scores", {"networks": 1, "s": took["scores"]})
    count = 2 if programme.quick else max(1, min(PUBLISHED["experts"], 1 + int(_EXPERTS * programme.left() / each)))
    chosen = {"experts__count": count}
    _, more = chain.until("experts", **chosen)
    if "experts" in more and count > 1:
        each = more["experts"] / (count - 1)  # the first one compiled, and touched memory for the first time
    results.put(
        "chain",
        "experts",
        {
            "count": count,
            "epochs": epochs,
            "s_each": each,
            "first_s": took["experts"],
            "published_h": each / epochs * PUBLISHED["epochs"] * PUBLISHED["experts"] / 3600,
        },
    )
    return chosen


def _distilled(programme: Programme, chain: Run, chosen: dict[str, Any]) -> dict[str, Any]:
    """A few iterations twice over, then as many as their share of the time allows; more iterations extend."""
    tried = settings(programme).distill.iterations
    _, first = chain.until("distill", **chosen)
    _, again = chain.until("distill", **chosen, distill__iterations=2 * tried)
    # A command opens its inputs before it iterates, so this is more than an iteration takes.
    each = again["distill"] / tried
    iterations = 3 * tried
    if not programme.quick:
        most = 2 * tried + int(_DISTIL * programme.left() / each)
        iterations = max(3 * tried, min(PUBLISHED["iterations"], most))
    chosen = {**chosen, "distill__iterations": iterations}
    _, last = chain.until("distill", **chosen)
    each = min(each, last["distill"] / (iterations - 2 * tried))
    programme.results.put(
        "chain",
        "distill",
        {
            "iterations": iterations,
            "s_each": each,
            "iterations_per_s": 1 / each,
            "before_the_first_s": first["distill"] - tried * each,
            "published_h": each * PUBLISHED["iterations"] / 3600,
        },
    )
    return chosen
