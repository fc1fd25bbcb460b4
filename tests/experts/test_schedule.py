"""FIEX: the counts of the published schedule, and which samples they are."""

import pytest
import torch

from padray.config import ScheduleSettings
from padray.experts.schedule import kept_range, rank, samples_of_epoch

SCRIPT = ((41, 0.1), (61, 0.2))


@pytest.mark.parametrize(
    ("epoch", "count"),
    [(0, 3750), (1, 3812), (10, 4375), (20, 5000), (40, 5000), (41, 4500), (60, 4500), (61, 4000), (99, 4000)],
)
def test_counts_for_5000_a_class(epoch, count):
    settings = ScheduleSettings(initial_ratio=0.75, addition_end_epoch=20, easy_removal=SCRIPT)
    start, stop = kept_range(5000, epoch, settings)
    assert stop - start == count


@pytest.mark.parametrize(
    ("epoch", "count"), [(0, 375), (1, 378), (20, 437), (39, 496), (40, 500), (41, 450), (61, 400)]
)
def test_counts_for_500_a_class(epoch, count):
    settings = ScheduleSettings(initial_ratio=0.75, addition_end_epoch=40, easy_removal=SCRIPT)
    start, stop = kept_range(500, epoch, settings)
    assert stop - start == count


def test_the_papers_removal_is_one_stage():
    settings = ScheduleSettings(initial_ratio=0.75, addition_end_epoch=20, easy_removal=((41, 0.1),))
    assert kept_range(5000, 99, settings) == (500, 5000)


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


def test_products_that_binary_rounds_down_still_floor_to_the_exact_count():
    settings = ScheduleSettings(initial_ratio=0.7, addition_end_epoch=1000)
    assert kept_range(10, 0, settings) == (0, 7)
