"""Comparison of populations of candidates: differences with confidence intervals."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from reports.statistics.holm import holm
from reports.statistics.population import FEW, LEVEL, Interval, drawn_indices, quarter
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

    The intervals hold jointly for all pairs of a comparison (95 %, Bonferroni's correction). The
    last five are None where a population has fewer than `FEW` candidates.

    Attributes:
        first, second: names of the populations.
        gap: difference of the best hard APs.
        median: difference of the median hard APs, with its bootstrap interval.
        best: difference of the best of `draws` candidates, drawn with replacement. Equally many
            are drawn from both, so that a larger population has no advantage.
        draws: a quarter of the smaller population.
        ks, p: Kolmogorov-Smirnov statistic of the two distributions and its p-value, corrected
            for the number of pairs (`holm`).
    """

    first: str
    second: str
    gap: float
    median: Interval | None = None
    best: Interval | None = None
    draws: int | None = None
    ks: float | None = None
    p: float | None = None

    def __str__(self) -> str:
        best, median = self.best, self.median
        if best is None or median is None:
            order = "higher" if self.gap > 0 else "lower"
            return (
                f"The best of {self.second} is {abs(self.gap):.4f} {order} than that of "
                f"{self.first}; with fewer than {FEW} candidates chance cannot be ruled out."
            )
        ranges = (
            f"the best of {self.draws} drawn candidates differs by {best}, the median "
            f"candidate by {median}"
        )
        if best.low <= 0 <= best.high:
            return f"Neither {self.second} nor {self.first} is shown to be better: {ranges}."
        order = "better" if best.low > 0 else "worse"
        return f"{self.second} is {order} than {self.first}: {ranges}."


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
    pairs = list(combinations(populations, 2))
    tested = [min(len(first.hard), len(second.hard)) >= FEW for first, second in pairs]
    tests = [
        _ks(*pair) if is_tested else None for pair, is_tested in zip(pairs, tested, strict=True)
    ]
    corrected = iter(holm([test[1] for test in tests if test is not None]))
    level = 1 - (1 - LEVEL) / max(1, sum(tested))
    differences = []
    for (first, second), test in zip(pairs, tests, strict=True):
        names: Any = {"first": first.name, "second": second.name}
        names["gap"] = max(second.hard) - max(first.hard)
        if test is not None:
            names |= {**_intervals(first, second, level), "ks": test[0], "p": next(corrected)}
        differences.append(Difference(**names))
    return Comparison(populations=tuple(populations), differences=tuple(differences))


def summary(population: Population) -> dict[str, float]:
    """Return best, median and worst hard AP."""
    hard = population.hard
    return {"best": max(hard), "median": float(np.median(hard)), "worst": min(hard)}


def _intervals(first: Population, second: Population, level: float) -> dict[str, Any]:
    one, two = np.array(first.hard), np.array(second.hard)
    draws = quarter(min(len(one), len(two)))
    medians = _medians(two, _SEED + 1) - _medians(one, _SEED)
    bests = _bests(two, draws, _SEED + 1) - _bests(one, draws, _SEED)
    found = {"median": Interval.of(medians, level), "best": Interval.of(bests, level)}
    return {**found, "draws": draws}


def _ks(first: Population, second: Population) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # ties: falls back to asymptotic p-values
        found = stats.ks_2samp(first.hard, second.hard)
    return float(found.statistic), float(found.pvalue)


def _medians(values: Any, seed: int) -> Any:
    return np.median(values[drawn_indices(len(values), len(values), seed)], axis=1)


def _bests(values: Any, draws: int, seed: int) -> Any:
    return values[drawn_indices(len(values), draws, seed)].max(axis=1)
