"""Statistics of candidates that were trained with several seeds: means, intervals and ties.

The results of one network vary with the seed. Two or three seeds estimate this spread poorly
for one candidate, so it is pooled over all confirmed candidates (one standard deviation for
all, as in an analysis of variance) and used in t-intervals with the pooled degrees of freedom.

The seed of the search is one of the seeds. Candidates were selected by it, so a mean of n seeds
keeps 1/n of the selection bias, equally for all confirmed candidates.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """Statistics of a candidate that was trained with several seeds.

    Attributes:
        seeds: number of seeds.
        mean: mean of the hard APs.
        low, high: t-interval of the mean at `LEVEL`, cut at 0 and 1.
        tie: number of the group, from 1; the candidates of a group do not differ significantly
            from its best.
    """

    seeds: int
    mean: float
    low: float
    high: float
    tie: int


def confirmed(hards: Mapping[int, Sequence[float]], level: float = LEVEL) -> dict[int, Confirmed]:
    """Return the statistics of every candidate with at least two values, best mean first.

    The best mean starts group 1. The next candidates belong to it while a two-sided t-test at
    `level`, without correction for multiple tests, finds no difference from the best of the
    group; the first that differs starts the next group.

    Args:
        hards: hard APs by candidate, one per seed.
        level: confidence level of the intervals and of the tests.
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
    """Return the quantile of Student's t for a two-sided interval."""
    from scipy import stats  # lazy: doubles the start-up time of `status`, which rarely needs it

    return float(stats.t.ppf((1 + level) / 2, freedom))


def _pooled(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the standard deviation within the groups, and its degrees of freedom."""
    freedom = sum(len(values) - 1 for values in groups)
    squares = math.fsum(float(np.var(values)) * len(values) for values in groups)
    return (math.sqrt(squares / freedom), freedom) if freedom else (0.0, 1)
