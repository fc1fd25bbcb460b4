"""How the cells of an evaluation are made: the samples of each source, a fresh network, a result in storage."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import torch
from pydantic import TypeAdapter, ValidationError

from padray import fingerprint
from padray.config import Config
from padray.data.datasets import Dataset
from padray.draws import seed_for
from padray.errors import DivergedError, InputError
from padray.evaluation import summary
from padray.evaluation.accuracy import Accuracy
from padray.evaluation.controls import choosing_samples, hardened, random_samples, samples_of_set, softened
from padray.evaluation.protocol import Cell, RealSplits, Score, Source, judge, judge_twice, recipe_for
from padray.evaluation.published import Protocol
from padray.evaluation.teaching import TeacherSpec, judge_taught
from padray.experts.positions import NOWHERE, Keeper
from padray.experts.training import Draws, Recipe, Samples, samples_of
from padray.experts.votes import expert_logits
from padray.fingerprint import Identity
from padray.machine.numerics import Numerics, decide
from padray.networks import factory
from padray.networks.derivatives import execution_of
from padray.networks.flat import FlatNetwork
from padray.stages import keeplist, stored, teacher
from padray.stages.base import Inputs, Make, Unit
from padray.stages.materials import StoredExperts
from padray.stages.unfinished import UnitKeeper
from padray.store.artifacts import Folder, Manifest, StoredObject
from padray.store.crash import crash_point
from padray.store.records import MOST_RECORD, refusal
from padray.synthetic.set import SyntheticSet

Places = dict[Source, Identity]

_WORST = Accuracy(0.0, 0.0)
_SAID = "cell"  # where a stored object holds what is in it, so that nobody needs to read a thousand of them again


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
        maker = _CellMaker(self, numerics, numerics.use(self.config.compute.allocator))
        location = self.inputs.location

        def make(unit: Unit) -> StoredObject:
            cell = self.cells[unit.id]
            place = self.places[cell.source]
            folder = Folder(location, place.folder, place.fingerprint)
            keeper = UnitKeeper(folder, cell.id, numerics)
            content = asdict(maker.result(cell, keeper))
            crash_point("evaluate", "before-put", cell.seed)
            item = folder.put(cell.id, "json", json.dumps(content, sort_keys=True).encode(), {_SAID: content})
            keeper.over()
            return item

        return make


def judged_as(work: EvaluationWork, synthetic: SyntheticSet) -> list[float]:
    """Test accuracies of the run's networks trained on a set in the place of the stored one, seed by seed.

    Their draws are those of the stored set's cells, so that two such lists are compared in pairs. Nothing is stored.
    """
    numerics = decide(work.config.compute)
    maker = _CellMaker(work, numerics, numerics.use(work.config.compute.allocator))
    maker.synthetic = synthetic
    own = [Cell("distilled", work.config.network, seed) for seed in range(work.config.evaluation.seeds)]
    return [maker.result(cell, NOWHERE).test for cell in own]


_STORED = TypeAdapter(summary.CellResult)


def cells_in(folder: Folder, manifest: Manifest | None) -> list[StoredObject]:
    """The cells that lie in a folder, with what they say as far as they are cells.

    What the manifest tells is not read. An older one does not tell, and what was made before a kill is in none.
    """
    listed = {item.key: item for item in (manifest.objects if manifest else ()) if _said(item)}
    cells = []
    for key in folder.keys("cell-"):
        if key in listed:
            cells.append(listed[key])
        elif taken := folder.take(key, MOST_RECORD):
            item, content = taken
            with suppress(ValidationError):
                item = replace(item, extra={_SAID: asdict(_STORED.validate_json(content))})
            cells.append(item)
    return cells


def result_of(folder: Folder, item: StoredObject, cell: Cell) -> summary.CellResult:
    """What a cell says. Raises InputError if it is none, or another one."""
    result = _said(item)
    if result is None:
        raise refusal(folder, item)
    asked = (cell.source, cell.network.label, cell.seed, result.lr if cell.lr is None else cell.lr)
    judged = None not in (result.validation, result.validation_balanced)
    if (result.source, result.architecture, result.seed, result.lr) != asked or (cell.lr is not None and not judged):
        raise refusal(folder, item)
    return result


def _said(item: StoredObject) -> summary.CellResult | None:
    with suppress(ValidationError):
        return _STORED.validate_python(item.extra.get(_SAID))
    return None


class _CellMaker:
    """A worker's opened inputs while it makes cells. A split may be gigabytes: what no cell asks for is not held."""

    def __init__(self, work: EvaluationWork, numerics: Numerics, device: torch.device) -> None:
        self.work, self.config, self.device, self.dtype = work, work.config, device, numerics.dtype
        self.execution = execution_of(numerics, bf16=False)
        self.dataset: Dataset = work.inputs.dataset()
        self.said: dict[int, torch.Tensor] = {}  # what the experts say of a control's samples, by its seed
        self.sources: dict[Source, Callable[[Cell], Samples]] = {
            "distilled": lambda cell: samples_of_set(self.synthetic.learned, device),
            "random": self._random,
            "random_soft": self._random_soft,
            "hard_labels": lambda cell: hardened(self.synthetic.learned, self.dataset.classes, device),
            "full": lambda cell: self.full,
        }

    def _split(self, name: str) -> Samples:
        return samples_of(self.dataset, name, self.device, self.dtype)

    def _part(self, ids: torch.Tensor) -> Samples:
        """Some of the training split's samples, without the others being preprocessed."""
        images, labels = self.dataset.samples(self.dataset.splits["train"][ids], self.dtype, self.device)
        return Samples(images, labels.to(self.device))

    @property
    def train_labels(self) -> torch.Tensor:
        return self.dataset.labels[self.dataset.splits["train"]]

    @property
    def held_out(self) -> bool:
        """Whether there are samples that nothing is trained on: a validation split."""
        return len(self.dataset.splits["validation"]) > 0

    @cached_property
    def full(self) -> Samples:
        return self._split("train")

    @cached_property
    def test(self) -> Samples:
        return self._split("test")

    @cached_property
    def held(self) -> Samples:
        """What is chosen by: the validation split or, for want of one, a fixed share of the training split."""
        if self.held_out:
            return self._split("validation")
        return self._part(choosing_samples(self.train_labels, self.dataset.classes, self.config.data.split_seed))

    @cached_property
    def synthetic(self) -> SyntheticSet:
        distilled = self.work.distilled
        folder = Folder(self.work.inputs.location, distilled.folder, distilled.fingerprint)
        return stored.load_set(folder, self.config.distill.iterations)

    @cached_property
    def teacher_spec(self) -> TeacherSpec:
        model = teacher.load(self.config, self.work.inputs, self.dataset, self.device)
        return TeacherSpec(model, self.config.evaluation)

    def _random(self, cell: Cell) -> Samples:
        """A fresh draw from the keep-list for every seed, the same for a control and for its soft labels."""
        seed = seed_for(self.config.seed_of("evaluation"), "evaluation", "random", cell.seed)
        labels = self.train_labels[self.kept]
        return self._part(self.kept[random_samples(labels, self.config.distill.ipc, self.dataset.classes, seed)])

    @cached_property
    def kept(self) -> torch.Tensor:
        """The training samples that there are for the set and its random controls."""
        place = fingerprint.keep_identity(self.config, self.work.inputs.data)
        if place is None:
            return torch.arange(len(self.train_labels))
        return keeplist.rows_of(Folder(self.work.inputs.location, place.folder, place.fingerprint), self.dataset)

    def _random_soft(self, cell: Cell) -> Samples:
        samples = self._random(cell)
        if cell.seed not in self.said:  # its learning rates share them, and every expert is a read
            self.said[cell.seed] = softened(samples, self._votes(samples.images)).labels
        return Samples(samples.images, self.said[cell.seed])

    def _votes(self, images: torch.Tensor) -> torch.Tensor:
        """The logits of all experts after their last epoch, (E, M, K); one expert in memory at a time."""
        experts = self.work.experts
        assert experts is not None, "random_soft is asked for with its experts"
        folder = Folder(self.work.inputs.location, experts.folder, experts.fingerprint)
        trained = StoredExperts(folder, self.config.experts.count)
        network = factory.build(self.config.network, self.dataset.shape, self.dataset.classes, 0)
        flat = FlatNetwork(network.to(self.device, self.dtype).eval())
        return torch.stack([expert_logits(flat, trained.last(k), images, self.device) for k in range(trained.count)])

    def result(self, cell: Cell, keeper: Keeper) -> summary.CellResult:
        """What is stored of a cell. A training that diverges is a result too, and none to stop the others for.

        Args:
            keeper: of where its training stands.
        """
        evaluation, training = self.config.evaluation, self.sources[cell.source](cell)
        protocol, taught = evaluation.training, evaluation.taught
        epochs = evaluation.controls.full_epochs if cell.source == "full" else protocol.epochs
        lr = cell.lr or (evaluation.teacher.lr if taught else self._lr_of_set(protocol))
        chooses = self.held_out if taught else cell.lr is not None
        recipe = replace(recipe_for(protocol, epochs, lr), execution=self.execution, keeper=keeper)
        splits = RealSplits(self.held if chooses else None, self.test)
        try:
            score, diverged = self._judged(cell, training, recipe, splits), False
        except DivergedError:
            score, diverged = Score(_WORST if chooses else None, _WORST), True
        held = "validation" if self.held_out else "train"
        test, chosen_by = score.test, score.held
        assert test is not None, "it was asked for"
        return summary.CellResult(
            source=cell.source,
            architecture=cell.network.label,
            seed=cell.seed,
            lr=lr,
            lr_chosen_on=held if cell.lr is not None else None,
            validation=None if chosen_by is None else chosen_by.plain,
            validation_balanced=None if chosen_by is None else chosen_by.balanced,
            test=test.plain,
            test_balanced=test.balanced,
            samples=len(training.images),
            epochs=epochs * (1 + evaluation.twice(cell.source)),
            diverged=diverged,
        )

    def _lr_of_set(self, protocol: Protocol) -> float:
        """What networks are trained with on the set: what the settings say, or what it learned, or the protocol's."""
        learned = self.synthetic.learned.lr
        return self.config.evaluation.fixed_lr or (protocol.lr if learned is None else float(learned))

    def _before_averaging(self) -> Samples:
        """The set with the images that its average was taken of. Raises InputError if it does not have them."""
        learned = self.synthetic.learned
        if learned.raw_images is None:
            raise InputError(
                f"{self.work.distilled.folder} has no images from before averaging, as evaluation.double_training asks "
                f"for: distil it again with distill.ema_decay"
            )
        return samples_of_set(replace(learned, images=learned.raw_images), self.device)

    def _judged(self, cell: Cell, training: Samples, recipe: Recipe, splits: RealSplits) -> Score:
        """What a fresh network comes to by the protocol. Raises DivergedError."""
        unit = f"{cell.source}-{cell.network.label}-{cell.seed}"
        draws = Draws(self.config.seed_of("evaluation"), "evaluation", unit)
        if self.config.evaluation.twice(cell.source):
            both = self._before_averaging(), training
            return judge_twice(both, cell.network, recipe, draws, self.dataset, splits)
        if self.config.evaluation.taught:
            return judge_taught(training, cell.network, self.teacher_spec, draws, self.dataset, splits)
        return judge(training, cell.network, recipe, draws, self.dataset, splits)
