"""Populations of candidates beside each other: how they differ, and how sure that is."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from reports.charts import Chart
from reports.html import (
    Child,
    Markup,
    cell,
    column,
    number,
    number_column,
    page,
    table,
    tag,
)
from reports.plots import edf_chart
from reports.population import Interval, drawn_indices, quarter
from search_spaces.errors import ConfigError
from search_spaces.files import write_text

COMPARE_FILE = "compare.html"
_SEED = 0
_SUMMARY = ("population", "candidates", "best", "median", "worst")
_PAIRS = ("second - first", "median", "best of n", "n", "KS", "p")


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
        summary = [
            {"population": p.name, "candidates": len(p.hard), **_summary(p)}
            for p in self.populations
        ]
        return {"populations": summary, "differences": [asdict(d) for d in self.differences]}

    def tables(self) -> list[tuple[str, tuple[str, ...], list[list[str]]]]:
        """Title, columns and cells of the two tables."""
        summary = [
            [p.name, str(len(p.hard)), *(f"{value:.4f}" for value in _summary(p).values())]
            for p in self.populations
        ]
        pairs = [_pair_cells(difference) for difference in self.differences]
        return [
            ("Hard AP of the finished candidates", _SUMMARY, summary),
            ("Differences in hard AP (95 % bootstrap)", _PAIRS, pairs),
        ]


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


def write_comparison(comparison: Comparison, warned: Sequence[str], out: Path) -> Path:
    """Write `compare.html`, which needs nothing but itself, and its figure and numbers.

    Returns:
        The page.
    """
    chart = comparison_chart(comparison)
    chart.save(out)
    write_text(out / COMPARE_FILE, _page(comparison, warned, chart))
    return out / COMPARE_FILE


def comparison_chart(comparison: Comparison) -> Chart:
    """The error distributions of all populations."""
    return edf_chart({p.name: p.hard for p in comparison.populations}, name="compare")


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


def _summary(population: Population) -> dict[str, float]:
    hard = population.hard
    return {"best": max(hard), "median": float(np.median(hard)), "worst": min(hard)}


def _pair_cells(difference: Difference) -> list[str]:
    d = difference
    cells = [f"{d.second} - {d.first}", _interval(d.median), _interval(d.best)]
    return [*cells, str(d.draws), f"{d.ks:.3f}", f"{d.p:.3g}"]


def _interval(found: Interval) -> str:
    return f"{found.median:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


def _page(comparison: Comparison, warned: Sequence[str], chart: Chart) -> str:
    content: list[Child] = [tag("h1", "Searches compared")]
    content += [tag("p", f"Not comparable: {text}", class_="note") for text in warned]
    content.append(chart.html())
    for title, columns, rows in comparison.tables():
        content += [tag("h3", title), _table(columns, rows)]
    content.append(tag("p", _HOW_TO_READ, class_="soft"))
    return page("scrfd-nas: searches compared", *content)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    headings = [column(columns[0]), *map(number_column, columns[1:])]
    return table(headings, [_cells(row) for row in rows], class_="sortable")


def _cells(row: Sequence[str]) -> list[Markup]:
    return [cell(row[0]), *(number(text) for text in row[1:])]


_HOW_TO_READ = (
    "Median: difference of the medians of 10,000 resamplings of both populations. Best of n: "
    "difference of the best of n candidates drawn from each. An interval that includes 0 says "
    "that the searches may be equally good. KS: largest vertical distance of the two curves, and "
    "the p-value of so large a one if both searches were the same."
)
