"""The rows of the protocols: each one's lr at every step, and its training, against loops written out here."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from padray.config import EvaluationSettings
from padray.data import augment, mixing
from padray.data.datasets import Dataset
from padray.data.whitening import Preprocessing
from padray.draws import generator, seed_for
from padray.errors import InputError
from padray.evaluation import protocol
from padray.evaluation.protocol import RealSplits
from padray.evaluation.published import PROTOCOLS
from padray.experts import training
from padray.experts.optimisers import SGD
from padray.experts.training import Draws, Samples
from padray.networks import factory
from padray.networks.settings import NetworkSettings

TRAINED = [name for name in PROTOCOLS if name != "rded-kd"]
DRAWS = Draws(0, "evaluation", "x")


# -- the lr at every epoch, from what the papers say


def half(lr: float, at: float) -> float:
    """1001 epochs, indices 0 to 1000, the last with the whole lr is 501; 301 likewise with 151."""
    return lr if at < 502 else lr / 10


def dc(lr: float, at: float) -> float:
    return lr if at < 152 else lr / 10


def idc(lr: float, at: float) -> float:
    return lr if at < 666 else lr / 5 if at < 833 else lr / 25


def deepcore(lr: float, at: float) -> float:
    return 1e-4 + (lr - 1e-4) / 2 * (1 + math.cos(math.pi * at / 200))


CLOSED: dict[str, tuple[int, int, Callable[[float, float], float]]] = {  # epochs, batch, lr
    "tm1001": (1001, 128, half),
    "dc300": (301, 256, dc),
    "dsa1000": (1001, 256, half),
    "idc": (1000, 64, idc),
    "deepcore": (200, 256, deepcore),
}


@pytest.mark.parametrize("name", TRAINED)
def test_every_step_has_the_rows_lr(name: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two batches an epoch; a cosine falls with each of them."""
    epochs, batch, closed = CLOSED[name]
    row, used = PROTOCOLS[name], list[tuple[float, SGD]]()
    monkeypatch.setattr(SGD, "step", lambda self: used.append((self.lr, self)))
    monkeypatch.setattr(training.augment, "apply", lambda change, images: images)
    samples = Samples(torch.zeros(batch + 1, 1, 2, 2), torch.full((batch + 1, 3), 1 / 3))
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    list(training.train(network, samples, protocol.recipe_for(row, row.epochs, 0.5), DRAWS))
    seconds = 0.5 if name == "deepcore" else 0.0
    wanted = [closed(0.5, epoch + share) for epoch in range(epochs) for share in (0.0, seconds)]
    assert [lr for lr, _ in used] == pytest.approx(wanted)
    assert len({id(one) for _, one in used}) == (2 if row.decay == "half" else 1), "momentum starts anew at a half"


# -- a training by every row


def data(labels_are_soft: bool, count: int = 300) -> Samples:
    draw = generator(1, "samples")
    images = torch.randn(count, 1, 8, 8, generator=draw, dtype=torch.float64)
    labels = torch.randint(0, 3, (count,), generator=draw)
    return Samples(images, (2.0 * F.one_hot(labels, 3)).double().softmax(dim=1) if labels_are_soft else labels)


def dataset() -> Dataset:
    draw = generator(2, "test")
    images, labels = torch.randn(30, 1, 8, 8, generator=draw), torch.randint(0, 3, (30,), generator=draw)
    splits = {"train": torch.arange(10), "validation": torch.arange(0), "test": torch.arange(10, 30)}
    return Dataset.of(images, labels, ("a", "b", "c"), splits, Preprocessing("none", {}))


NETWORK = NetworkSettings(name="mlp", width=6)


