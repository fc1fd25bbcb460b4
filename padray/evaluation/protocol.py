"""One cell of an evaluation: a fresh network, trained on some samples, tested on real ones.

The protocol is MTT's: SGD with momentum and weight decay, augmentation, a tenth of the learning rate and a new
optimiser in the second half, one test at the end. The lr is the set's learned one; controls bring theirs.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from padray import networks
from padray.config import EvaluationSettings
from padray.data.datasets import Dataset
from padray.distill.synthetic import choose_samples
from padray.draws import seed_for
from padray.experts.training import Draws, Recipe, Samples, accuracy, train
from padray.matching.student import Learned
from padray.sections import NetworkSettings

Source = Literal["distilled", "random", "full"]


@dataclass(frozen=True)
class Cell:
    """A network and a seed; `lr` is None where the set brings its own."""

    source: Source
    network: NetworkSettings
    seed: int
    lr: float | None = None

    @property
    def id(self) -> str:
        lr = f"-lr{self.lr:g}" if self.lr is not None else ""
        return f"cell-{self.network.label}-seed{self.seed}{lr}"


@dataclass(frozen=True)
class Score:
    """Accuracies in [0, 1] on the validation split (None without one) and on the test split."""

    validation: float | None
    test: float


def recipe_for(settings: EvaluationSettings, epochs: int, lr: float) -> Recipe:
    """The protocol's recipe: with MTT's 1001 epochs the decay comes with epoch 501."""
    return Recipe(
        epochs, settings.batch, lr, settings.momentum, settings.weight_decay, settings.augment,
        decay_epoch=(epochs - 1) // 2 + 1,
    )  # fmt: skip


def samples_of_set(learned: Learned, device: torch.device) -> Samples:
    """A set as training samples: soft labels through their softmax, hard ones as they are."""
    labels = learned.labels.softmax(dim=1) if learned.soft else learned.labels
    return Samples(learned.images.to(device), labels.to(device))


def random_samples(train_split: Samples, ipc: int, classes: int, seed: int) -> Samples:
    """The control: `ipc` random real samples of each class, a fresh stratified draw for every seed."""
    nobody = torch.zeros((0, len(train_split.labels)), dtype=torch.bool)
    ids = choose_samples(train_split.labels.cpu(), nobody, ipc, seed_for(seed, "evaluation", "random"), classes)
    return Samples(train_split.images[ids], train_split.labels[ids])


@dataclass(frozen=True)
class Judges:
    """The real samples that a trained network is judged on."""

    validation: Samples | None
    test: Samples | None


def judge(
    training: Samples, network: NetworkSettings, recipe: Recipe, draws: Draws, dataset: Dataset, judges: Judges
) -> Score:
    """Train a fresh network on `training` and take its accuracies."""
    seed = seed_for(draws.seed, draws.stage, draws.unit, "network")
    model = networks.build(network, dataset.shape, dataset.classes, seed)
    model = model.to(training.images.device, training.images.dtype)
    for _ in train(model, training, recipe, draws):
        pass
    validation = accuracy(model, judges.validation) if judges.validation is not None else None
    return Score(validation, accuracy(model, judges.test) if judges.test is not None else float("nan"))


@dataclass(frozen=True)
class Trial:
    """How a set is judged on the validation split: protocol, epochs, number of networks, and their draws."""

    settings: EvaluationSettings
    epochs: int
    seeds: int
    draws: Draws


def validation_accuracies(learned: Learned, network: NetworkSettings, dataset: Dataset, trial: Trial) -> list[float]:
    """Accuracies on the validation split of `trial.seeds` fresh networks trained on what has been learned."""
    device, dtype = learned.images.device, learned.images.dtype
    images, labels = dataset.split("validation")
    held = Judges(Samples(images.to(device, dtype), labels.to(device)), None)
    training = samples_of_set(learned, device)
    recipe = recipe_for(trial.settings, trial.epochs, float(learned.lr))
    found = []
    for k in range(trial.seeds):
        draws = replace(trial.draws, unit=f"{trial.draws.unit}-{k}")
        found.append(judge(training, network, recipe, draws, dataset, held).validation or 0.0)
    return found
