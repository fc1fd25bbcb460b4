"""Plain supervised training, the same loop for scoring networks, experts and evaluation.

Legend: N samples, C H W, K classes, P parameters, E epochs.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from padray.data import augment, mixing
from padray.data.datasets import Dataset
from padray.draws import generator
from padray.errors import DivergedError, InputError
from padray.experts import decay, sharpness
from padray.experts.optimisers import SGD
from padray.experts.positions import NOWHERE, Keeper, Position, Trained
from padray.experts.sharpness import Sharpness
from padray.machine import activity, interruption
from padray.networks.derivatives import REFERENCE, Derivatives, Execution, derivatives
from padray.networks.flat import FlatNetwork
from padray.networks.logits import logits_of
from padray.networks.settings import GRADIENT_PASSES


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    With `sharpness` SGD descends along GSAM's direction, otherwise along the gradient. `execution`: how gradients are
    made; where one is worth compiling, all batches but a last one that is smaller are.

    Attributes:
        decay: how the lr falls, one of decay.py.
        cutmix: with which probability a batch is mixed with itself, labels too, which must be probabilities then.
        keeper: keeps where the training stands, and says where it goes on from.
    """

    epochs: int
    batch: int
    lr: float
    momentum: float
    weight_decay: float
    augment: str
    nesterov: bool = False
    decay: str = "none"
    cutmix: float = 0.0
    sharpness: Sharpness | None = None
    execution: Execution = REFERENCE
    keeper: Keeper = NOWHERE


@dataclass(frozen=True)
class Draws:
    """Which draws a training makes: epoch e takes its order and augmentation from (seed, stage, unit, e)."""

    seed: int
    stage: str
    unit: str


@dataclass(frozen=True)
class Samples:
    """Images (N, C, H, W) and their labels: class indices (N,), or class probabilities (N, K)."""

    images: torch.Tensor
    labels: torch.Tensor


def samples_of(dataset: Dataset, split: str, device: torch.device, dtype: torch.dtype) -> Samples:
    """One split of the dataset, preprocessed, where and as the work needs it."""
    images, labels = dataset.split(split, dtype, device)
    return Samples(images, labels.to(device))


def train(
    network: nn.Module,
    samples: Samples,
    recipe: Recipe,
    draws: Draws,
    samples_of_epoch: Callable[[int], torch.Tensor] | None = None,
) -> Iterator[float]:
    """Train in place; yield the loss of the last batch after every epoch, from that on in which it was left.

    Raises:
        DivergedError: the loss is not finite.
        InputError: where it was left is no position of this training.
    """
    optimiser, slopes = _optimiser(network, recipe), _slopes(network, samples, recipe)
    left = position_in(recipe, draws)
    first = left.epoch if left else 0
    with activity.step("epoch", recipe.epochs, done=first) as going:
        for epoch in range(first, recipe.epochs):
            interruption.check()
            if recipe.decay == "half" and epoch == decay.first_of_half(recipe.epochs):
                optimiser = _optimiser(network, recipe)  # of no momentum
            ids = samples_of_epoch(epoch) if samples_of_epoch else torch.arange(len(samples.images))
            draw = generator(draws.seed, draws.stage, draws.unit, epoch)
            at = _Epoch(epoch, draw, going, draws.unit, left if epoch == first else None)
            loss = _train_epoch(slopes, samples, ids, optimiser, recipe, at)
            if not math.isfinite(loss):
                setting = f"{draws.stage}.lr" if draws.stage in ("experts", "scores") else "its learning rate"
                raise DivergedError(
                    f"the loss of {draws.stage} {draws.unit} became {loss} in epoch {epoch}: "
                    f"lower {setting} ({recipe.lr:g}){_or_rho(draws, recipe)}"
                )
            yield loss


def position_in(recipe: Recipe, draws: Draws) -> Position | None:
    """Where this training was left; None where it begins."""
    left = recipe.keeper.left()
    return left if left is not None and left.training == draws.unit else None


def _or_rho(draws: Draws, recipe: Recipe) -> str:
    return f" or {draws.stage}.rho ({recipe.sharpness.rho:g})" if recipe.sharpness else ""


def _optimiser(network: nn.Module, recipe: Recipe) -> SGD:
    return SGD(network.parameters(), recipe.lr, recipe.momentum, recipe.weight_decay, recipe.nesterov)


def _slopes(network: nn.Module, samples: Samples, recipe: Recipe) -> Derivatives:
    flat, count = FlatNetwork(network), len(samples.images)
    passes = (1 + (recipe.sharpness is not None)) * GRADIENT_PASSES * recipe.epochs * count
    return derivatives(flat, recipe.execution, min(recipe.batch, count), passes)


class _Epoch(NamedTuple):
    """Which one it is, what it draws from, where it notes how far it is, of which training, and where that was left."""

    number: int
    draw: torch.Generator
    going: activity.Going
    training: str
    left: Position | None


def _train_epoch(
    slopes: Derivatives, samples: Samples, ids: torch.Tensor, optimiser: SGD, recipe: Recipe, at: _Epoch
) -> float:
    if not slopes.network.module.training:  # somebody looked at it
        slopes.network.module.train()
    loss, lr_at = torch.zeros(()), decay.DECAYS[recipe.decay]
    batches = torch.split(ids[torch.randperm(len(ids), generator=at.draw)], recipe.batch)
    state, keeper, first = Trained(slopes.network.module, optimiser, at.draw), recipe.keeper, 0
    if at.left is not None:
        try:
            state.go_to(at.left)
        except ValueError as error:
            raise InputError(f"{at.training} cannot go on from what is stored of it ({error}); remove that") from None
        first = at.left.batch
    for k, batch in list(enumerate(batches))[first:]:
        if keeper.is_due():
            keeper.keep(state.position(at.training, at.number, k))
        optimiser.lr = lr_at(recipe.lr, recipe.epochs, at.number, k / len(batches))
        seen = _seen(samples, batch, recipe, at.draw)
        optimiser.zero_grad()
        loss = slopes.put_gradient(seen.images, seen.labels)
        if recipe.sharpness is not None:
            _turn(slopes, seen, recipe.sharpness)
        optimiser.step()
        at.going.done = at.number + (k + 1) / len(batches)
    return float(loss)


def _seen(samples: Samples, batch: torch.Tensor, recipe: Recipe, draw: torch.Generator) -> Samples:
    """A batch as a step sees it: augmented, and mixed if it is drawn to be."""
    _, channels, height, width = samples.images.shape
    change = augment.draw(recipe.augment, len(batch), (channels, height, width), draw)
    images, labels = augment.apply(change, samples.images[batch]), samples.labels[batch]
    if recipe.cutmix and float(torch.rand((), generator=draw)) < recipe.cutmix:
        images, labels = mixing.cutmix(images, labels, draw)
    return Samples(images, labels)


def _turn(slopes: Derivatives, seen: Samples, settings: Sharpness) -> None:
    """Put GSAM's direction in the gradient's place. The flat view leaves parameters and statistics as they are."""
    flat = slopes.network

    def gradient_at(theta_P: torch.Tensor) -> torch.Tensor:
        return slopes.gradient(theta_P, seen.images, seen.labels)[1]

    flat.set_gradient(sharpness.direction(flat.flatten(), flat.gradient(), gradient_at, settings))


def accuracy(network: nn.Module, samples: Samples, execution: Execution = REFERENCE) -> float:
    """The share of samples whose largest logit is their label's, in [0, 1]."""
    return float((logits_of(network, samples.images, execution).argmax(dim=1) == samples.labels).double().mean())