def theirs(samples: Samples, row: Any, lr: float) -> nn.Module:
    """PyTorch's own optimisers and schedulers; only draws are padray's."""
    network = factory.build(NETWORK, (1, 8, 8), 3, seed_for(0, "evaluation", "x", "network")).double()

    def optimiser_of(lr: float) -> torch.optim.SGD:
        own = {"momentum": row.momentum, "weight_decay": row.weight_decay, "nesterov": row.nesterov}
        return torch.optim.SGD(network.parameters(), lr, **own)

    optimiser, count = optimiser_of(lr), len(samples.images)
    steps = row.epochs * math.ceil(count / row.batch)
    falls: Any = None
    if row.decay == "sixths":
        at = [2 * row.epochs // 3, 5 * row.epochs // 6]
        falls = torch.optim.lr_scheduler.MultiStepLR(optimiser, at, gamma=0.2)
    if row.decay == "cosine":
        falls = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=1e-4)
    soft = samples.labels if samples.labels.is_floating_point() else F.one_hot(samples.labels, 3).double()
    network.train()
    for epoch in range(row.epochs):
        draw = generator(0, "evaluation", "x", epoch)
        for ids in torch.randperm(count, generator=draw).split(row.batch):
            change = augment.draw(row.augment, len(ids), (1, 8, 8), draw)
            images, targets = augment.apply(change, samples.images[ids]), soft[ids]
            if row.cutmix and float(torch.rand((), generator=draw)) < row.cutmix:
                share = mixing.draw_beta(1.0, draw)
                order = torch.randperm(len(ids), generator=draw)
                box = mixing.draw_box(8, 8, share, draw)
                pasted = torch.zeros(8, 8, dtype=torch.bool)
                pasted[box.top : box.bottom, box.left : box.right] = True
                images = torch.where(pasted, images[order], images)
                kept = float((~pasted).double().mean())
                loss = kept * F.cross_entropy(network(images), targets)
                loss = loss + (1 - kept) * F.cross_entropy(network(images), targets[order])
            else:
                loss = F.cross_entropy(network(images), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if row.decay == "cosine":
                falls.step()
        if row.decay == "sixths":
            falls.step()
        if row.decay == "half" and epoch == (row.epochs - 1) // 2 + 1:
            optimiser = optimiser_of(lr / 10)
    return network


def ours(samples: Samples, settings: EvaluationSettings, lr: float, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    made: list[nn.Module] = []
    monkeypatch.setattr(protocol, "score_of", lambda network, *rest: made.append(network))
    row = settings.training
    recipe = protocol.recipe_for(row, row.epochs, lr)
    protocol.judge(samples, NETWORK, recipe, DRAWS, dataset(), RealSplits(None, None))
    return made[0]


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("name", TRAINED)
def test_a_training_is_pytorchs(name: Any, soft: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, samples = EvaluationSettings(protocol=name, epochs=8), data(soft)
    wanted = theirs(samples, replace(PROTOCOLS[name], epochs=8), 0.05)
    found = ours(samples, settings, 0.05, monkeypatch)
    for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_every_row_changes_the_network_and_so_does_everything_that_is_set_besides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, Any]] = [{"protocol": name} for name in TRAINED]
    asked += [{"batch": 50}, {"momentum": 0.5}, {"weight_decay": 0.1}, {"augment": "flip"}, {"augment": "flip+crop"}]
    ends = set()
    for one in asked:
        network = ours(data(True), EvaluationSettings(epochs=4, **one), 0.05, monkeypatch)
        ends.add(tuple(parameter.detach().numpy().tobytes() for parameter in network.parameters()))
    assert len(ends) == len(asked)


def test_cutmix_and_nesterov_change_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = set()
    for change in ({}, {"cutmix": 0.0}, {"nesterov": True}, {"decay": "none"}):
        row = replace(PROTOCOLS["idc"], epochs=4, **change)
        ends.add(tuple(p.detach().numpy().tobytes() for p in theirs(data(True), row, 0.05).parameters()))
    assert len(ends) == 4


# -- what is set


def test_what_is_set_stands_in_the_rows_place_and_what_judges_is_tm1001_with_it() -> None:
    settings = EvaluationSettings(protocol="dc300", batch=32, weight_decay=0.0)
    assert settings.training == replace(PROTOCOLS["dc300"], batch=32, weight_decay=0.0)
    assert settings.judging == replace(PROTOCOLS["tm1001"], batch=32, weight_decay=0.0)
    assert settings.protocol_text == "dc300 (batch 32, weight_decay 0.0)"
    assert EvaluationSettings(epochs=1001, batch=128).protocol_text == "tm1001"
    assert EvaluationSettings(lr=0.05).protocol_text == "tm1001 (lr 0.05)"


def test_a_protocol_that_is_none_is_refused_in_a_sentence() -> None:
    from padray.configuration import loading

    with pytest.raises(InputError, match=r"evaluation\.protocol.*'tm1001', 'dc300'.*'standard'"):
        loading.load("demo", ("evaluation.protocol=standard",))
