import itertools

import numpy as np
import pytest
from scipy import stats

from lowdose.quality.statistics import FEWEST_CASES, Interval, bootstrap_interval, summarise


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_three_cases_against_all_27_resamples():
    cases = [1.0, 2.0, 6.0]
    means = [np.mean(draw) for draw in itertools.product(cases, repeat=3)]
    interval = bootstrap_interval(cases, rng(), level=0.8, n_resamples=50_000)
    low, high = np.quantile(means, (0.1, 0.9))
    assert interval.low == pytest.approx(low, abs=0.05)
    assert interval.high == pytest.approx(high, abs=0.05)


def test_it_agrees_with_scipy():
    cases = rng(5).normal(10, 3, 25)
    ours = bootstrap_interval(cases, rng(1), n_resamples=20_000)
    theirs = stats.bootstrap((cases,), np.mean, method="percentile", n_resamples=20_000, rng=rng(2))
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.05)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.05)


def test_it_covers_the_truth_about_as_often_as_it_says():
    generator = rng(7)
    hits = 0
    for _ in range(300):
        interval = bootstrap_interval(generator.normal(0, 1, 40), generator, level=0.9, n_resamples=400)
        hits += interval.low <= 0.0 <= interval.high
    assert 0.83 <= hits / 300 <= 0.95


def test_the_same_generator_gives_the_same_interval():
    assert bootstrap_interval([1, 2, 4, 8], rng(3)) == bootstrap_interval([1, 2, 4, 8], rng(3))


def test_equal_cases_have_no_spread():
    assert bootstrap_interval([2.5] * 4, rng()) == Interval(2.5, 2.5)


def test_another_statistic():
    interval = bootstrap_interval([0, 0, 0, 0, 100], rng(), statistic=lambda drawn: np.median(drawn, axis=-1))
    assert interval.low == 0.0


@pytest.mark.parametrize(
    ("values", "level", "sentence"),
    [
        ([1.0, 2.0], 0.95, "at least 3"),
        ([[1.0, 2.0, 3.0]], 0.95, "at least 3"),
        ([1.0, 2.0, np.nan], 0.95, "finite"),
        ([1.0, 2.0, 3.0], 1.0, "confidence level"),
    ],
)
def test_refusals(values, level, sentence):
    with pytest.raises(ValueError, match=sentence):
        bootstrap_interval(values, rng(), level=level)


def test_a_summary_has_an_interval_from_three_cases_on():
    few = summarise([1.0, 3.0], rng())
    assert (few.mean, few.n_cases, few.interval) == (2.0, 2, None)
    assert few.note == "2 cases: too few for an interval"
    assert summarise([1.0], rng()).note == "1 case: too few for an interval"
    enough = summarise([1.0, 3.0, 5.0], rng())
    assert enough.n_cases == FEWEST_CASES
    assert enough.interval is not None
    assert enough.interval.low < enough.mean < enough.interval.high
    assert enough.note == "3 cases, 95% bootstrap interval over cases"


def test_cases_without_a_number_are_left_out_and_not_counted():
    summary = summarise([1.0, np.nan, 3.0, np.inf], rng())
    assert (summary.mean, summary.n_cases, summary.interval) == (2.0, 2, None)
    assert np.isnan(summarise([np.nan], rng()).mean)
