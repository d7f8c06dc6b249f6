"""Comparison of populations of candidates: differences with confidence intervals."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from reports.statistics.population import Interval, drawn_indices, quarter
from search_spaces.errors import ConfigError

_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Population:
    """Hard APs, as fractions of 1, of the finished candidates of one stage; at least one."""

    name: str
    hard: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.hard:
            raise ConfigError(f"{self.name} has no finished candidate to compare")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of a second population to a first; positive where the second is better.

    Attributes:
        first, second: names of the populations.
        median: difference of the median hard APs, with its 95 % bootstrap interval.
        best: difference of the best of `draws` candidates, drawn with replacement. Equally many
            are drawn from both, so that a larger population has no advantage.
        draws: a quarter of the smaller population.
        ks, p: Kolmogorov-Smirnov statistic of the two distributions and its p-value.
    """

    first: str
    second: str
    median: Interval
    best: Interval
    draws: int
    ks: float
    p: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Populations and the differences of all pairs."""

    populations: tuple[Population, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        rows = [
            {"population": p.name, "candidates": len(p.hard), **summary(p)}
            for p in self.populations
        ]
        return {"populations": rows, "differences": [asdict(d) for d in self.differences]}


def compare_populations(populations: Sequence[Population]) -> Comparison:
    """Compare all pairs of populations, in the given order.

    Raises:
        ConfigError: there are fewer than two populations.
    """
    if len(populations) < 2:
        found = ", ".join(p.name for p in populations) or "none"
        raise ConfigError(f"a comparison needs two stages with finished candidates, got {found}")
    pairs = combinations(populations, 2)
    differences = tuple(_difference(first, second) for first, second in pairs)
    return Comparison(populations=tuple(populations), differences=differences)


def _difference(first: Population, second: Population) -> Difference:
    one, two = np.array(first.hard), np.array(second.hard)
    draws = quarter(min(len(one), len(two)))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", RuntimeWarning
        )  # ties: falls back to the asymptotic p-value
        found = stats.ks_2samp(one, two)
    return Difference(
        first=first.name,
        second=second.name,
        median=Interval.of(_medians(two, _SEED + 1) - _medians(one, _SEED)),
        best=Interval.of(_bests(two, draws, _SEED + 1) - _bests(one, draws, _SEED)),
        draws=draws,
        ks=float(found.statistic),
        p=float(found.pvalue),
    )


def _medians(values: Any, seed: int) -> Any:
    return np.median(values[drawn_indices(len(values), len(values), seed)], axis=1)


def _bests(values: Any, draws: int, seed: int) -> Any:
    return values[drawn_indices(len(values), draws, seed)].max(axis=1)


def summary(population: Population) -> dict[str, float]:
    """Return best, median and worst hard AP."""
    hard = population.hard
    return {"best": max(hard), "median": float(np.median(hard)), "worst": min(hard)}
