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
from itertools import combinations
from typing import Any

import numpy as np

from reports.statistics.holm import LEVEL, holm


@dataclass(frozen=True, kw_only=True)
class Confirmed:
    """Statistics of a candidate that was trained with several seeds.

    Attributes:
        seeds: number of seeds.
        mean: mean of the hard APs.
        low, high: 95 % t-interval of the mean, cut at 0 and 1.
        tie: number of the group, from 1; the candidates of a group do not differ significantly
            from its best.
    """

    seeds: int
    mean: float
    low: float
    high: float
    tie: int


def confirmed(hards: Mapping[int, Sequence[float]]) -> dict[int, Confirmed]:
    """Return the statistics of every candidate with at least two values, best mean first.

    All pairs are compared by two-sided t-tests, corrected for their number (`holm`), because the
    best is chosen by the same values. The best mean starts group 1. The next candidates belong to
    it until one differs from the best of the group at 5 %; that one starts the next group.

    Args:
        hards: hard APs by candidate, one per seed.
    """
    several = {number: list(values) for number, values in hards.items() if len(values) > 1}
    if not several:
        return {}
    means = {number: math.fsum(values) / len(values) for number, values in several.items()}
    order = sorted(several, key=lambda number: (-means[number], number))
    spread, freedom = _pooled(several)
    pairs = list(combinations(order, 2))
    p_values = holm([_p_value(several[a], several[b], spread, freedom) for a, b in pairs])
    apart = {pair for pair, p in zip(pairs, p_values, strict=True) if p <= LEVEL}
    found: dict[int, Confirmed] = {}
    tie, best = 0, 0
    for number in order:
        if not tie or (best, number) in apart:
            tie, best = tie + 1, number
        half = _students_t(freedom) * spread / math.sqrt(len(several[number]))
        found[number] = Confirmed(
            seeds=len(several[number]),
            mean=means[number],
            low=max(0.0, means[number] - half),
            high=min(1.0, means[number] + half),
            tie=tie,
        )
    return found


def unconfirmed_rivals(hards: Mapping[int, Sequence[float]], best: int) -> list[int]:
    """Return the candidates with one seed that may be as good as `best`, which has several.

    Their value is not below the 95 % prediction interval of one more seed of `best`, by the spread
    of all candidates with several seeds.
    """
    several = {number: values for number, values in hards.items() if len(values) > 1}
    spread, freedom = _pooled(several)
    seeds = len(several[best])
    least = math.fsum(several[best]) / seeds
    least -= _students_t(freedom) * spread * math.sqrt(1 + 1 / seeds)
    return sorted(n for n, values in hards.items() if len(values) == 1 and values[0] >= least)


def _p_value(one: Sequence[float], two: Sequence[float], spread: float, freedom: int) -> float:
    """Return the two-sided p-value of equal means, with a common standard deviation."""
    difference = abs(float(np.mean(one) - np.mean(two)))
    scale = spread * math.hypot(1 / math.sqrt(len(one)), 1 / math.sqrt(len(two)))
    if scale == 0:
        return float(difference == 0)
    return float(2 * _distribution().sf(difference / scale, freedom))


def _students_t(freedom: int) -> float:
    """Return the quantile of Student's t for a two-sided 95 % interval."""
    return float(_distribution().ppf(1 - LEVEL / 2, freedom))


def _distribution() -> Any:
    from scipy import stats  # lazy: doubles the start-up time of `status`, which rarely needs it

    return stats.t


def _pooled(groups: Mapping[int, Sequence[float]]) -> tuple[float, int]:
    """Return the standard deviation within the groups, and its degrees of freedom."""
    freedom = sum(len(values) - 1 for values in groups.values())
    squares = math.fsum(float(np.var(values)) * len(values) for values in groups.values())
    return (math.sqrt(squares / freedom), freedom) if freedom else (0.0, 1)
