"""The protocol that every accuracy comes from: schedule, samples, controls, and cells that know of no others."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from padray.config import EvaluationSettings
from padray.configuration import loading
from padray.data.datasets import Dataset
from padray.data.whitening import Preprocessing
from padray.draws import seed_for
from padray.evaluation import controls, protocol
from padray.evaluation.accuracy import Accuracy
from padray.evaluation.protocol import Cell
from padray.experts import training
from padray.experts.optimisers import SGD
from padray.experts.training import Draws, Samples
from padray.fingerprint import Identity
from padray.networks import factory
from padray.networks.settings import NetworkSettings
from padray.stages import cells as making
from padray.stages import pipeline, stored
from padray.stages.base import Context, Inputs, Unit
from padray.stages.cells import EvaluationWork
from padray.stages.inline import InlineRunner
from padray.store.artifacts import Folder
from padray.store.opening import open_location
from padray.synthetic.set import Learned
from tests.conftest import TINY

CPU = torch.device("cpu")


# -- the schedule


def lrs_of_epochs(epochs: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], list[SGD]]:
    """The lr of every epoch index, and the optimiser that made its steps."""
    used: list[tuple[float, SGD]] = []

    def step(optimiser: SGD) -> None:
        assert (optimiser.momentum, optimiser.weight_decay) == (0.9, 5e-4)
        used.append((optimiser.lr, optimiser))

    monkeypatch.setattr(SGD, "step", step)
    samples = Samples(torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.long))
    recipe = protocol.recipe_for(EvaluationSettings(augment="none").judging, epochs, 0.1)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    list(training.train(network, samples, recipe, Draws(0, "evaluation", "x")))
    return [lr for lr, _ in used], [optimiser for _, optimiser in used]


def test_every_epoch_has_mtts_lr_and_its_optimiser_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indices 0 to 1000; after index 501 a tenth of the lr and a new optimiser, whose momentum is zero."""
    lrs, optimisers = lrs_of_epochs(1001, monkeypatch)
    by_index = {index: 0.1 for index in range(0, 501 + 1)} | {index: 0.01 for index in range(502, 1000 + 1)}
    assert lrs == pytest.approx([by_index[index] for index in range(1001)])
    assert optimisers[0] is optimisers[501] is not optimisers[502] and optimisers[502] is optimisers[1000]


@pytest.mark.parametrize(("epochs", "full"), [(1000, 501), (300, 151), (4, 3), (2, 2), (1, 1)])
def test_other_lengths_decay_at_the_same_place(monkeypatch: pytest.MonkeyPatch, epochs: int, full: int) -> None:
    lrs, _ = lrs_of_epochs(epochs, monkeypatch)
    assert lrs == pytest.approx([0.1] * full + [0.01] * (epochs - full))


# -- samples


def test_soft_labels_go_through_softmax_and_hard_ones_stay() -> None:
    logits = torch.tensor([[2.0, 0.0, -2.0], [0.0, 0.0, 0.0]])
    images = torch.zeros(2, 1, 2, 2)
    soft = controls.samples_of_set(Learned(images, logits, torch.tensor(0.1)), CPU)
    assert torch.allclose(soft.labels, logits.exp() / logits.exp().sum(dim=1, keepdim=True))
    assert torch.allclose(soft.labels.sum(dim=1), torch.ones(2))
    hard = controls.samples_of_set(Learned(images, torch.tensor([2, 0]), torch.tensor(0.1)), CPU)
    assert hard.labels.tolist() == [2, 0]


@pytest.mark.parametrize("ipc", [1, 3])
def test_a_control_has_equally_many_of_each_class(ipc: int) -> None:
    labels = torch.tensor([0] * 5 + [1] * 40 + [2] * 7)  # classes of unequal size
    drawn = controls.random_samples(labels, ipc, 3, seed=0)
    assert labels[drawn].tolist() == sorted([0, 1, 2] * ipc), "class after class"
    assert len(set(drawn.tolist())) == 3 * ipc, "without replacement"


def test_every_seed_draws_afresh_and_the_same_seed_the_same() -> None:
    labels = torch.arange(1000) % 10
    draws = [tuple(controls.random_samples(labels, 1, 10, seed).tolist()) for seed in range(5)]
    assert len(set(draws)) == 5
    shared = [len(set(a) & set(b)) for k, a in enumerate(draws) for b in draws[:k]]
    assert max(shared) < 5, "fresh in most classes, not in one"
    assert tuple(controls.random_samples(labels, 1, 10, 3).tolist()) == draws[3]


