"""Training: what the draws, the schedule and the decay mean, against an independent loop."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from padray.data import augment
from padray.draws import generator
from padray.errors import WorkError
from padray.experts.training import Draws, Recipe, Samples, accuracy, train

DRAWS = Draws(0, "test", "unit")


def samples(n: int = 20) -> Samples:
    draw = generator(1, "samples")
    return Samples(torch.rand(n, 1, 8, 8, generator=draw), torch.randint(0, 3, (n,), generator=draw))


def linear() -> nn.Module:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        module[1].weight.zero_()
        module[1].bias.zero_()
    return module


def recipe(**changes) -> Recipe:
    return Recipe(
        **{"epochs": 3, "batch": 8, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "augment": "crop", **changes}
    )


def test_equals_an_independent_loop_with_momentum_weight_decay_and_a_decay_that_resets():
    data, network = samples(), linear()
    list(train(network, data, recipe(decay="half", epochs=5), DRAWS))
    weight, bias = torch.zeros(3, 64), torch.zeros(3)
    for epoch in range(5):
        if epoch in (0, 4):
            moment = [torch.zeros(3, 64), torch.zeros(3)]
        lr, draw = (0.01 if epoch == 4 else 0.1), generator(0, "test", "unit", epoch)
        for batch in torch.randperm(20, generator=draw).split(8):
            x = augment.apply(augment.draw("crop", len(batch), (1, 8, 8), draw), data.images[batch]).flatten(1)
            error = (F.softmax(x @ weight.T + bias, dim=1) - F.one_hot(data.labels[batch], 3)) / len(batch)
            for k, (value, gradient) in enumerate(((weight, error.T @ x), (bias, error.sum(0)))):
                moment[k] = 0.9 * moment[k] + gradient + 0.01 * value
                value -= lr * moment[k]
    assert torch.allclose(network[1].weight, weight, atol=1e-6)
    assert torch.allclose(network[1].bias, bias, atol=1e-6)


def test_the_same_draws_give_the_same_bytes_and_others_do_not():
    ends = []
    for unit in ("a", "a", "b"):
        network = linear()
        list(train(network, samples(), recipe(), Draws(0, "test", unit)))
        ends.append(network[1].weight)
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_only_the_scheduled_samples_are_seen():
    data = samples()
    poisoned = data.images.clone()
    poisoned[10:] = math.nan
    network = linear()
    list(train(network, Samples(poisoned, data.labels), recipe(), DRAWS, lambda epoch: torch.arange(10)))
    assert torch.isfinite(network[1].weight).all()


def test_soft_labels_are_probabilities():
    data, hard, soft = samples(), linear(), linear()
    list(train(hard, data, recipe(), DRAWS))
    list(train(soft, Samples(data.images, F.one_hot(data.labels, 3).float()), recipe(), DRAWS))
    assert torch.allclose(hard[1].weight, soft[1].weight, atol=1e-6)


def test_a_loss_that_is_not_finite_names_the_learning_rate():
    data = Samples(samples().images * math.inf, samples().labels)
    with pytest.raises(WorkError, match="learning rate"):
        list(train(linear(), data, recipe(), DRAWS))


def test_accuracy_counts():
    network = linear()
    with torch.no_grad():
        network[1].bias[2] = 1.0
    labels = torch.tensor([2, 2, 0, 1])
    assert accuracy(network, Samples(torch.zeros(4, 1, 8, 8), labels)) == 0.5
