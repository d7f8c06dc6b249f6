"""Means, intervals and ties by hand: t(0.975, 4) = 2.7764, t(0.975, 1) = 12.7062."""

import math
import statistics

import numpy as np
import pytest

from reports.statistics.confirmation import confirmed


def test_an_interval_by_hand() -> None:
    # Within each, squares of 2 x 0.01^2: pooled variance 4 x 0.01^2 / 4, so 0.01; 4 degrees.
    found = confirmed({7: [0.30, 0.31, 0.32], 3: [0.21, 0.20, 0.19]})
    half = 2.7764451 * 0.01 / math.sqrt(3)
    assert list(found) == [7, 3]
    assert (found[7].seeds, found[7].mean) == (3, pytest.approx(0.31))
    assert (found[7].low, found[7].high) == pytest.approx((0.31 - half, 0.31 + half))
    assert [item.tie for item in found.values()] == [1, 2]


def test_the_interval_of_a_single_candidate() -> None:
    found = confirmed({1: [0.5, 0.52]})[1]
    half = 12.7062047 * statistics.stdev([0.5, 0.52]) / math.sqrt(2)
    assert (found.low, found.high) == pytest.approx((0.51 - half, 0.51 + half))


SPREAD = np.array([-0.01, 0.0, 0.01])


@pytest.mark.parametrize(
    ("hards", "ties"),
    [
        # As above, differences up to 2.7764 x 0.01 x sqrt(2/3) = 0.02267 are no difference.
        ([SPREAD + 0.50, SPREAD + 0.4774], [1, 1]),
        ([SPREAD + 0.50, SPREAD + 0.4773], [1, 2]),
        # Differences of 0.012, 0.024 and 0.036, with 8 degrees p = 0.18, 0.0187 and 0.0023; by Holm
        # 6 x 0.0023 is below 0.05, and 5 x 0.0187 is not.
        ([SPREAD + 0.5 - 0.012 * n for n in range(4)], [1, 1, 1, 2]),
        # Without any spread only equal values tie.
        ([[0.4, 0.4], [0.4, 0.4], [0.39, 0.39]], [1, 1, 2]),
    ],
)
def test_ties_by_hand(hards: list[list[float]], ties: list[int]) -> None:
    found = confirmed(dict(enumerate(hards)))
    assert [(number, item.tie) for number, item in found.items()] == list(enumerate(ties))


def test_intervals_are_cut_at_0_and_1_and_empty_without_spread() -> None:
    found = confirmed({1: [0.9, 1.0], 2: [0.0, 0.1]})
    assert found[1].high == 1.0
    assert found[2].low == 0.0
    same = confirmed({1: [0.4, 0.4], 2: [0.39, 0.39]})[1]
    assert same.low == same.high == 0.4


@pytest.mark.parametrize("hards", [{}, {1: [0.5]}, {1: []}])
def test_single_values_are_not_confirmed(hards: dict[int, list[float]]) -> None:
    assert confirmed(hards) == {}
