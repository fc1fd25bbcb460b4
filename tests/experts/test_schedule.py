"""FIEX: the counts of the published schedule, and which samples they are."""

import math

import pytest
import torch

from padray.config import ScheduleSettings
from padray.experts.schedule import counts_of_epochs, kept_range, rank, samples_of_epoch

SCRIPT = ((41, 0.1), (61, 0.2))


def script(addition_end_epoch: int) -> ScheduleSettings:
    return ScheduleSettings(initial_ratio=0.75, addition_end_epoch=addition_end_epoch, easy_removal="script")


@pytest.mark.parametrize(
    ("epoch", "count"),
    [(0, 3750), (1, 3812), (10, 4375), (20, 5000), (40, 5000), (41, 4500), (60, 4500), (61, 4000), (99, 4000)],
)
def test_counts_for_5000_a_class(epoch, count):
    start, stop = kept_range(5000, epoch, script(20))
    assert stop - start == count == counts_of_epochs([5000], 100, script(20))[epoch, 0]


@pytest.mark.parametrize(
    ("epoch", "count"), [(0, 375), (1, 378), (20, 437), (39, 496), (40, 500), (41, 450), (60, 450), (61, 400)]
)
def test_counts_for_500_a_class(epoch, count):
    start, stop = kept_range(500, epoch, script(40))
    assert stop - start == count


def test_removals_have_names():
    assert script(20).easy_removal == SCRIPT
    paper = ScheduleSettings(initial_ratio=0.75, addition_end_epoch=20, easy_removal="paper")
    assert kept_range(5000, 40, paper) == (0, 5000)
    assert kept_range(5000, 41, paper) == kept_range(5000, 99, paper) == (500, 5000)


def test_easy_samples_come_first_and_easy_ones_leave():
    scores, labels = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.2, 0.4]), torch.tensor([0, 0, 0, 0, 1, 1])
    ranked = rank(scores, labels, 2)
    assert [ids.tolist() for ids in ranked] == [[1, 3, 2, 0], [4, 5]]
    settings = ScheduleSettings(initial_ratio=0.5, addition_end_epoch=2, easy_removal=((4, 0.5),))
    assert samples_of_epoch(ranked, 0, settings).tolist() == [1, 3, 4]
    assert samples_of_epoch(ranked, 3, settings).tolist() == [1, 3, 2, 0, 4, 5]
    assert samples_of_epoch(ranked, 4, settings).tolist() == [2, 0, 5]


def test_classes_use_their_own_size_and_keep_at_least_one():
    ranked = [torch.arange(7), torch.tensor([7])]
    settings = ScheduleSettings(initial_ratio=0.3, addition_end_epoch=5, easy_removal=((6, 0.9),))
    assert samples_of_epoch(ranked, 0, settings).tolist() == [0, 1, 7]
    assert samples_of_epoch(ranked, 9, settings).tolist() == [6, 7]


def test_without_a_schedule_everything_is_seen():
    assert kept_range(10, 0, ScheduleSettings()) == (0, 10)
    assert not ScheduleSettings().needs_scores
    assert ScheduleSettings(initial_ratio=0.5, addition_end_epoch=3).needs_scores
    assert ScheduleSettings(easy_removal=((5, 0.1),)).needs_scores
    assert ScheduleSettings(prune_hardest=0.1).needs_scores and ScheduleSettings(prune_easiest=0.1).needs_scores


def test_products_that_binary_rounds_down_still_floor_to_the_exact_count():
    settings = ScheduleSettings(initial_ratio=0.7, addition_end_epoch=1000)
    assert kept_range(10, 0, settings) == (0, 7)


# -- gradual removal


def test_gradual_removal_reaches_its_share_in_equal_steps():
    settings = ScheduleSettings(easy_removal=((40, 0.2),), removal_end_epoch=60)
    removed = [5000 - int(count) for count in counts_of_epochs([5000], 100, settings)[:, 0]]
    assert removed == [0] * 41 + [50 * step for step in range(1, 21)] + [1000] * 39


def test_gradual_removal_is_floored_in_each_class():
    settings = ScheduleSettings(easy_removal=((2, 0.5),), removal_end_epoch=5)
    found = counts_of_epochs([7, 40, 1], 7, settings)
    for epoch, row in enumerate(found.tolist()):
        share = 0.5 * min(max(epoch - 2, 0), 3) / 3
        assert row == [max(1, size - math.floor(share * size + 1e-9)) for size in (7, 40, 1)]
    assert kept_range(7, 6, settings) == (3, 7)  # the easiest are gone


# -- a fixed subset


@pytest.mark.parametrize(
    ("pruned", "kept"),
    [
        ({"prune_hardest": 0.3}, (0, 7)),
        ({"prune_easiest": 0.3}, (3, 10)),
        ({"prune_hardest": 0.25, "prune_easiest": 0.25}, (2, 8)),
        ({"prune_hardest": 0.999}, (0, 1)),
        ({"prune_easiest": 0.999}, (9, 10)),
    ],
)
def test_a_fixed_share_is_left_out_of_every_epoch(pruned, kept):
    settings = ScheduleSettings(**pruned)
    assert {kept_range(10, epoch, settings) for epoch in range(100)} == {kept}


def test_all_else_applies_to_what_pruning_leaves():
    settings = ScheduleSettings(
        initial_ratio=0.5, addition_end_epoch=4, easy_removal=((6, 0.25),), prune_hardest=0.1, prune_easiest=0.1
    )
    assert kept_range(100, 0, settings) == (10, 50)
    assert kept_range(100, 2, settings) == (10, 70)
    assert kept_range(100, 5, settings) == (10, 90)
    assert kept_range(100, 6, settings) == (30, 90)


def test_shares_that_add_up_to_nearly_all_leave_one_sample():
    settings = ScheduleSettings(prune_hardest=0.4999999999, prune_easiest=0.4999999999)  # each rounds to 1 of 2
    assert kept_range(2, 0, settings) == (1, 2)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_nothing_ever_empties_a_class(size):
    settings = ScheduleSettings(
        initial_ratio=0.01,
        addition_end_epoch=3,
        easy_removal=((4, 0.99),),
        removal_end_epoch=6,
        prune_hardest=0.4999999999,
        prune_easiest=0.4999999999,
    )
    for epoch in range(8):
        start, stop = kept_range(size, epoch, settings)
        assert 0 <= start < stop <= size


def test_counts_are_those_of_the_samples_that_are_seen():
    draw = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.zeros(13), torch.ones(29), torch.full((4,), 2)]).long()
    ranked = rank(torch.rand(46, generator=draw), labels, 3)
    settings = ScheduleSettings(
        initial_ratio=0.3, addition_end_epoch=3, easy_removal=((5, 0.4),), removal_end_epoch=8, prune_hardest=0.2
    )
    counts = counts_of_epochs([13, 29, 4], 10, settings)
    assert counts.shape == (10, 3)
    for epoch in range(10):
        ids = samples_of_epoch(ranked, epoch, settings)
        assert labels[ids].bincount(minlength=3).tolist() == counts[epoch].tolist()
        assert len(set(ids.tolist())) == len(ids)
