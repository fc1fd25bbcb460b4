"""Pairs of (expert, start epoch): DATM's growing bound, rounds, and independence from anything that ran before."""

import pytest

from padray.methods.trajectory.settings import WindowSettings
from padray.methods.trajectory.windows import bound, pair


@pytest.mark.parametrize(("iteration", "expected"), [(0, 10), (99, 10), (100, 11), (950, 19), (1000, 20), (5000, 20)])
def test_the_bound_grows_by_one_every_interval(iteration, expected):
    assert bound(WindowSettings(min_start=0, start=10, max_start=20, interval=100), iteration) == expected


def test_without_an_interval_the_bound_is_there_from_the_start():
    assert bound(WindowSettings(start=10, max_start=20), 0) == 20


def test_starts_lie_in_the_window_and_reach_both_ends():
    window = WindowSettings(min_start=3, start=6, max_start=6)
    starts = {pair(window, 5, position, 0, seed=0).start for position in range(200)}
    assert starts == {3, 4, 5}


def test_every_expert_is_used_once_a_round_in_an_order_that_changes():
    window = WindowSettings(start=5, max_start=5)
    rounds = [[pair(window, 6, 6 * r + k, 0, seed=0).expert for k in range(6)] for r in range(4)]
    assert all(sorted(order) == list(range(6)) for order in rounds)
    assert len({tuple(order) for order in rounds}) > 1
