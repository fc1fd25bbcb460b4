"""What a network says by a compiled program, and its features, are what its module gives."""

import statistics

import pytest
import torch
from torch import Tensor

from padray.networks import factory, logits
from padray.networks.derivatives import Execution, forward_flops
from padray.networks.logits import features_of, logits_of
from padray.networks.programs import compiler
from padray.networks.settings import NetworkSettings

SHAPE, CLASSES = (3, 8, 8), 4


def network_of(**settings):
    return factory.build(NetworkSettings(width=4, depth=2, **settings), SHAPE, CLASSES, seed=1).double()


def images(count):
    return torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(count))


def test_samples_that_do_not_fill_a_part_are_padded_and_cut(programs_asked, monkeypatch):
    monkeypatch.setattr("padray.networks.derivatives.CACHED_BYTES", 1)  # parts of the fewest samples, 16
    network, seen = network_of(), images(37)
    said = logits_of(network, seen, Execution("on"))
    assert said.shape == (37, CLASSES)
    torch.testing.assert_close(said, logits_of(network, seen), rtol=1e-12, atol=1e-12)
    assert [(one.kind, one.samples, one.precision) for one in programs_asked] == [("logits", 16, "float64")]


def test_features_are_what_the_classifier_sees(programs_asked, monkeypatch):
    monkeypatch.setattr("padray.networks.derivatives.CACHED_BYTES", 1)
    network, seen = network_of().train(), images(37)
    found = features_of(network, seen, Execution("on"))
    torch.testing.assert_close(found, network.features(seen), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network.classifier(found), network(seen), rtol=1e-12, atol=1e-12)
    assert [(one.kind, one.samples) for one in programs_asked] == [("features", 16)] and not found.requires_grad
    assert torch.equal(features_of(network, seen, Execution("auto")), network.features(seen))
    assert len(programs_asked) == 1


@pytest.mark.parametrize(("count", "samples"), [(1, 1), (5, 8), (64, 64), (5000, 4096)])
def test_a_small_batch_is_not_padded_to_all_that_the_cache_holds(programs_asked, monkeypatch, count, samples):
    monkeypatch.setattr("padray.networks.derivatives.CACHED_BYTES", 4096 * 4 * 64 * 8)  # maps of 4x8x8 in float64
    features_of(network_of(), torch.zeros(1, *SHAPE, dtype=torch.float64).expand(count, -1, -1, -1), Execution("on"))
    assert [one.samples for one in programs_asked] == [samples]


def test_features_of_a_batch_norm_are_those_of_its_mode(programs_asked):
    network, seen = network_of(norm="batch"), images(20)
    for mode in (True, False):
        network.train(mode)
        assert torch.equal(features_of(network, seen, Execution("on")), network.features(seen)) and not programs_asked


@pytest.mark.chaos
@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_machine_code_says_the_same(users_cache):
    network, seen = network_of(), images(21)
    torch.testing.assert_close(logits_of(network, seen, Execution("on")), logits_of(network, seen))
    torch.testing.assert_close(features_of(network, seen, Execution("on")), features_of(network, seen))


@pytest.mark.chaos
@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_in_float32_features_err_no_more_than_twice_as_much_as_the_module(users_cache):
    """Against float64: the median of 12 networks."""

    def error(found: Tensor, exact: Tensor) -> float:
        return float((found.double() - exact).norm() / exact.norm())

    plain, compiled = [], []
    for seed in range(12):
        network = factory.build(NetworkSettings(width=8), (3, 16, 16), CLASSES, seed)
        seen = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
        found = [features_of(network, seen, Execution(way)) for way in ("off", "on")]
        exact = features_of(network.double(), seen.double())
        plain.append(error(found[0], exact))
        compiled.append(error(found[1], exact))
    assert statistics.median(compiled) <= 2 * statistics.median(plain)


def test_a_batch_norm_is_left_to_its_module(programs_asked):
    network, seen = network_of(norm="batch"), images(20)
    network(seen)  # in training: it notes their statistics
    said = logits_of(network, seen, Execution("on"))
    assert not programs_asked
    assert torch.equal(said, network.eval()(seen))


def test_auto_compiles_where_a_look_is_long_enough(programs_asked, monkeypatch):
    monkeypatch.setattr("padray.networks.derivatives.compiler", lambda: "g++")
    network, seen = network_of(), images(20)
    for pays, expected in ((20 * forward_flops(network) + 1, 0), (20 * forward_flops(network), 1)):
        monkeypatch.setattr(logits, "PAYS_TO_LOOK", pays)
        logits_of(network, seen, Execution("auto"))
        assert len(programs_asked) == expected
