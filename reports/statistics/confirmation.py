"""What several seeds of the best candidates say: means, intervals, and who is tied with whom.

Trainings of one network differ from seed to seed. Two or three seeds say little about how
much, for one candidate; so the spread is pooled over all confirmed candidates (one standard
deviation for all, as in an analysis of variance), which a t-interval of so many degrees of
freedom then uses. A single candidate is left with its own.

The search's own seed is one of the seeds, and what it ranked high it may have ranked by luck:
a mean of n seeds keeps 1/n of that luck. It is the same for all that are compared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """What is known of a candidate that was trained with several seeds.

    Attributes:
        seeds: how many.
        mean: of the hard APs.
        low, high: t-interval of the mean at `LEVEL`, cut at 0 and 1.
        tie: number of its group, from 1: candidates of a group cannot be told from its best.
    """

    seeds: int
    mean: float
    low: float
    high: float
    tie: int


def confirmed(hards: Mapping[int, Sequence[float]], level: float = LEVEL) -> dict[int, Confirmed]:
    """Mean, interval and group of every candidate with at least two values, best mean first.

    The best mean begins group 1. Who follows belongs to the group while a two-sided t-test at
    `level`, without correction for several tests, finds no difference from the group's best;
    the first that differs begins the next group.

    Args:
        hards: hard APs by candidate, one a seed.
        level: of the intervals and of the tests.
    """
    several = {number: list(values) for number, values in hards.items() if len(values) > 1}
    means = {number: math.fsum(values) / len(values) for number, values in several.items()}
    order = sorted(several, key=lambda number: (-means[number], number))
    spread, freedom = _pooled(list(several.values()))
    reach = _students_t(level, freedom) * spread if several else 0.0
    found: dict[int, Confirmed] = {}
    tie, best = 0, 0
    for number in order:
        seeds = len(several[number])
        if not tie or means[best] - means[number] > reach * math.hypot(
            1 / math.sqrt(len(several[best])), 1 / math.sqrt(seeds)
        ):
            tie, best = tie + 1, number
        half = reach / math.sqrt(seeds)
        found[number] = Confirmed(
            seeds=seeds,
            mean=means[number],
            low=max(0.0, means[number] - half),
            high=min(1.0, means[number] + half),
            tie=tie,
        )
    return found


def _students_t(level: float, freedom: int) -> float:
    """The quantile that a two-sided interval of this level reaches to."""
    from scipy import stats  # here: `status` does without, and it takes as long as the rest

    return float(stats.t.ppf((1 + level) / 2, freedom))


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Standard deviation within the groups, and its degrees of freedom."""
    freedom = sum(len(values) - 1 for values in groups)
    squares = math.fsum(float(np.var(values)) * len(values) for values in groups)
    return (math.sqrt(squares / freedom), freedom) if freedom else (0.0, 1)
