"""IADD's weights: groups, descent, constraints, and the signs of collapse."""

import math

import pytest
import torch
from pydantic import ValidationError

from padray.methods.trajectory import importance
from padray.methods.trajectory.importance import (
    HISTOGRAM_EDGES,
    Importance,
    effective_fraction,
    groups_of,
    histogram,
    weigh,
)
from padray.methods.trajectory.objective import Metric, match
from padray.methods.trajectory.selection import select
from padray.methods.trajectory.settings import ImportanceSettings, PruningSettings, SelectionSettings
from padray.networks.flat import Span

SPANS = (Span("a", (2, 3), 0, 6), Span("b", (2,), 6, 8))
FIRST = torch.tensor([True] * 3 + [False] * 3 + [True] * 2)  # one channel of `a` is left out


def weighting(matched=None, **settings) -> Importance:
    matched = torch.ones(8, dtype=torch.bool) if matched is None else matched
    return weigh(ImportanceSettings(enabled=True, **settings), SPANS, matched)


def double(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("granularity", "groups"),
    [("scalar", list(range(8))), ("channel", [0, 0, 0, 1, 1, 1, 2, 3]), ("tensor", [0] * 6 + [1] * 2)],
)
def test_a_group_is_a_parameter_a_channel_or_a_tensor(granularity, groups):
    assert groups_of(granularity, SPANS).tolist() == groups
    made = weighting(granularity=granularity, init=2.0)
    assert made.start(torch.float64).tolist() == [2.0] * len(set(groups))
    assert made.weights(double(*range(len(set(groups))))).tolist() == groups


def test_a_group_s_gradient_is_the_sum_over_its_members():
    made = weighting(granularity="channel")
    assert made.gradient(double(1, 1, 1, 1), double(1, 2, 3, 0, 0, 5, 7, 9)).tolist() == [6, 5, 7, 9]


def test_without_a_constraint_weights_follow_the_closed_form_of_plain_descent():
    """w_j(k) = product of (1 - 2 lr d_j^2 / D): they can only shrink, fastest where the mismatch is largest."""
    end, start, target = double(1, 2, 3, 4, 0, 0, 0, 1), double(*[0] * 8), double(2, 2, 2, 2, 1, 1, 1, 1)
    keep = select(SelectionSettings(strategy="none"), PruningSettings(), SPANS, torch.device("cpu"))
    made = weighting(constraint="none", lr=0.7)
    values, momentum = made.start(torch.float64), torch.zeros(8, dtype=torch.float64)
    for _ in range(5):
        found = match(end, start, target, Metric(keep, SPANS, made.weights(values)))
        values, momentum = made.update(values, momentum, made.gradient(values, found.grad_weights))
    expected = (1 - 2 * 0.7 * (end - target) ** 2 / (start - target).pow(2).sum()) ** 5
    assert torch.allclose(values, expected, rtol=1e-13)


def test_momentum_adds_up_the_gradients():
    made = weighting(constraint="none", lr=0.1, momentum=0.5)
    values, momentum = made.start(torch.float64), torch.zeros(8, dtype=torch.float64)
    for _ in range(3):
        values, momentum = made.update(values, momentum, torch.ones(8, dtype=torch.float64))
    assert momentum.tolist() == [1.75] * 8
    assert values.tolist() == pytest.approx([1 - 0.1 * (1 + 1.5 + 1.75)] * 8)


def test_weights_shrink_most_where_the_mismatch_is_largest_and_keep_their_mean():
    made = weighting()
    stepped, _ = made.update(double(*[1] * 8), double(*[0] * 8), double(0, 0.1, 0.4, 0, 0, 0, 0, 2))
    assert stepped.mean() == pytest.approx(1.0)
    assert stepped[0] > stepped[1] > stepped[2] > 0 == stepped[7]


