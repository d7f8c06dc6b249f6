"""Permutations and bounded integers."""

from collections import Counter

import numpy as np

from search_spaces.randomness import below, seeded_generator, shuffled


def test_shuffled_is_a_uniform_permutation_with_stable_prefix() -> None:
    assert sorted(shuffled(seeded_generator(0), 50)) == list(range(50))
    orders = Counter(tuple(shuffled(seeded_generator(seed), 3)) for seed in range(3000))
    assert len(orders) == 6
    assert all(abs(times - 500) < 4 * np.sqrt(500) for times in orders.values())
    huge = shuffled(seeded_generator(1), 10**15)
    again = shuffled(seeded_generator(1), 10**15)
    assert [next(huge) for _ in range(5)] == [next(again) for _ in range(9)][:5]


def test_below_reaches_every_value_and_no_other() -> None:
    generator = seeded_generator(0)
    assert {below(generator, 3) for _ in range(100)} == {0, 1, 2}
    assert below(generator, 1) == 0
