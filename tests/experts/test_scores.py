"""Scores: closed forms, the true gradient, and labels that were made wrong on purpose."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from padray.config import DataSettings, ScoreSettings
from padray.data import datasets, sources
from padray.draws import generator
from padray.experts.scorers import NEVER_LEARNED, SCORES, Observed, observe
from padray.experts.training import Draws, Recipe, Samples, train
from padray.networks import factory
from padray.networks.settings import NetworkSettings

NETWORK = NetworkSettings(name="convnet", width=4, depth=2)


def seen(probabilities: list[list[float]], labels: list[int], **parts) -> Observed:
    """Logits with these probabilities; one epoch, in which all was right with a loss of 1."""
    count = len(labels)
    given = {
        "logits_NK": torch.tensor(probabilities, dtype=torch.float64).log() + 3.0,
        "labels_N": torch.tensor(labels),
        "feature_squares_N": torch.zeros(count, dtype=torch.float64),
        "correct_EN": torch.ones(1, count, dtype=torch.bool),
        "losses_EN": torch.ones(1, count, dtype=torch.float64),
        "lots_N": torch.zeros(count, dtype=torch.float64),
    }
    return Observed(**{**given, **parts})


def course(correct: list[list[int]], losses: list[list[float]] | None = None) -> Observed:
    """Rows are samples, columns epochs."""
    right = torch.tensor(correct, dtype=torch.bool).T
    values = torch.ones(right.shape) if losses is None else torch.tensor(losses).T
    return seen([[0.5, 0.5]] * len(correct), [0] * len(correct), correct_EN=right, losses_EN=values.double())


def samples(count: int = 12) -> Samples:
    draw = generator(1, "samples")
    return Samples(torch.rand(count, 1, 8, 8, generator=draw), torch.randint(0, 3, (count,), generator=draw))


def test_every_score_is_a_method_of_the_settings_and_what_is_none_is_refused():
    for method in SCORES:
        assert ScoreSettings(method=method).method == method
    with pytest.raises(ValueError, match=r"must be one of el2n, .* or file"):
        ScoreSettings(method="el3n")


@pytest.mark.parametrize(
    ("method", "values"),
    [
        ("el2n", [math.sqrt(0.3**2 + 0.2**2 + 0.1**2), math.sqrt(0.5**2 + 0.75**2 + 0.25**2)]),
        ("grand", [3 * math.sqrt(0.14), math.sqrt(0.875)]),
        ("loss", [-math.log(0.7), -math.log(0.25)]),
        ("least_confidence", [0.3, 0.5]),
        ("entropy", [-sum(p * math.log(p) for p in (0.7, 0.2, 0.1)), 1.5 * math.log(2)]),
        ("margin", [0.5, 0.75]),
    ],
)
def test_closed_forms(method, values):
    squares = torch.tensor([8.0, 0.0], dtype=torch.float64)
    found = SCORES[method](seen([[0.7, 0.2, 0.1], [0.5, 0.25, 0.25]], [0, 1], feature_squares_N=squares))
    assert found.tolist() == pytest.approx(values, abs=1e-12)


def test_a_sure_and_right_network_finds_nothing_hard_and_a_sure_and_wrong_one_does():
    logits = torch.tensor([[60.0, 0.0], [60.0, 0.0]], dtype=torch.float64)
    both = seen([[0.5, 0.5]] * 2, [0, 1], logits_NK=logits)
    for method in ("el2n", "grand", "loss"):
        right, wrong = SCORES[method](both).tolist()
        assert right == pytest.approx(0, abs=1e-12) and wrong >= 1.4
    for method in ("least_confidence", "entropy", "margin"):  # they read no label
        assert SCORES[method](both).tolist() == pytest.approx([0, 0], abs=1e-12)


def test_grand_is_the_length_of_the_last_layers_gradient_sample_by_sample():
    data, network = samples(), factory.build(NETWORK, (1, 8, 8), 3, 5).double()
    data = Samples(data.images.double(), data.labels)
    head = {name: value.detach() for name, value in network.classifier.named_parameters()}
    features_NF = network.features(data.images).detach()

    def loss_of(parameters, features_F, label):
        return F.cross_entropy(torch.func.functional_call(network.classifier, parameters, features_F), label)

    gradients = torch.func.vmap(torch.func.grad(loss_of), (None, 0, 0))(head, features_NF, data.labels)
    expected_N = sum(g.flatten(1).square().sum(1) for g in gradients.values()).sqrt()
    found_N = SCORES["grand"](observe(network, [None], [data], generator(0, "test")))
    assert torch.allclose(found_N, expected_N, rtol=1e-10)


# -- forgetting


def test_forgetting_counts_the_ways_from_right_to_wrong():
    found = SCORES["forgetting"](course([[1, 0, 1, 0, 1], [0, 0, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]))
    assert found.floor().tolist() == [2, 0, 1, 1]


def test_what_was_never_learned_is_harder_than_all_else_also_on_average():
    never, ever = course([[0] * 20, [1] * 20]), course([[1] * 20, [1, 0] * 10])
    mean_N = (SCORES["forgetting"](never) + 9 * SCORES["forgetting"](ever)) / 10
    assert mean_N[0] > mean_N[1] > 8
    assert SCORES["forgetting"](never)[0] >= NEVER_LEARNED


def test_equal_counts_are_told_apart_by_the_mean_loss_and_counts_are_never_outdone_by_it():
    losses = [[90.0, 90.0, 90.0], [0.5, 9.0, 0.1], [0.0, 0.0, 0.0], [0.1, 0.2, 0.1]]
    found = SCORES["forgetting"](course([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1]], losses))
    assert found.argsort().tolist() == [3, 1, 0, 2]
    always = SCORES["forgetting"](course([[1, 1, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], losses))
    mean_N = (found + 9 * always) / 10  # forgotten once by one network in ten
    assert mean_N.argsort().tolist() == [3, 1, 0, 2]


# -- what is observed


def test_what_is_observed_is_each_epochs_end_in_evaluation_mode_without_augmentation():
    data, more = samples(12), samples(5)
    recipe = Recipe(3, 4, 0.05, 0.9, 0.0, "crop_flip")
    settings = NetworkSettings(name="convnet", width=4, depth=2, norm="batch")
    network, twin = (factory.build(settings, (1, 8, 8), 3, 0) for _ in range(2))
    found = observe(network, train(network, data, recipe, Draws(0, "test", "a")), [data, more], generator(0, "lots"))
    both = Samples(torch.cat([data.images, more.images]), torch.cat([data.labels, more.labels]))
    for epoch, _ in enumerate(train(twin, data, recipe, Draws(0, "test", "a"))):
        twin.eval()
        logits = twin(both.images).detach()
        assert torch.equal(found.correct_EN[epoch], logits.argmax(dim=1) == both.labels)
        expected = torch.stack([F.cross_entropy(z, y) for z, y in zip(logits, both.labels, strict=True)])
        assert torch.allclose(found.losses_EN[epoch].float(), expected, atol=1e-5)
    assert torch.allclose(found.logits_NK.float(), logits, atol=1e-5)
    assert all(value.shape == (17,) for method, value in ((m, score(found)) for m, score in SCORES.items()))
    assert torch.equal(found.lots_N, torch.rand(17, generator=generator(0, "lots"), dtype=torch.float64))


def test_random_is_the_lots_and_nothing_else():
    lots = torch.tensor([0.3, 0.1], dtype=torch.float64)
    one = seen([[0.9, 0.1], [0.2, 0.8]], [0, 0], lots_N=lots)
    assert torch.equal(SCORES["random"](one), lots)
    assert torch.equal(SCORES["random"](dataclasses.replace(one, logits_NK=-one.logits_NK)), lots)


# -- a planted truth


@pytest.fixture(scope="module")
def recall() -> dict[str, float]:
    """Of 5 % wrong labels among the digits, the share that lies in the hardest tenth, by method; 2 networks."""
    dataset = datasets.make(DataSettings(), sources.read(DataSettings()))
    images, labels = dataset.split("train")
    count, draw = len(labels), generator(0, "planted")
    wrong = torch.randperm(count, generator=draw)[: round(0.05 * count)]
    labels[wrong] = (labels[wrong] + torch.randint(1, 10, (len(wrong),), generator=draw)) % 10
    planted, recipe = Samples(images, labels), Recipe(6, 32, 0.05, 0.9, 5e-4, "crop")
    scores = {method: torch.zeros(count, dtype=torch.float64) for method in SCORES}
    for unit in ("a", "b"):
        shape = NetworkSettings(name="convnet", width=16, depth=2)
        network = factory.build(shape, dataset.shape, 10, generator(0, unit).initial_seed())
        epochs = train(network, planted, recipe, Draws(0, "planted", unit))
        found = observe(network, epochs, [planted], generator(0, "planted", unit, "lots"))
        for method, score in SCORES.items():
            scores[method] += score(found) / 2
    hardest = {method: set(s.argsort(descending=True)[: count // 10].tolist()) for method, s in scores.items()}
    return {method: len(ids & set(wrong.tolist())) / len(wrong) for method, ids in hardest.items()}


@pytest.mark.parametrize("method", ["el2n", "grand", "loss", "forgetting"])
def test_wrong_labels_are_found_among_the_hardest_tenth(recall, method):
    assert recall[method] >= 0.8, recall


@pytest.mark.parametrize("method", ["least_confidence", "entropy", "margin", "random"])
def test_what_reads_no_labels_cannot_find_them(recall, method):
    assert recall[method] < 0.4, recall
