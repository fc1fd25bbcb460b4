"""padray from Python: settings, stages, sets and their evaluation; the same objects that the commands use.

An example stands in README.md, another one in docs/first-steps.ipynb; tests run both.
"""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import torch
from torch.utils.data import Dataset

from padray.commandline import commands
from padray.config import Config
from padray.configuration import loading
from padray.data.whitening import Preprocessing
from padray.errors import InputError
from padray.evaluation.summary import Row
from padray.fingerprint import set_iterations
from padray.machine.files import quoted
from padray.stages import pipeline, stored, sweep
from padray.stages.base import Context, Progress, Runner
from padray.store.artifacts import Folder
from padray.store.location import Location, check_key
from padray.store.opening import open_location
from padray.synthetic.set import SyntheticSet

_ROOM = "distilled"


def load_config(name: str, *overrides: str) -> Config:
    """The settings of a preset or a YAML file, with `section.key=value` overrides.

    Raises:
        InputError: a name or a setting that cannot be used.
    """
    return loading.load(name, overrides).config


@dataclass(frozen=True)
class Outcome:
    """What a run has made.

    Attributes:
        set_uri: where the set lies, if the run came so far; `load` and `evaluate` take it.
        rows: the table of accuracies, in [0, 1].
        report: where the page lies.
    """

    set_uri: str | None
    rows: list[Row]
    report: str | None


def run(config: Config, until: str = "report", *, storage: str | None = None, runner: str = "inline") -> Outcome:
    """Run the chain of stages up to and including `until`: data, scores, experts, distill, evaluate or report.

    Args:
        storage: a folder or s3://bucket/prefix; left out, `config.storage.root`.
        runner: inline (this process) or ray.

    Raises:
        InputError: settings, files or the storage cannot be used.
        WorkError: a unit failed; what was finished before it is kept, and the same call goes on from there.
    """
    if until not in pipeline.STAGES:
        raise InputError(f"until is one of {', '.join(pipeline.STAGES)} (got {quoted(until)})")
    location = open_location(storage or config.storage.root)
    context = Context("python", config, location, commands.runner_of(runner, config, location, "python"))
    outcome = pipeline.run(context, until)
    place = outcome.identities.get("distill")
    uri = None if place is None else f"{location.uri}/{_object(location, place.folder, config.distill.iterations)}"
    return Outcome(uri, outcome.rows, outcome.report)


class DistilledSet(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A distilled set. As a dataset, an item is an image (C, H, W) and its label: probabilities (K,) or a class ().

    Attributes:
        uri: where it lies.
        images: (M, C, H, W), class after class, in the space in which they were distilled.
        labels: probabilities (M, K) where they were learned, or else class indices (M,).
        lr: what to train with: the one that was learned, or the usual one.
        class_names: of the K classes.
        preprocessing: what real images go through before a network sees them, and back.
        facts: everything that is known of how it was made.
    """

    def __init__(self, uri: str, synthetic: SyntheticSet) -> None:
        learned = synthetic.learned
        self.uri, self.images, self.lr = uri, learned.images, learned.lr_to_use
        self.labels = learned.labels.softmax(dim=1) if learned.soft else learned.labels
        self.class_names = tuple(str(name) for name in synthetic.facts["class_names"])
        self.preprocessing: Preprocessing = synthetic.preprocessing
        self.facts = dict(synthetic.facts)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index], self.labels[index]


def load(uri: str) -> DistilledSet:
    """A set by where it lies: its file, or its folder `<storage>/distilled/<name>`, whose last set is meant then.

    Raises:
        InputError: no set lies there.
    """
    root, key = _split(uri)
    location = open_location(root)
    folder, iterations = _place(location, key)
    uri = f"{location.uri}/{_object(location, folder.path, iterations)}"
    return DistilledSet(uri, stored.load_set(folder, iterations))


def evaluate(uri: str, *overrides: str, runner: str = "inline") -> list[Row]:
    """The table of a stored set: fresh networks trained on it, beside their controls, tested on real data.

    Args:
        overrides: settings of `evaluation` and `compute`.

    Raises:
        InputError, WorkError: as `run`.
    """
    root, key = _split(uri)
    location = open_location(root)
    folder, iterations = _place(location, key)
    stored_set = sweep.find(PurePosixPath(folder.path).name, overrides, location)
    distill = stored_set.config.distill.model_copy(update={"iterations": iterations})  # the manifest has the last one
    stored_set = replace(stored_set, config=stored_set.config.model_copy(update={"distill": distill}))
    (rows,) = sweep.run([stored_set], location, _runner(runner, stored_set.config, location), _quiet).values()
    return rows


def _quiet(progress: Progress) -> None:
    pass


def _runner(name: str, config: Config, location: Location) -> Runner:
    return commands.runner_of(name, config, location, "python")


def _split(uri: str) -> tuple[str, str]:
    """The storage's root, and the key in it. Raises InputError."""
    root, room, rest = uri.removeprefix("file://").rpartition(f"/{_ROOM}/")
    if not room or not rest:
        raise InputError(f"{quoted(uri)} names no set: it lies in STORAGE/{_ROOM}/NAME, as `padray ls` says")
    return root, check_key(f"{_ROOM}/{rest.rstrip('/')}")


def _place(location: Location, key: str) -> tuple[Folder, int]:
    """A set's folder, and after how many iterations the set was made."""
    parts = PurePosixPath(key).parts
    path, manifest = sweep.named(parts[1], location)
    folder = Folder(location, path, manifest.fingerprint)
    sets = {item.key: iterations for item in manifest.objects if (iterations := set_iterations(item.stem)) is not None}
    wanted = sets.get(key) if len(parts) > 2 else max(sets.values(), default=None)
    if wanted is None:
        there = ", ".join(sorted(sets)) or "none"
        raise InputError(f"{location.uri}/{key} is no set that {path} lists; there are {there}")
    return folder, wanted


def _object(location: Location, path: str, iterations: int) -> str:
    """The key of a folder's set of so many iterations."""
    _, manifest = sweep.named(PurePosixPath(path).name, location)
    return stored.set_object(manifest, iterations).key
