"""Accuracy and balanced accuracy against scikit-learn."""

import warnings

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from torch import nn

from padray.evaluation.accuracy import Accuracy, accuracy_of, measure
from padray.experts.training import Samples


@pytest.mark.parametrize("shares", [(1, 1, 1, 1), (90, 6, 3, 1), (50, 0, 49, 1)])
def test_both_are_scikit_learns(shares):
    draw = torch.Generator().manual_seed(3)
    labels = torch.multinomial(torch.tensor(shares).double(), 500, replacement=True, generator=draw)
    noise = torch.randint(4, (500,), generator=draw)
    predicted = torch.where(torch.rand(500, generator=draw) < 0.6, labels, noise)
    found = accuracy_of(predicted, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class without samples was predicted
        assert found.balanced == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.plain == pytest.approx(accuracy_score(labels, predicted))


def test_who_always_says_the_largest_class_is_found_out():
    labels = torch.tensor([0] * 90 + [1] * 5 + [2] * 5)
    assert accuracy_of(torch.zeros_like(labels), labels) == Accuracy(0.9, pytest.approx(1 / 3))


def test_classes_of_equal_size_make_no_difference():
    labels = torch.arange(10).repeat_interleave(7)
    found = accuracy_of(labels.roll(3), labels)
    assert found.plain == pytest.approx(found.balanced) == pytest.approx(4 / 7)


def test_the_metric_names_the_one():
    assert Accuracy(0.9, 0.3).by("accuracy") == 0.9 and Accuracy(0.9, 0.3).by("balanced_accuracy") == 0.3


def test_a_network_is_measured_in_evaluation_mode():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Identity()).train()
    images = torch.eye(3).view(3, 3, 1, 1)
    assert measure(network, Samples(images, torch.arange(3))) == Accuracy(1.0, 1.0)
