"""One cell of an evaluation: a fresh network, trained on some samples, tested on real ones.

How it is trained is a row of published.py: SGD with momentum and weight decay, a decay, an augmentation, one test at
the end. The lr is the set's learned one; controls bring theirs. The protocol with a teacher is in teaching.py.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import one_hot

from padray.data.datasets import Dataset
from padray.draws import seed_for
from padray.errors import DivergedError
from padray.evaluation.accuracy import Accuracy, credits_of, measure, predicted
from padray.evaluation.controls import samples_of_set
from padray.evaluation.published import Protocol
from padray.evaluation.settings import EvaluationSettings
from padray.experts.training import Draws, Recipe, Samples, train
from padray.networks import factory
from padray.networks.derivatives import REFERENCE, Execution
from padray.networks.settings import NetworkSettings
from padray.synthetic.set import Learned

Source = Literal["distilled", "random", "random_soft", "hard_labels", "full"]


@dataclass(frozen=True)
class Cell:
    """A network and a seed; `lr` is None where the set or the protocol brings its own."""

    source: Source
    network: NetworkSettings
    seed: int
    lr: float | None = None

    @property
    def id(self) -> str:
        lr = f"-lr{self.lr:g}" if self.lr is not None else ""
        return f"cell-{self.network.label}-seed{self.seed}{lr}"


@dataclass(frozen=True)
class RealSplits:
    """The real samples that a network is judged on: `held` to choose by, `test` to report; each where asked for."""

    held: Samples | None
    test: Samples | None


@dataclass(frozen=True)
class Score:
    """Accuracies on the held samples and on the test split, None where they were not asked for."""

    held: Accuracy | None
    test: Accuracy | None


def recipe_for(protocol: Protocol, epochs: int, lr: float) -> Recipe:
    """How a network is trained by a protocol, for so many epochs."""
    return Recipe(
        epochs,
        protocol.batch,
        lr,
        protocol.momentum,
        protocol.weight_decay,
        protocol.augment,
        protocol.nesterov,
        protocol.decay,
        protocol.cutmix,
    )


def fresh(network: NetworkSettings, dataset: Dataset, draws: Draws, like: Samples) -> nn.Module:
    """A new network for this training, where its samples are and of their type."""
    seed = seed_for(draws.seed, draws.stage, draws.unit, "network")
    return factory.build(network, dataset.shape, dataset.classes, seed).to(like.images.device, like.images.dtype)


def judge(
    training: Samples, network: NetworkSettings, recipe: Recipe, draws: Draws, dataset: Dataset, splits: RealSplits
) -> Score:
    """Train a fresh network on `training` and take its accuracies.

    Raises:
        DivergedError: the loss is not finite, or what the trained network says.
    """
    return score_of(_trained(training, network, recipe, draws, dataset), splits, recipe.execution)


def _trained(training: Samples, network: NetworkSettings, recipe: Recipe, draws: Draws, dataset: Dataset) -> nn.Module:
    """A fresh network after its training. Raises DivergedError."""
    model = fresh(network, dataset, draws, training)
    for _ in train(model, _mixable(training, recipe, dataset), recipe, draws):
        pass
    return model


def judge_twice(
    trainings: tuple[Samples, Samples],
    network: NetworkSettings,
    recipe: Recipe,
    draws: Draws,
    dataset: Dataset,
    splits: RealSplits,
) -> Score:
    """Train one fresh network on both samples, one after the other, each by the whole recipe; see `double_training`.

    Raises:
        DivergedError: a loss is not finite, or what the trained network says.
    """
    model, left = fresh(network, dataset, draws, trainings[0]), recipe.keeper.left()
    units = (draws.unit, f"{draws.unit}-again")
    over = units.index(left.training) if left is not None and left.training in units else 0
    for training, unit in list(zip(trainings, units, strict=True))[over:]:
        for _ in train(model, _mixable(training, recipe, dataset), recipe, replace(draws, unit=unit)):
            pass
    return score_of(model, splits, recipe.execution)


def _mixable(training: Samples, recipe: Recipe, dataset: Dataset) -> Samples:
    """The samples with labels that can be mixed, where batches are."""
    if not recipe.cutmix or training.labels.is_floating_point():
        return training
    return Samples(training.images, one_hot(training.labels, dataset.classes).to(training.images.dtype))


def score_of(model: nn.Module, splits: RealSplits, execution: Execution = REFERENCE) -> Score:
    """What is asked of a trained network. Raises DivergedError if what it says is not finite."""

    def look(samples: Samples | None) -> Accuracy | None:
        return None if samples is None else measure(model, samples, execution)

    return Score(look(splits.held), look(splits.test))


@dataclass(frozen=True)
class ValidationSpec:
    """How a set is judged on the validation split: its samples, protocol, epochs, number of networks, their draws."""

    held: Samples
    settings: EvaluationSettings
    epochs: int
    seeds: int
    draws: Draws
    execution: Execution = REFERENCE


def validation_accuracies(
    learned: Learned, network: NetworkSettings, dataset: Dataset, spec: ValidationSpec
) -> list[float | None]:
    """What `evaluation.metric` says on validation of `spec.seeds` fresh networks trained on what has been learned.

    None for a network that diverged: that is a judgement, the worst, and no failure of whoever asks for it.
    Always by tm1001, so that what is distilled does not depend on how it is evaluated in the end.
    """
    accuracies: list[float | None] = []
    for k in range(spec.seeds):
        try:
            model = _judging(learned, network, dataset, spec, k)
            accuracies.append(measure(model, spec.held, spec.execution).by(spec.settings.metric))
        except DivergedError:
            accuracies.append(None)
    return accuracies


def validation_credits(
    learned: Learned, network: NetworkSettings, dataset: Dataset, spec: ValidationSpec, k: int
) -> torch.Tensor | None:
    """What each validation sample (N,) adds to what the same metric says of network `k`; None if that diverged."""
    try:
        model = _judging(learned, network, dataset, spec, k)
        return credits_of(predicted(model, spec.held, spec.execution), spec.held.labels, spec.settings.metric)
    except DivergedError:
        return None


def _judging(learned: Learned, network: NetworkSettings, dataset: Dataset, spec: ValidationSpec, k: int) -> nn.Module:
    """Judging network `k`, trained. Raises DivergedError."""
    training = samples_of_set(learned, learned.images.device)
    recipe = recipe_for(spec.settings.judging, spec.epochs, spec.settings.fixed_lr or learned.lr_to_use)
    draws = replace(spec.draws, unit=f"{spec.draws.unit}-{k}")
    return _trained(training, network, replace(recipe, execution=spec.execution), draws, dataset)
