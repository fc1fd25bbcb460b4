"""From cells to rows: which lr a control gets, what ± means, and in which order the seeds come."""

import math
from typing import Any

import pytest

from padray.evaluation import table


def cell(seed: int, test: float = 0.5, lr: float = 0.1, validation: float = 0.5) -> dict[str, Any]:
    return {"seed": seed, "test": test, "lr": lr, "validation": validation}


def test_the_lr_is_the_best_by_its_mean_on_validation_not_on_test() -> None:
    cells = [
        cell(0, 0.9, 0.01, validation=0.30), cell(1, 0.9, 0.01, validation=0.40),
        cell(0, 0.1, 0.03, validation=0.10), cell(1, 0.1, 0.03, validation=0.65),  # one lucky network more than either
        cell(0, 0.5, 0.10, validation=0.34), cell(1, 0.5, 0.10, validation=0.34),
    ]  # fmt: skip
    assert table.best_lr(cells) == 0.03
    cells[3] = cell(1, 0.1, 0.03, validation=0.55)
    assert table.best_lr(cells) == 0.01  # the luckiest network is another's, the mean is this one's


@pytest.mark.parametrize("order", [(0.1, 0.01, 0.03), (0.03, 0.1, 0.01), (0.01, 0.03, 0.1)])
def test_of_equal_lrs_the_smallest_is_taken_whatever_their_order(order: tuple[float, ...]) -> None:
    assert table.best_lr([cell(0, lr=lr) for lr in order]) == 0.01


def test_the_spread_is_the_sample_standard_deviation() -> None:
    row = table.row("net", "distilled", [cell(0, 0.2), cell(1, 0.4), cell(2, 0.9)])
    mean = (0.2 + 0.4 + 0.9) / 3
    assert row["mean"] == pytest.approx(mean)
    assert row["std"] == pytest.approx(math.sqrt(sum((v - mean) ** 2 for v in (0.2, 0.4, 0.9)) / 2))
    assert row["n"] == 3


def test_one_network_has_no_spread() -> None:
    assert table.row("net", "distilled", [cell(0, 0.2)])["std"] == 0.0


def test_values_come_in_the_order_of_the_seeds() -> None:
    row = table.row("net", "random", [cell(10, 0.9), cell(2, 0.4), cell(0, 0.2)])
    assert row["values"] == [0.2, 0.4, 0.9] and (row["architecture"], row["source"]) == ("net", "random")


def test_a_row_reads_as_percent() -> None:
    assert table.percent(table.row("net", "distilled", [cell(0, 0.87), cell(1, 0.89)])) == "88.0 ± 1.4 (n=2)"