def test_a_learning_rate_is_chosen_on_a_fixed_tenth_of_every_class() -> None:
    labels = torch.tensor([0, 1] * 40 + [2] * 200 + [3] * 3)
    found = controls.choosing_samples(labels, 5, seed=0)  # of class 4 there are none
    assert labels[found].bincount().tolist() == [4, 4, 20, 1] and found.tolist() == sorted(set(found.tolist()))
    assert torch.equal(found, controls.choosing_samples(labels, 5, seed=0))
    assert not torch.equal(found, controls.choosing_samples(labels, 5, seed=1))


def test_the_experts_label_a_control_with_the_mean_of_all_their_logits() -> None:
    """Right or wrong: of the second sample's class no expert thinks, and the labels are theirs all the same."""
    logits = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[-4.0, 1.0], [0.5, 2.5]]])
    found = controls.softened(Samples(torch.zeros(2, 1, 2, 2), torch.tensor([0, 0])), logits)
    assert torch.allclose(found.labels, torch.tensor([[-1.0, 0.5], [0.25, 1.75]]).softmax(dim=1))


# -- iterates


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_iterates_are_judged_by_the_metric(metric: str) -> None:
    """The same network, trained here by hand, judged by scikit-learn on classes of unequal size."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 1] * 4 + [0] * 40 + [1] * 6)
    images = torch.randn(len(labels), 1, 4, 4, generator=draw) + 0.3 * labels.view(-1, 1, 1, 1)
    splits = {"train": torch.arange(8), "validation": torch.arange(8, len(labels)), "test": torch.arange(0)}
    dataset = Dataset.of(images, labels, ("a", "b"), splits, Preprocessing("none", {}))
    learned = Learned(images[:8], labels[:8], torch.tensor(0.05))
    settings = EvaluationSettings(augment="none", batch=4, metric=metric)
    network = NetworkSettings(name="mlp", width=4)
    held = training.samples_of(dataset, "validation", torch.device("cpu"), torch.float32)
    trial = protocol.ValidationSpec(held, settings, 3, 2, Draws(0, "distill", "validation"))
    found = protocol.validation_accuracies(learned, network, dataset, trial)
    score = {"accuracy": accuracy_score, "balanced_accuracy": balanced_accuracy_score}[metric]
    for k, value in enumerate(found):
        draws = Draws(0, "distill", f"validation-{k}")
        made = factory.build(network, (1, 4, 4), 2, seed_for(0, "distill", draws.unit, "network"))
        list(
            training.train(made, Samples(images[:8], labels[:8]), protocol.recipe_for(settings.judging, 3, 0.05), draws)
        )
        predicted = training.logits_of(made, images[8:]).argmax(dim=1)
        assert accuracy_score(labels[8:], predicted) != balanced_accuracy_score(labels[8:], predicted)
        assert value == pytest.approx(score(labels[8:], predicted))


# -- cells


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Identity]]:
    """Settings, a storage root and what lies in it: the tiny chain up to its set."""
    folder = tmp_path_factory.mktemp("evaluation")
    text = TINY
    (folder / "tiny.yaml").write_text(text)
    outcome = pipeline.run(context(folder / "tiny.yaml", folder / "runs"), "distill")
    return folder / "tiny.yaml", folder / "runs", outcome.identities


def context(settings: Path, root: Path, *overrides: str) -> Context:
    loaded = loading.load(str(settings), overrides)
    return Context(loaded.name, loaded.config, open_location(str(root)), InlineRunner())


Work = Callable[..., EvaluationWork]


@pytest.fixture
def work(chain: tuple[Path, Path, dict[str, Identity]]) -> Work:
    """The work of some cells, with places of their own for what it makes."""

    def make(*cells: Cell, place: str = "a") -> EvaluationWork:
        settings, root, identities = chain
        made = context(settings, root)
        places = {source: Identity("evaluation", f"{place}-{source}", "0" * 64) for source in ("distilled", "random")}
        inputs = Inputs(made.location, identities["data"])
        by_id = {f"{cell.source}/{cell.id}": cell for cell in cells}
        return EvaluationWork(made.config, inputs, identities["distill"], places, by_id)

    return make


def results(work: EvaluationWork) -> dict[str, bytes]:
    """Each cell's bytes, made in the order given."""
    make = work.prepare()
    location = work.inputs.location
    return {id: location.get(make(Unit("evaluate", id, "0" * 64)).key) for id in work.cells}


