"""The matching loss, its masks and its weights against closed forms."""

import pytest
import torch

from padray.errors import WorkError
from padray.methods.trajectory.objective import Metric, match
from padray.methods.trajectory.selection import Selection, select
from padray.methods.trajectory.settings import PruningSettings, SelectionSettings
from padray.networks.flat import Span

SPANS = (Span("a", (2,), 0, 2), Span("b", (2,), 2, 4))
START, TARGET, END = (torch.tensor(v, dtype=torch.float64) for v in ([0, 0, 0, 0], [1, 2, 3, 4], [1, 1, 1, 2]))


def keeping(strategy: str = "none", alpha: float = 0.0) -> Selection:
    settings = SelectionSettings(strategy=strategy, alpha=alpha)
    return select(settings, PruningSettings(), SPANS, torch.device("cpu"))


def test_loss_is_the_squared_distance_relative_to_the_experts_own():
    found = match(END, START, TARGET, Metric(keeping(), SPANS))
    assert found.loss == pytest.approx((0 + 1 + 4 + 4) / (1 + 4 + 9 + 16))
    relative, absolute = found.layers.tolist()
    assert relative == pytest.approx([1 / 5, 8 / 25]) and absolute == [1, 8]
    assert torch.allclose(found.grad_theta, 2 * (END - TARGET) / 30)


def test_fiem_masks_numerator_and_denominator():
    found = match(END, START, TARGET, Metric(keeping("depth", 0.5), SPANS))
    assert found.loss == pytest.approx(8 / 25)
    assert found.grad_theta[:2].tolist() == [0, 0]


def test_a_mask_that_is_chosen_from_the_errors_masks_both_too():
    found = match(END, START, TARGET, Metric(keeping("loss", 0.5), SPANS))
    assert found.loss == pytest.approx(8 / 25)  # errors 0 and 1 are left out
    assert found.layers[0].tolist() == pytest.approx([1 / 5, 8 / 25])


def test_iadd_weights_the_numerator_alone():
    weights = torch.tensor([2.0, 1, 1, 0], dtype=torch.float64)
    found = match(END, START, TARGET, Metric(keeping(), SPANS, weights))
    assert found.loss == pytest.approx((0 + 1 + 4) / 30)
    assert torch.allclose(found.grad_weights, 2 * weights * (END - TARGET) ** 2 / 30)


def test_a_weighted_denominator_makes_the_loss_blind_to_the_weights_scale():
    weights = torch.tensor([2.0, 1, 1, 0.5], dtype=torch.float64)
    once, thrice = (match(END, START, TARGET, Metric(keeping(), SPANS, k * weights, True)) for k in (1, 3))
    assert once.loss == pytest.approx((0 + 1 + 4 + 1) / (4 + 4 + 9 + 4))
    assert thrice.loss == pytest.approx(float(once.loss))
    assert float(once.grad_weights @ weights) == pytest.approx(0, abs=1e-15)


def test_an_expert_that_stood_still_is_named():
    with pytest.raises(WorkError, match=r"experts\.lr"):
        match(END, TARGET, TARGET, Metric(keeping(), SPANS))


def test_weights_that_are_all_zero_are_named():
    with pytest.raises(WorkError, match=r"distill\.importance\.lr"):
        match(END, START, TARGET, Metric(keeping(), SPANS, torch.zeros(4, dtype=torch.float64), True))
