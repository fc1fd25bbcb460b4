"""Which parameters are compared: the papers' indices, and masks chosen from where a student ended."""

import pytest
import torch

from padray.config import NetworkSettings
from padray.errors import WorkError
from padray.methods.trajectory.selection import (
    Selection,
    alike,
    cut_index,
    select,
    without_large_errors,
    without_small_errors,
)
from padray.methods.trajectory.settings import PruningSettings, SelectionSettings
from padray.networks import factory
from padray.networks.flat import Span, spans_of

SPANS = (Span("a", (2, 2), 0, 4), Span("b", (4,), 4, 8), Span("c", (2,), 8, 10))


def keeping(strategy: str, alpha: float, spans=SPANS, rule: str = "none", threshold: float = 0.1) -> Selection:
    settings = SelectionSettings(strategy=strategy, alpha=alpha)
    return select(settings, PruningSettings(rule=rule, threshold=threshold), spans, torch.device("cpu"))


@pytest.fixture(scope="module")
def paper() -> tuple[Span, ...]:
    """PAD's CIFAR-10 network."""
    return spans_of(factory.build(NetworkSettings(width=128, depth=3), (3, 32, 32), 10, 0))


@pytest.mark.parametrize(("alpha", "cut"), [(0.25, 80_002), (0.5, 160_005), (0.75, 240_007), (0.0, 0)])
def test_depth_cuts_at_the_papers_index(paper, alpha, cut):
    assert cut_index(alpha, 320_010) == cut
    mask = keeping("depth", alpha, paper).fixed
    assert int(mask.sum()) == 320_010 - cut
    assert not mask[:cut].any()


# The second convolution's bias is the first tensor behind a quarter, the third one's behind a half; the classifier's
# weights start at 93.6 %, its bias is the last tensor and is never left out.
@pytest.mark.parametrize(
    ("alpha", "first"),
    [(0.0, 0), (0.25, 151_296), (0.5, 299_136), (0.75, 299_136), (0.936, 320_000), (0.99999, 320_000)],
)
def test_layer_keeps_tensors_whole(paper, alpha, first):
    mask = keeping("layer", alpha, paper).fixed
    assert mask.nonzero()[0] == first
    assert mask[first:].all()
    assert first in {span.start for span in paper}


def test_deep_leaves_the_last_parameters_out(paper):
    mask = keeping("deep", 0.25, paper).fixed
    assert int(mask.sum()) == 320_010 - 80_002
    assert mask[: 320_010 - 80_002].all()


def test_loss_drops_the_smallest_errors_of_this_student_and_of_equal_ones_the_earlier():
    target = torch.zeros(10)
    end = torch.tensor([3.0, -1, 2, 1, 0, 1, -5, 4, 6, 7])
    found = keeping("loss", 0.35).mask(end, target)
    assert found.tolist() == [True, False, True, False, False, True, True, True, True, True]
    other = keeping("loss", 0.35).mask(end.flip(0), target)
    assert not torch.equal(found, other)
    assert without_small_errors(0.0, end, target).all()


def test_pruning_by_error_drops_the_largest_and_of_equal_ones_the_earlier():
    end = torch.tensor([3.0, -1, 2, -3, 0, 3])
    assert without_large_errors(0.4, end, torch.zeros(6)).tolist() == [False, True, True, False, True, True]


def test_pruning_by_ratio_drops_values_that_differ_in_size_or_sign():
    pairs = [
        (1.0, 0.5),
        (0.5, 1.0),
        (1.0, 0.4),
        (-1.0, -0.9),
        (1.0, -1.0),
        (-0.9, 0.9),
        (0.0, 0.0),
        (0.0, 1.0),
        (1.0, 0.0),
    ]
    end, target = torch.tensor(pairs).unbind(1)
    assert alike(0.5, end, target).tolist() == [True, True, False, True, False, False, True, False, False]


def test_pruning_joins_the_filter_and_both_can_leave_nothing():
    end = torch.arange(10.0)
    found = keeping("depth", 0.5, rule="abs_error_quantile", threshold=0.3).mask(end, torch.zeros(10))
    assert found.nonzero().flatten().tolist() == [5, 6]
    nothing = keeping("loss", 0.5, rule="abs_error_quantile", threshold=0.5)
    with pytest.raises(WorkError, match=r"distill\.pruning\.threshold \(0\.5\) or distill\.selection\.alpha \(0\.5\)"):
        nothing.mask(end, torch.zeros(10))
