import numpy as np
import pytest

from reports.statistics.population import (
    Interval,
    best_indices,
    best_so_far,
    curve_noise,
    drawn_indices,
    edf,
    pareto_front,
    quarter,
    shows_noise,
)
from search_spaces.errors import ConfigError


def test_the_edf_is_the_share_of_values_up_to_each() -> None:
    points, shares = edf([0.5, 0.25, 0.5, 1.0])
    assert points.tolist() == [0.25, 0.5, 1.0]
    assert shares.tolist() == [0.25, 0.75, 1.0]
    assert [len(part) for part in edf([])] == [0, 0]


def test_a_draw_is_a_quarter_but_at_least_one() -> None:
    assert [quarter(count) for count in (1, 3, 4, 7, 64, 320)] == [1, 1, 1, 2, 16, 80]


def test_draws_are_uniform_and_follow_from_the_seed() -> None:
    drawn = drawn_indices(5, 3, seed=7, repeats=20_000)
    assert drawn.shape == (20_000, 3)
    shares = np.bincount(drawn.ravel(), minlength=5) / drawn.size
    np.testing.assert_allclose(shares, 0.2, atol=0.01)  # 6 standard deviations
    assert (drawn == drawn_indices(5, 3, seed=7, repeats=20_000)).all()
    assert (drawn != drawn_indices(5, 3, seed=8, repeats=20_000)).any()


def test_frequencies_of_the_best_equal_the_closed_form() -> None:
    """The k-th best of n wins m draws with probability ((n-k+1)/n)^m - ((n-k)/n)^m."""
    errors = [0.5, 0.1, 0.3, 0.2, 0.9, 0.8, 0.7, 0.6]  # n = 8, so m = 2
    winners = best_indices(errors)
    assert winners.shape == (10_000,)
    expected = [((8 - k) / 8) ** 2 - ((7 - k) / 8) ** 2 for k in range(8)]
    by_rank = np.argsort(errors)
    shares = np.bincount(winners, minlength=8)[by_rank] / 10_000
    np.testing.assert_allclose(shares, expected, atol=0.02)  # 4 standard deviations


def test_the_first_of_equal_errors_wins() -> None:
    assert set(best_indices([0.4]).tolist()) == {0}
    winners = best_indices([0.5] * 8)
    assert np.mean(winners == 0) == pytest.approx(1 - (7 / 8) ** 2, abs=0.02)
    assert np.mean(winners == 7) == pytest.approx((1 / 8) ** 2, abs=0.006)


def test_intervals_are_the_central_95_percent_of_some_values() -> None:
    found = Interval.of(np.arange(1001.0))
    assert (found.low, found.median, found.high) == pytest.approx((25.0, 500.0, 975.0))
    with pytest.raises(ConfigError, match="at least one candidate, got none"):
        best_indices([])
    with pytest.raises(ConfigError, match="at least one value"):
        Interval.of([])


def test_pareto_front() -> None:
    costs = [3, 1, 2, 2, 4, 1]
    values = [0.5, 0.2, 0.4, 0.3, 0.5, 0.1]
    # 1 is the cheapest and better than 5; 2 beats 3 at one cost; 0 beats 4 at one value
    assert pareto_front(costs, values) == [1, 2, 0]
    assert pareto_front([], []) == []
    assert pareto_front([1, 1], [0.5, 0.5]) == [0]


def test_best_so_far_includes_the_epochs_of_all_trials() -> None:
    epochs, best = best_so_far([4, 1, 4, 2, 4], [0.2, None, 0.1, 0.5, 0.4])
    assert epochs == [4, 11, 15]
    assert best == [0.2, 0.5, 0.5]  # the last point: what was spent without a gain
    assert best_so_far([3, 3], [None, None]) == ([], [])


def test_noise_is_estimated_from_the_last_three_points() -> None:
    assert curve_noise([[0.1, 0.2], []]) is None
    assert curve_noise([[0.9, 0.1, 0.2, 0.3]]) == pytest.approx(0, abs=1e-12)
    # second differences 0.06, 0.02 and 0: their median is 0.02
    curves = [[0.1, 0.2, 0.36], [0.3, 0.32, 0.32], [0.5, 0.5, 0.5]]
    assert curve_noise(curves) == pytest.approx(0.02 / 0.6745 / 6**0.5)


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        ([], False),
        ([1, 2], False),
        ([1, 2, 3], True),
        ([1, 2, 4], False),
        ([3, 6, 9], False),
        ([8, 78, 79, 80], True),
        ([72, 76, 80], True),
        ([70, 75, 80], False),
    ],
)
def test_noise_shows_in_three_points_close_together(epochs: list[int], expected: bool) -> None:
    assert shows_noise(epochs) is expected


def test_noise_of_normal_values_is_their_deviation() -> None:
    generator = np.random.default_rng(0)
    trends = np.linspace(0, 0.3, 3) * generator.uniform(0, 2, (4000, 1))
    curves = trends + generator.normal(0, 0.01, (4000, 3))
    assert curve_noise(curves.tolist()) == pytest.approx(0.01, rel=0.05)
