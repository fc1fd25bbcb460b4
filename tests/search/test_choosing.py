"""What a search ends with: the defaults, unless something is better beyond the noise of networks and of the split."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from padray.config import Config
from padray.report import choice as words
from padray.report.choice import Choice
from padray.search import decision
from padray.search.finals import FinalRecord
from padray.search.trials import TrialRecord
from padray.settings.space import SearchSettings


def judged(trial: int, credits_NM: np.ndarray) -> list[FinalRecord]:
    return [
        FinalRecord(trial, k, float(row.mean()), tuple(row.tolist()), False, "") for k, row in enumerate(credits_NM)
    ]


def finished(number: int, value: float) -> TrialRecord:
    return TrialRecord(number, {"distill.batch": 3 + number}, "finished", value, (value,) * 3, set_sha256=str(number))


def drawn(share: float, networks: int, samples: int, seed: int, hard: float = 2.0) -> np.ndarray:
    """Networks that are right on this share of samples, of which some are hard for all of them."""
    rng = np.random.default_rng(seed)
    of_sample_M = rng.beta(hard * share, hard * (1 - share), samples)
    return (rng.random((networks, samples)) < of_sample_M).astype(float)


def chosen(*credits: np.ndarray, values: tuple[float, ...] = ()) -> Choice:
    """The choice among trials that these networks judged; trial 0 are the defaults."""
    sides = {trial: judged(trial, side) for trial, side in enumerate(credits)}
    records = [finished(trial, (values or [side.mean() for side in credits])[trial]) for trial in sides]
    return decision.choose(Config(search=SearchSettings(final_seeds=3)), records, sides, credits[0].shape[1])


def interval(ours_NM: np.ndarray, theirs_NM: np.ndarray, count: int) -> tuple[float, float, float, float]:
    """Written again, without a matrix: two variances of a mean, their degrees of freedom, Bonferroni's quantile."""
    networks, samples = ours_NM.shape
    by_network = [statistics.fmean(ours_NM[k]) - statistics.fmean(theirs_NM[k]) for k in range(networks)]
    by_sample = [statistics.fmean(ours_NM[:, s] - theirs_NM[:, s]) for s in range(samples)]
    a, b = statistics.variance(by_network) / networks, statistics.variance(by_sample) / samples
    freedom = (a + b) ** 2 / (a**2 / (networks - 1) + b**2 / (samples - 1))
    wide = math.sqrt(a + b) * stats.t.isf(0.05 / count / 2, freedom)
    middle = statistics.fmean(by_network)
    return tuple(100 * x for x in (middle, math.sqrt(a + b), middle - wide, middle + wide))  # type: ignore[return-value]


@pytest.mark.parametrize("count", [1, 3])
def test_a_gain_is_its_mean_its_standard_error_and_its_interval(count: int) -> None:
    ours, theirs = drawn(0.8, 5, 40, 1), drawn(0.6, 5, 40, 2)
    gain = decision.gain_of(judged(1, ours), judged(0, theirs), count)
    assert [gain.points, gain.error, gain.low, gain.high] == pytest.approx(interval(ours, theirs, count), abs=1e-4)
    shuffled = judged(1, ours)[::-1]
    assert decision.gain_of(shuffled, judged(0, theirs), count) == gain, "network by network, in whatever order"


def test_equal_sets_have_no_difference_and_no_interval() -> None:
    same = drawn(0.7, 4, 30, 0)
    gain = decision.gain_of(judged(1, same), judged(0, same), 2)
    assert (gain.points, gain.error, gain.low, gain.high) == (0, 0, 0, 0)
    assert chosen(same, same).trial == 0


def test_what_is_better_beyond_noise_is_chosen_and_nothing_else() -> None:
    low, high = drawn(0.6, 10, 400, 1), drawn(0.8, 10, 400, 2)
    better, worse = chosen(low, low, high), chosen(high, low)
    assert better.trial == 2 and [one.trial for one in better.finalists] == [0, 2, 1], "the best first"
    assert worse.trial == 0 and worse.best is not None and worse.best.gain is not None and worse.best.gain.high < 0
    assert words.sentence(better).startswith("Trial 2 is ") and "better than the defaults" in words.sentence(better)
    assert words.sentence(worse).startswith("The defaults stay: the best other trial, 1, is ")


def test_a_few_samples_prove_nothing_however_many_networks_agree_on_them() -> None:
    few_0, few_1 = np.tile([1.0] * 6 + [0.0] * 4, (50, 1)), np.tile([1.0] * 8 + [0.0] * 2, (50, 1))
    small = chosen(few_0, few_1)
    assert small.trial == 0 and small.best is not None and small.best.gain is not None
    assert small.best.gain.points == 20 and small.best.gain.low < 0, "20 points on ten samples are two samples"
    many = chosen(np.tile(few_0, (1, 50)), np.tile(few_1, (1, 50)))
    assert many.trial == 1, "on 500 samples they are a hundred"
    assert words.sentence(small).startswith(
        "The defaults stay: no difference that 3 networks and 10 validation samples"
    )


def test_equal_settings_are_hardly_ever_taken_for_better() -> None:
    """In 5 % of searches at most, all finalists together; here the sets are equally good, and differ by chance."""
    rng, wrong, searches = np.random.default_rng(0), 0, 200
    for _ in range(searches):
        of_sample_M = rng.beta(1.4, 0.6, 100)
        sides = [rng.random((10, 100)) < np.clip(of_sample_M + rng.normal(0, 0.1, 100), 0, 1) for _ in range(4)]
        wrong += chosen(*(side.astype(float) for side in sides)).trial > 0
    assert wrong <= 0.05 * searches


def test_the_split_is_too_small_where_its_error_is_larger_than_the_spread_of_trials() -> None:
    def of(samples: int, *values: float) -> Choice:
        return chosen(*(np.ones((3, samples)),) * len(values), values=values)

    small, large = of(18, 0.8, 0.85, 0.75), of(1800, 0.8, 0.85, 0.75)
    assert small.split_error == pytest.approx(100 * math.sqrt(0.8 * 0.2 / 18), abs=1e-4)
    assert small.spread == pytest.approx(5.0) and small.too_small and not large.too_small
    assert "its 18 samples an accuracy has a standard error of 9.4 points" in words.warnings(small)[0]
    assert words.warnings(large) == [] and not of(18, 0.1, 0.9).too_small and not of(18, 0.5).too_small


def test_without_anything_to_compare_the_defaults_stay() -> None:
    alone = decision.choose(Config(), [finished(0, 0.5)], {}, 100)
    assert alone.trial == 0 and words.sentence(alone).startswith("The defaults stay: no other trial")


def test_defaults_that_came_to_nothing_are_replaced_by_the_best_that_did() -> None:
    broken = replace(finished(0, 0.9), state="failed", value=None, reason="the loss became nan")
    found = decision.choose(Config(), [broken, finished(1, 0.4), finished(2, 0.3)], {}, 100)
    assert found.trial == 1 and "The defaults came to no result (the loss became nan)" in words.sentence(found)
    sides = {trial: judged(trial, drawn(share, 4, 50, trial)) for trial, share in ((1, 0.3), (2, 0.8))}
    found = decision.choose(Config(), [broken, finished(1, 0.4), finished(2, 0.3)], sides, 50)
    assert found.trial == 2, "as the finals say"
