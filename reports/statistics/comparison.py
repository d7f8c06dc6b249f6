"""Populations of candidates beside each other: how they differ, and how sure that is."""

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
    """Finished candidates of one stage of a search; hard APs as fractions of 1, at least one."""

    name: str
    hard: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.hard:
            raise ConfigError(f"{self.name}: has no finished candidate to compare")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The second population against the first; positive where the second is better.

    Attributes:
        first, second: their names.
        median: of hard AP, with the 95 % bootstrap interval of the difference.
        best: of the best of `draws` candidates, drawn with replacement from each: as many from
            both, so that a larger population has no advantage.
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
    """Populations and the differences of every two."""

    populations: tuple[Population, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        rows = [
            {"population": p.name, "candidates": len(p.hard), **summary(p)}
            for p in self.populations
        ]
        return {"populations": rows, "differences": [asdict(d) for d in self.differences]}


def compare_populations(populations: Sequence[Population]) -> Comparison:
    """Compare every two populations, the earlier as the first.

    Raises:
        ConfigError: there are fewer than two.
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
        warnings.simplefilter("ignore", RuntimeWarning)  # ties: it falls back to the asymptotic p
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