OWN, OTHER = NetworkSettings(name="convnet", width=4, depth=2), NetworkSettings(name="mlp", width=8)


def test_a_cells_bytes_do_not_depend_on_which_others_run(work: Work) -> None:
    cells = [
        Cell("distilled", OWN, 0),
        Cell("random", OTHER, 1, 0.1),
        Cell("distilled", OTHER, 1),
        Cell("random", OWN, 0, 0.01),
    ]
    together = results(work(*cells))
    assert len(set(together.values())) == 4
    torch.rand(7)  # nor on what drew before
    assert results(work(*reversed(cells), place="b")) == together
    for cell in cells[:2]:
        (alone,) = results(work(cell, place=f"c{cell.seed}")).values()
        assert alone == together[f"{cell.source}/{cell.id}"]


def test_networks_of_different_seeds_differ(work: Work) -> None:
    found = results(work(*[Cell("distilled", OWN, seed) for seed in range(3)]))
    assert len({stored_values(content) for content in found.values()}) > 1


def stored_values(content: bytes) -> tuple[float, float]:
    found = json.loads(content)
    return found["validation"], found["test"]


def test_a_control_does_not_depend_on_the_set(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell("random", OWN, 0, 0.1), Cell("distilled", OWN, 0)]
    before = results(work(*cells))
    load = stored.load_set

    def another(folder: Folder, iterations: int) -> Any:
        made = load(folder, iterations)
        learned = dataclasses.replace(made.learned, images=made.learned.images.flip(0), lr=torch.tensor(0.5))
        return dataclasses.replace(made, learned=learned)

    monkeypatch.setattr(stored, "load_set", another)
    after = results(work(*cells, place="b"))
    control, own = (f"{cell.source}/{cell.id}" for cell in cells)
    assert after[control] == before[control] and after[own] != before[own]


def test_the_set_brings_its_lr_and_a_control_is_given_one(work: Work) -> None:
    given = work(Cell("random", OWN, 0, 0.1), Cell("distilled", OWN, 0))
    folder = Folder(given.inputs.location, given.distilled.folder, given.distilled.fingerprint)
    learned = float(stored.load_set(folder, given.config.distill.iterations).learned.lr)
    control, own = (json.loads(content) for content in results(given).values())
    assert control["lr"] == 0.1 and own["lr"] == learned
    assert control["samples"] == own["samples"] == 10 and control["epochs"] == own["epochs"] == 6


@pytest.mark.parametrize("seed", range(3))
def test_controls_are_drawn_from_the_training_split_alone(
    work: Work, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    trained: list[Samples] = []
    score = protocol.Score(Accuracy(0.5, 0.5), Accuracy(0.5, 0.5))
    monkeypatch.setattr(making, "judge", lambda training, *rest: trained.append(training) or score)
    given = work(Cell("random", OWN, seed, 0.1))
    results(given)
    dataset = given.inputs.dataset()
    drawn = {image.numpy().tobytes() for image in trained[0].images}
    assert len(drawn) == 10 and trained[0].labels.tolist() == list(range(10))
    assert drawn <= pixels(dataset, "train")
    assert not drawn & (pixels(dataset, "validation") | pixels(dataset, "test"))


def pixels(dataset: Dataset, split: str) -> set[bytes]:
    images, _ = dataset.split(split)
    return {image.numpy().tobytes() for image in images}


def test_controls_are_chosen_on_validation_and_the_same_for_all_sets(
    chain: tuple[Path, Path, dict[str, Identity]],
) -> None:
    settings, root, identities = chain
    rows = pipeline.run(context(settings, root), "evaluate").rows
    other = pipeline.run(context(settings, root, "distill.seed=1"), "evaluate")
    assert other.identities["distill"] != identities["distill"]
    assert [row for row in other.rows if row.source == "random"] == [r for r in rows if r.source == "random"]
    assert [row for row in other.rows if row.source != "random"] != [r for r in rows if r.source != "random"]
