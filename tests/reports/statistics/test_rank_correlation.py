"""Kendall's tau-b by hand and against scipy, and its bootstrap interval."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from reports.statistics.rank_correlation import RankCorrelation, rank_correlation
from search_spaces.errors import ConfigError


def correlation(scores: list[float], values: list[float], seed: int = 0) -> RankCorrelation:
    return rank_correlation(scores, values, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("scores", "values", "tau"),
    [
        # Pairs 12, 13, 14, 23, 24, 34; only 23 is the other way round: (5 - 1) / 6.
        ([1, 2, 3, 4], [10, 30, 20, 40], 4 / 6),
        # Pair 12 is tied in the scores; the other 5 agree: 5 / sqrt(5 * 6).
        ([1, 1, 3, 4], [10, 20, 30, 40], 5 / np.sqrt(30)),
        ([1, 2, 3, 4, 5], [2, 4, 8, 16, 32], 1),
        ([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], -1),
    ],
)
def test_tau_by_hand(scores: list[float], values: list[float], tau: float) -> None:
    assert correlation(scores, values).tau == pytest.approx(tau)


@pytest.mark.parametrize("seed", range(5))
def test_tau_equals_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, 6 + 10 * seed, size=20).astype(float).tolist()
    values = random.integers(0, 8, size=20).astype(float).tolist()
    assert correlation(scores, values).tau == pytest.approx(kendalltau(scores, values)[0])


def test_the_interval_equals_percentiles_of_scipy_resamples() -> None:
    random = np.random.default_rng(3)
    scores = random.normal(size=15)
    values = scores + random.normal(size=15)
    draws = np.random.default_rng(1).integers(15, size=(400, 15))
    taus = [kendalltau(scores[drawn], values[drawn])[0] for drawn in draws]
    found = rank_correlation(
        scores.tolist(), values.tolist(), np.random.default_rng(1), resamples=400, level=0.8
    )
    assert [found.low, found.high] == pytest.approx(np.quantile(taus, [0.1, 0.9]).tolist())


def test_the_interval_of_three_candidates_includes_zero() -> None:
    # One resample in nine draws one candidate three times, which shows no order.
    found = correlation([1, 2, 3], [1, 2, 3])
    assert found.tau == pytest.approx(1)
    assert found.low == 0


@pytest.mark.parametrize(
    ("scores", "values"),
    [([], []), ([1.0, 2.0], [1.0, 2.0]), ([5.0] * 4, [1.0, 2.0, 3.0, 4.0])],
)
def test_no_tau_for_few_or_equal_candidates(scores: list[float], values: list[float]) -> None:
    found = correlation(scores, values)
    assert (found.tau, found.low, found.high) == (None, None, None)
    assert found.num == len(scores)


@pytest.mark.parametrize(
    ("scores", "values", "rule"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0], "equal lengths, got 3 and 2"),
        ([1.0, float("nan"), 3.0], [1.0, 2.0, 3.0], "scores must be a list of finite numbers"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, float("inf")], "values must be a list of finite numbers"),
    ],
)
def test_bad_numbers_are_refused(scores: list[float], values: list[float], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        correlation(scores, values)
