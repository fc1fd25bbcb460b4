"""Difficulty in the report: correlations against scipy's, agreement on a planted truth, counts, and the page."""

import numpy as np
import pytest
from scipy import stats

from padray.config import ScheduleSettings, ScoreSettings
from padray.experts.scorers import SCORES
from padray.report import difficulty, difficulty_figures
from padray.report.difficulty import AgreementInfo, Difficulty, Table
from padray.report.style import DARK, LIGHT
from tests.report.test_page import subject, undrawn

METHODS = tuple(SCORES)
SCHEDULE = ScheduleSettings(initial_ratio=0.5, addition_end_epoch=4, easy_removal=((6, 0.2),), removal_end_epoch=8)


def tables(networks: int = 4, train: int = 30, validation: int = 40, seed: int = 0) -> list[Table]:
    """Validation samples have a chance in [0, 1] to be got wrong; `el2n` is that, `loss` its reverse."""
    rng = np.random.default_rng(seed)
    hard = np.linspace(0, 1, validation) ** 2
    found = []
    for _ in range(networks):
        table: Table = {
            "sample": list(range(train + validation)),
            "split": ["train"] * train + ["validation"] * validation,
            "label": [k % 2 for k in range(train + validation)],
            "correct": [True] * train + (rng.random(validation) >= hard).tolist(),
        }
        for method in METHODS:
            table[method] = rng.random(train + validation).tolist()
        table["el2n"][train:] = (hard + 0.01 * rng.random(validation)).tolist()
        table["loss"][train:] = (-hard + 0.01 * rng.random(validation)).tolist()
        found.append(table)
    return found


def made(found: list[Table], method: str = "el2n", schedule: ScheduleSettings = SCHEDULE) -> Difficulty:
    path = "r.npy" if method == "file" else None
    return Difficulty(ScoreSettings(method=method, path=path), schedule, found, [20, 10], 12)


def agreement(found: list[Table]) -> AgreementInfo:
    info = difficulty.agreement_info(made(found))
    assert info is not None
    return info


def test_correlation_is_scipys_also_with_ties() -> None:
    rng = np.random.default_rng(3)
    values = np.vstack([rng.random(50), rng.integers(0, 3, 50), rng.integers(0, 2, 50)]).astype(float)
    assert difficulty.correlation(values) == pytest.approx(stats.spearmanr(values.T).statistic, abs=1e-12)


def test_a_constant_correlates_with_nothing() -> None:
    found = difficulty.correlation(np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    assert found[0, 0] == pytest.approx(1) and np.isnan(found[1]).all()


def test_methods_are_compared_within_classes_on_the_mean_over_networks() -> None:
    found = tables(networks=3)
    values = agreement(found).correlations
    train = np.array([split == "train" for split in found[0]["split"]])
    labels = np.array(found[0]["label"])
    first, second = (np.mean([table[name] for table in found], axis=0) for name in ("entropy", "margin"))
    each = [stats.spearmanr(first[rows], second[rows]).statistic for rows in (train & (labels == k) for k in (0, 1))]
    place = METHODS.index("entropy"), METHODS.index("margin")
    assert values[place] == pytest.approx(np.mean(each)) == values[place[::-1]]
    assert np.diag(values) == pytest.approx(1)


def test_classes_weigh_by_their_size_and_those_without_an_order_say_nothing() -> None:
    scores = np.array([[1, 2, 3, 4, 1, 2, 7], [1, 2, 3, 4, 2, 1, 7]], dtype=float)
    found = difficulty._within_classes(scores, np.array([0, 0, 0, 0, 1, 1, 2]))
    assert found[0, 1] == pytest.approx((4 * 1 - 2 * 1) / 6)


def test_a_score_that_is_the_truth_agrees_and_its_reverse_disagrees() -> None:
    info = agreement(tables(networks=6, validation=200))
    assert info.agreement is not None
    told = dict(zip(METHODS, info.agreement, strict=True))
    assert told["el2n"] > 0.6 and told["loss"] == pytest.approx(-told["el2n"], abs=0.05)
    assert abs(told["random"]) < 0.15


def test_failing_is_counted_on_the_other_half_of_the_networks() -> None:
    found = tables(networks=2, validation=50)
    info = agreement(found)
    assert info.agreement is not None
    one, other = ({k: np.array(v)[30:] for k, v in table.items()} for table in found)
    expected = [
        stats.spearmanr(one["entropy"], ~other["correct"]).statistic,
        stats.spearmanr(other["entropy"], ~one["correct"]).statistic,
    ]
    assert info.agreement[METHODS.index("entropy")] == pytest.approx(np.mean(expected))
    assert info.failed == int((~one["correct"] | ~other["correct"]).sum()) and info.validation == 50


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (tables(networks=1), "it takes two scoring networks"),
        (tables(validation=0), "there is no validation split"),
        ([{**table, "correct": [True] * 70} for table in tables()], "got any validation sample wrong"),
    ],
)
def test_where_agreement_cannot_be_known_the_caption_says_why(found: list[Table], said: str) -> None:
    info = agreement(found)
    assert info.agreement is None and said in info.caption


def test_a_ranking_from_a_file_is_compared_with_nothing_but_its_schedule_is_shown() -> None:
    one = made([{"sample": [0], "split": ["train"], "label": [0], "file": [1.0]}], method="file")
    assert difficulty.agreement_info(one) is None
    assert "a ranking from a file" in difficulty.schedule_info(one).caption


def test_the_schedules_counts_are_told_where_it_turns() -> None:
    info = difficulty.schedule_info(made(tables()))
    assert info.counts.tolist() == [15, 18, 22, 25, 30, 30, 30, 27, 24, 24, 24, 24] and info.total == 30
    assert info.caption == (
        "Of 30 training samples, ranked within each class by EL2N over 4 networks: 15 in epoch 0, 30 in epoch 4, "
        "30 in epoch 6, 24 in epoch 8, 24 in epoch 11."
    )


def test_epochs_beyond_the_experts_are_not_told_of() -> None:
    late = ScheduleSettings(easy_removal=((100, 0.1),), prune_hardest=0.5)
    info = difficulty.schedule_info(made(tables(), schedule=late))
    assert info.turns == (0, 11) and set(info.counts) == {15.0}


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_drawings_are_png_and_the_same_bytes_again(theme) -> None:
    constant = [{**table, "entropy": [0.0] * 70} for table in tables()]
    infos = [agreement(tables()), agreement(tables(networks=1)), agreement(constant)]
    drawn = [lambda info=info: difficulty_figures.draw_agreement(info, theme) for info in infos]
    drawn.append(lambda: difficulty_figures.draw_schedule(difficulty.schedule_info(made(tables())), theme))
    for draw in drawn:
        content = draw()
        assert content.startswith(b"\x89PNG") and content == draw()


def test_the_page_tells_of_the_schedule_only_where_there_is_one() -> None:
    scheduled = subject(difficulty=made(tables()))
    html = undrawn(scheduled)
    assert "What the experts saw" in html and "15 in epoch 0" in html and "Spearman" in html
    plain = undrawn(subject())
    assert "What the experts saw" not in plain and "Spearman" not in plain


def test_a_method_that_some_tables_lack_is_not_compared() -> None:
    found = tables()
    del found[1]["grand"]  # stored before that method was known
    assert agreement(found).methods == tuple(method for method in METHODS if method != "grand")
