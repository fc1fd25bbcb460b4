"""From cells to rows: which lr a control gets, what ± means, and in which order the seeds come."""

import math
from dataclasses import replace

import pytest

from padray.evaluation import summary
from padray.evaluation.summary import CellResult


def cell(seed: int, test: float = 0.5, lr: float = 0.1, validation: float = 0.5, **balanced: float) -> CellResult:
    """A cell's result; its balanced accuracies are the plain ones unless given."""
    also = balanced.get("validation_balanced", validation), test, balanced.get("test_balanced", test)
    return CellResult("random", "net", seed, lr, "validation", validation, *also, samples=10, epochs=3)


def test_the_lr_is_the_best_by_its_mean_on_validation_not_on_test() -> None:
    cells = [
        cell(0, 0.9, 0.01, validation=0.30),
        cell(1, 0.9, 0.01, validation=0.40),
        cell(0, 0.1, 0.03, validation=0.10),
        cell(1, 0.1, 0.03, validation=0.65),  # one lucky network more than either
        cell(0, 0.5, 0.10, validation=0.34),
        cell(1, 0.5, 0.10, validation=0.34),
    ]
    assert summary.best_lr(cells) == 0.03
    cells[3] = cell(1, 0.1, 0.03, validation=0.55)
    assert summary.best_lr(cells) == 0.01  # the luckiest network is another's, the mean is this one's


@pytest.mark.parametrize("order", [(0.1, 0.01, 0.03), (0.03, 0.1, 0.01), (0.01, 0.03, 0.1)])
def test_of_equal_lrs_the_smallest_is_taken_whatever_their_order(order: tuple[float, ...]) -> None:
    assert summary.best_lr([cell(0, lr=lr) for lr in order]) == 0.01


def test_the_spread_is_the_sample_standard_deviation() -> None:
    row = summary.row("net", "distilled", [cell(0, 0.2), cell(1, 0.4), cell(2, 0.9)])
    mean = (0.2 + 0.4 + 0.9) / 3
    assert row.mean == pytest.approx(mean)
    assert row.std == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in (0.2, 0.4, 0.9)) / 2))
    assert row.n == 3


def test_one_network_has_no_spread() -> None:
    assert summary.row("net", "distilled", [cell(0, 0.2)]).std == 0.0


def test_values_come_in_the_order_of_the_seeds() -> None:
    row = summary.row("net", "random", [cell(10, 0.9), cell(2, 0.4), cell(0, 0.2)])
    assert row.values == [0.2, 0.4, 0.9] and (row.architecture, row.source) == ("net", "random")


def test_a_row_reads_as_percent() -> None:
    assert summary.percent(summary.row("net", "distilled", [cell(0, 0.87), cell(1, 0.89)])) == "88.0 ± 1.4 (n=2)"


def wild(seed: int, **parts: float) -> CellResult:
    """A cell whose training diverged."""
    return replace(cell(seed, 0.0, validation=0.0, **parts), diverged=True)


def test_a_network_that_diverged_is_counted_and_the_others_have_a_mean_of_their_own() -> None:
    row = summary.row("net", "distilled", [cell(0, 0.667), cell(1, 0.675), wild(2), cell(3, 0.671), cell(4, 0.671)])
    assert (row.n, row.diverged, row.values[2]) == (5, 1, 0.0)
    assert row.mean == pytest.approx(0.8 * 0.671) and row.others_mean == pytest.approx(0.671)
    assert row.others_values == [0.667, 0.675, 0.671, 0.671] == row.balanced_others_values
    assert row.others_std == pytest.approx(math.sqrt(2 * 0.004**2 / 3))
    assert summary.percent(row) == "53.7 ± 30.0 (n=5, 1 diverged; the others 67.1 ± 0.3)"
    assert summary.percent(row, balanced=True) == "53.7 ± 30.0 (n=5, 1 diverged; the others 67.1 ± 0.3)"


def test_one_left_is_the_other_and_none_left_has_no_mean() -> None:
    half = summary.percent(summary.row("net", "x", [cell(0, 0.5), wild(1)]))
    assert half == "25.0 ± 35.4 (n=2, 1 diverged; the other 50.0)"
    row = summary.row("net", "x", [wild(0), wild(1)])
    assert row.others_mean is row.others_std is None and row.others_values == []
    assert summary.percent(row) == "0.0 ± 0.0 (n=2, all diverged)"


def test_where_none_diverged_the_others_are_all() -> None:
    row = summary.row("net", "distilled", [cell(0, 0.2), cell(1, 0.4)])
    assert row.diverged == 0 and row.others_mean == row.mean and row.others_std == row.std


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_an_lr_counts_the_network_that_diverged_with_it_as_the_worst(metric: str) -> None:
    good, bad = [cell(k, lr=0.01, validation=0.5) for k in range(2)], [cell(0, lr=0.1, validation=0.9), wild(1, lr=0.1)]
    assert summary.best_lr([*good, *bad], metric) == 0.01
    assert summary.best_lr([*bad, wild(0, lr=0.3)], metric) == 0.1


def test_the_metric_chooses_the_lr() -> None:
    cells = [
        cell(0, lr=0.01, validation=0.9, validation_balanced=0.3),
        cell(0, lr=0.03, validation=0.8, validation_balanced=0.6),
    ]
    assert summary.best_lr(cells) == 0.01 and summary.best_lr(cells, "balanced_accuracy") == 0.03


def test_a_row_holds_both_accuracies() -> None:
    row = summary.row("net", "random", [cell(1, 0.9, test_balanced=0.5), cell(0, 0.8, test_balanced=0.3)])
    assert (row.mean, row.balanced_mean) == (pytest.approx(0.85), pytest.approx(0.4))
    assert row.balanced_values == [0.3, 0.5] and row.balanced_std == pytest.approx(math.sqrt(0.02))
    assert summary.percent(row, balanced=True) == "40.0 ± 14.1 (n=2)"


def test_the_others_of_a_network_that_diverged_have_a_balanced_accuracy_of_their_own() -> None:
    row = summary.row("net", "random", [cell(0, 0.8, test_balanced=0.4), cell(1, 0.8, test_balanced=0.6), wild(2)])
    assert summary.percent(row, balanced=True) == "33.3 ± 30.6 (n=3, 1 diverged; the others 50.0 ± 14.1)"


def test_balanced_accuracy_is_shown_where_it_says_more() -> None:
    even, uneven = (summary.row("net", "random", [cell(0, 0.8, test_balanced=b)]) for b in (0.8, 0.7))
    assert not summary.shows_balanced([even]) and summary.shows_balanced([even, uneven])
    assert summary.shows_balanced([summary.row("net", "random", [cell(0, 0.8)], "balanced_accuracy")])


def test_hard_label_recovery_is_full_minus_hard_labels_network_by_network() -> None:
    means = {
        ("a", "full"): 0.9,
        ("b", "full"): 0.7,
        ("a", "hard_labels"): 0.6,
        ("b", "hard_labels"): 0.65,
        ("a", "distilled"): 0.8,
        ("c", "hard_labels"): 0.5,
    }
    rows = summary.with_recovery([summary.row(*key, [cell(0, value)]) for key, value in means.items()])
    found = {(row.architecture, row.source): row.hard_label_recovery for row in rows}
    assert found.pop(("a", "hard_labels")) == pytest.approx(0.3)
    assert found.pop(("b", "hard_labels")) == pytest.approx(0.05)
    assert set(found.values()) == {None}, "there is none without the full data, and none for other sources"
