"""The matching loss, its masks and its weights against closed forms."""

import pytest
import torch

from padray.errors import WorkError
from padray.matching import importance
from padray.matching.objective import Metric, match
from padray.matching.selection import SELECTIONS, cut_index
from padray.networks.flat import Span

SPANS = (Span("a", (2,), 0, 2), Span("b", (2,), 2, 4))
START, TARGET, END = (torch.tensor(v, dtype=torch.float64) for v in ([0, 0, 0, 0], [1, 2, 3, 4], [1, 1, 1, 2]))


def everything(size: int = 4) -> torch.Tensor:
    return torch.ones(size, dtype=torch.bool)


def test_loss_is_the_squared_distance_relative_to_the_experts_own():
    found = match(END, START, TARGET, Metric(everything(), None, SPANS))
    assert found.loss == pytest.approx((0 + 1 + 4 + 4) / (1 + 4 + 9 + 16))
    assert found.layers.tolist() == pytest.approx([1 / 5, 8 / 25])
    assert torch.allclose(found.end, 2 * (END - TARGET) / 30)


def test_fiem_masks_numerator_and_denominator():
    found = match(END, START, TARGET, Metric(SELECTIONS["depth"](4, 0.5), None, SPANS))
    assert found.loss == pytest.approx(8 / 25)
    assert found.end[:2].tolist() == [0, 0]


def test_iadd_weights_the_numerator_alone():
    weights = torch.tensor([2.0, 1, 1, 0], dtype=torch.float64)
    found = match(END, START, TARGET, Metric(everything(), weights, SPANS))
    assert found.loss == pytest.approx((0 + 1 + 4) / 30)
    assert torch.allclose(found.weights, 2 * weights * (END - TARGET) ** 2 / 30)


@pytest.mark.parametrize(("ratio", "cut"), [(0.25, 80_002), (0.5, 160_005), (0.75, 240_007), (0.0, 0)])
def test_depth_cuts_at_the_papers_index(ratio, cut):
    size = 320_010
    assert cut_index(ratio, size) == cut
    mask = SELECTIONS["depth"](size, ratio)
    assert int(mask.sum()) == size - cut
    assert not mask[:cut].any()


def test_an_expert_that_stood_still_is_named():
    with pytest.raises(WorkError, match=r"experts\.lr"):
        match(END, TARGET, TARGET, Metric(everything(), None, SPANS))


def test_weights_shrink_most_where_the_mismatch_is_largest_and_keep_their_mean():
    weights, gradient = torch.ones(3), torch.tensor([0.0, 0.1, 0.4])
    stepped = importance.update(weights, gradient, 1.0, everything(3))
    assert stepped.mean() == pytest.approx(1.0)
    assert stepped[0] > stepped[1] > stepped[2] > 0


def test_weights_that_fiem_leaves_out_stay_and_do_not_let_the_others_collapse():
    weights, mask = torch.ones(4), SELECTIONS["depth"](4, 0.5)
    for _ in range(500):
        weights = importance.update(weights, weights * torch.tensor([0, 0, 0.1, 0.3]), 0.1, mask)
    assert weights[:2].tolist() == [1, 1]
    assert weights[mask].mean() == pytest.approx(1.0)


def test_effective_fraction_shows_collapse():
    assert importance.effective_fraction(torch.full((8,), 3.0)) == pytest.approx(1.0)
    assert importance.effective_fraction(torch.tensor([1.0, 0, 0, 0])) == pytest.approx(0.25)
    assert importance.diagnostics(torch.tensor([0.5, 1.0, 1.5]))["weight_median"] == 1.0