@pytest.mark.parametrize("granularity", ["scalar", "channel", "tensor"])
@pytest.mark.parametrize("constraint", ["mean1", "l2", "softmax"])
def test_constraints_hold_over_the_matched_parameters(constraint, granularity):
    made = weighting(FIRST, constraint=constraint, granularity=granularity, lr=0.3)
    values = made.start(torch.float64)
    momentum, draw = torch.zeros_like(values), torch.Generator().manual_seed(0)
    for _ in range(4):
        gradient_P = torch.rand(8, generator=draw, dtype=torch.float64) * FIRST
        values, momentum = made.update(values, momentum, made.gradient(values, gradient_P))
    matched = made.weights(values)[FIRST]
    size = (matched**2).mean().sqrt() if constraint == "l2" else matched.mean()
    assert size == pytest.approx(1.0)
    assert matched.std() > 0.01


def test_clamp_holds_every_weight_within_its_bounds():
    made = weighting(constraint="clamp", clamp=(0.5, 1.2), granularity="tensor")
    stepped, _ = made.update(double(1, 1), double(0, 0), double(3, -3))
    assert stepped.tolist() == [0.5, 1.2]


@pytest.mark.parametrize(
    "settings",
    [{"constraint": "clamp", "clamp": (2.0, 3.0)}, {"clamp": (2.0, 1.0)}, {"constraint": "softmax", "init": 2.0}],
)
def test_starts_that_their_constraint_contradicts_are_refused(settings):
    with pytest.raises(ValidationError, match=r"clamp|softmax"):
        ImportanceSettings(**settings)


def test_weights_that_fiem_leaves_out_stay_and_do_not_let_the_others_collapse():
    made = weighting(FIRST, lr=0.1)
    values, momentum = made.start(torch.float64), torch.zeros(8, dtype=torch.float64)
    for _ in range(500):
        gradient = values * double(0.1, 0.3, 0, 0, 0, 0, 0.2, 0.1)
        values, momentum = made.update(values, momentum, gradient)
    assert values[3:6].tolist() == [1, 1, 1]
    assert values[FIRST].mean() == pytest.approx(1.0)


def test_effective_fraction_shows_collapse():
    assert effective_fraction(torch.full((8,), 3.0)) == pytest.approx(1.0)
    assert effective_fraction(torch.tensor([1.0, 0, 0, 0])) == pytest.approx(0.25)
    assert effective_fraction(torch.zeros(4)) == 0
    assert importance.diagnostics(torch.tensor([0.5, 1.0, 1.5]))["weight_median"] == 1.0


def test_the_histogram_counts_every_weight_once_in_bins_of_their_logarithm():
    weights = torch.tensor([0.0, 1e-9, 0.99999, 1.0, 1.00001, 10.0, 1e9])
    counts = histogram(weights)
    assert sum(counts) == 7
    assert (counts[0], counts[-1]) == (2, 1)
    around_one = next(k for k in range(25) if HISTOGRAM_EDGES[k] <= 0 < HISTOGRAM_EDGES[k + 1])
    ten = next(k for k in range(25) if HISTOGRAM_EDGES[k] <= math.log10(10) < HISTOGRAM_EDGES[k + 1])
    assert (counts[around_one], counts[ten]) == (3, 1)


def mismatched(constraint: str, lr: float) -> dict:
    """The metrics after twenty steps towards a student that misses everywhere."""
    made = weighting(constraint=constraint, lr=lr)
    values, momentum = made.start(torch.float64), torch.zeros(8, dtype=torch.float64)
    for _ in range(20):
        found = 2 * made.weights(values) * double(*[1 + 0.01 * j for j in range(8)])
        values, momentum = made.update(values, momentum, made.gradient(values, found))
    return made.diagnostics(values)


def test_plain_descent_collapses_and_says_so_and_mean1_does_not():
    told = mismatched("none", 0.2)["warning"]
    assert "collapsed" in told and "distill.importance.lr (0.2)" in told and "mean1" in told
    assert "warning" not in mismatched("none", 0.001)
    assert "warning" not in mismatched("mean1", 0.2)


def test_few_weights_that_carry_all_are_a_collapse_under_any_constraint():
    made = Importance(ImportanceSettings(enabled=True), torch.arange(400), torch.ones(400, dtype=torch.bool))
    values = torch.zeros(400)
    values[0] = 400.0
    assert "0.25 % of the parameters" in made.warning(values)
    values[:8] = 50.0
    assert made.warning(values) is None
