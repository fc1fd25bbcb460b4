"""How the cells of an evaluation are made: the samples of each source, a fresh network, a result in storage."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property

import torch
from pydantic import TypeAdapter

from padray import networks
from padray.config import Config
from padray.data.datasets import Dataset
from padray.distill.synthetic import SyntheticSet
from padray.draws import seed_for
from padray.errors import WorkError
from padray.evaluation import table
from padray.evaluation.accuracy import Accuracy
from padray.evaluation.controls import hardened, random_samples, samples_of_set, softened
from padray.evaluation.protocol import Cell, Judges, Score, Source, judge, recipe_for
from padray.evaluation.teaching import Lesson, judge_taught
from padray.experts.training import Draws, Samples, samples_of
from padray.fingerprint import Identity
from padray.networks.flat import FlatNetwork
from padray.numerics import Numerics, decide
from padray.stages import stored, teacher
from padray.stages.base import Inputs, Make, Unit
from padray.store.artifacts import Folder, StoredObject
from padray.store.crash import crash_point
from padray.store.records import read_record, refusal
from padray.store.shards import read_buffers, read_row

Places = dict[Source, Identity]

_DIVERGED = Score(Accuracy(0.0, 0.0), Accuracy(0.0, 0.0))


@dataclass(frozen=True)
class EvaluationWork:
    """How to make cells. It travels; it holds settings and names.

    Attributes:
        distilled: the set's folder.
        places: where each source's cells go.
        cells: the cells by their units' ids.
        experts: who labels the source `random_soft`.
    """

    config: Config
    inputs: Inputs
    distilled: Identity
    places: Places
    cells: dict[str, Cell]
    experts: Identity | None = None

    def prepare(self) -> Make:
        numerics = decide(self.config.compute)
        bench = _Bench(self, numerics, numerics.use())
        location = self.inputs.location

        def make(unit: Unit) -> StoredObject:
            cell = self.cells[unit.id]
            result = bench.result(cell)
            crash_point("evaluate", "before-put", cell.seed)
            place = self.places[cell.source]
            return Folder(location, place.folder, place.fingerprint).put(
                cell.id, "json", json.dumps(result, sort_keys=True).encode()
            )

        return make


@dataclass(frozen=True)
class _Stored:
    """The fields of a stored cell."""

    source: str
    architecture: str
    seed: int
    lr: float
    lr_chosen_on: str | None
    validation: float
    validation_balanced: float
    test: float
    test_balanced: float
    samples: int
    epochs: int


_STORED = TypeAdapter(_Stored)


def read_cell(folder: Folder, item: StoredObject, cell: Cell) -> table.CellResult:
    """A cell as it is stored. Raises InputError if that is none, or another one."""
    found = read_record(folder, item, _STORED)
    if (found.source, found.architecture, found.seed) != (cell.source, cell.network.label, cell.seed):
        raise refusal(folder, item)
    return asdict(found)


class _Bench:
    """A worker's opened inputs while it makes cells."""

    def __init__(self, work: EvaluationWork, numerics: Numerics, device: torch.device) -> None:
        self.work, self.config, self.device, self.dtype = work, work.config, device, numerics.dtype
        self.dataset: Dataset = work.inputs.dataset()
        self.train, validation, test = (self._split(name) for name in ("train", "validation", "test"))
        unseen = len(validation.labels) > 0
        self.judges = Judges(validation if unseen else self.train, test, unseen)
        self.sources: dict[Source, Callable[[Cell], Samples]] = {
            "distilled": lambda cell: samples_of_set(self.synthetic.learned, device),
            "random": self._random,
            "random_soft": self._random_soft,
            "hard_labels": lambda cell: hardened(self.synthetic.learned, self.dataset.classes, device),
            "full": lambda cell: self.train,
        }

    def _split(self, name: str) -> Samples:
        return samples_of(self.dataset, name, self.device, self.dtype)

    @cached_property
    def synthetic(self) -> SyntheticSet:
        distilled = self.work.distilled
        folder = Folder(self.work.inputs.location, distilled.folder, distilled.fingerprint)
        return stored.load_set(folder, self.config.distill.iterations)

    @cached_property
    def lesson(self) -> Lesson:
        model = teacher.load(self.config, self.work.inputs, self.dataset, self.device)
        return Lesson(model, self.config.evaluation)

    def _random(self, cell: Cell) -> Samples:
        """A fresh draw for every seed, the same for a control and for its soft labels."""
        seed = seed_for(self.config.seed_of("evaluation"), "evaluation", "random", cell.seed)
        return random_samples(self.train, self.config.distill.ipc, self.dataset.classes, seed)

    def _random_soft(self, cell: Cell) -> Samples:
        samples = self._random(cell)
        return softened(samples, self._votes(samples.images))

    @torch.no_grad()
    def _votes(self, images: torch.Tensor) -> torch.Tensor:
        """The logits of all experts after their last epoch, (E, M, K); one expert in memory at a time."""
        experts = self.work.experts
        assert experts is not None, "random_soft is asked for with its experts"
        folder = Folder(self.work.inputs.location, experts.folder, experts.fingerprint)
        manifest = folder.require()
        network = networks.build(self.config.network, self.dataset.shape, self.dataset.classes, 0)
        flat = FlatNetwork(network.to(self.device, self.dtype).eval())
        votes = []
        for k in range(self.config.experts.count):
            item = manifest.object(f"expert-{k:04d}")
            theta_P = read_row(folder, item, -1).to(images)
            buffers = {name: value.to(self.device) for name, value in read_buffers(folder, item, -1).items()}
            votes.append(torch.cat([flat(theta_P, part, buffers) for part in torch.split(images, 1000)]))
        return torch.stack(votes)

    def result(self, cell: Cell) -> table.CellResult:
        """What is stored of a cell. A training that diverges is a result too, and none to stop the others for."""
        evaluation, training = self.config.evaluation, self.sources[cell.source](cell)
        epochs = evaluation.controls.full_epochs if cell.source == "full" else evaluation.epochs
        taught = evaluation.protocol == "teacher"
        lr = cell.lr or (evaluation.teacher.lr if taught else float(self.synthetic.learned.lr))
        unit = f"{cell.source}-{cell.network.label}-{cell.seed}"
        draws = Draws(self.config.seed_of("evaluation"), "evaluation", unit)
        try:
            if taught:
                score = judge_taught(training, cell.network, self.lesson, draws, self.dataset, self.judges)
            else:
                recipe = recipe_for(evaluation, epochs, lr)
                score = judge(training, cell.network, recipe, draws, self.dataset, self.judges)
        except WorkError:
            score = _DIVERGED
        held = "validation" if self.judges.unseen else "train"
        return {
            "source": cell.source, "architecture": cell.network.label, "seed": cell.seed, "lr": lr,
            "lr_chosen_on": held if cell.lr is not None else None, **table.result(score),
            "samples": len(training.images), "epochs": epochs,
        }  # fmt: skip
