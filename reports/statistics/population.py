"""Statistics of many candidates: error distributions, ranges of the best, Pareto fronts.

Errors are 1 - hard AP, as fractions of 1. All random draws come from a seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.errors import ConfigError
from search_spaces.randomness import raw_words, seeded_generator

BOOTSTRAPS = 10_000
FRACTION = 0.25  # of the population in each draw (arXiv 2003.13678)
LEVEL = 0.95
FEW = 8  # fewest candidates for ranges of shares
NEAR = 0.1  # of a training

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """The central interval, by default of 95 %, and the median of a distribution."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:+.4f} ({self.low:+.4f} to {self.high:+.4f})"

    @classmethod
    def of(cls, values: ArrayLike, level: float = LEVEL) -> "Interval":
        """Return the interval of the values. Raises ConfigError if there are none."""
        array = np.asarray(values, dtype=np.float64)
        if array.size == 0:
            raise ConfigError("an interval needs at least one value, got none")
        tail = 100 * (1 - level) / 2
        low, median, high = np.percentile(array, [tail, 50, 100 - tail])
        return cls(float(low), float(median), float(high))


def edf(values: ArrayLike) -> tuple[Floats, Floats]:
    """Return the empirical distribution: distinct values (K,), shares of values <= each (K,)."""
    array = np.asarray(values, dtype=np.float64)
    points, counts = np.unique(array, return_counts=True)
    return points, np.cumsum(counts) / max(len(array), 1)


def drawn_indices(count: int, draws: int, seed: int, repeats: int = BOOTSTRAPS) -> Ints:
    """Return `repeats` draws of `draws` out of `count` with replacement, (repeats, draws)."""
    if min(count, draws, repeats) < 1:
        raise ConfigError(
            f"count, draws and repeats must be at least 1, got {count, draws, repeats}"
        )
    words = raw_words(seeded_generator(seed), repeats * draws)
    return ((words * count) >> 32).reshape(repeats, draws)


def best_indices(errors: ArrayLike, seed: int = 0, repeats: int = BOOTSTRAPS) -> Ints:
    """Return the index of the least error in each draw of the empirical bootstrap, (repeats,).

    Each draw takes a quarter of the candidates (at least one) with replacement; among equal
    errors the first in order wins. `statistic[best_indices(errors)]` is the distribution of the
    statistic of the best candidate (Radosavovic et al., "Designing Network Design Spaces").

    Raises:
        ConfigError: `errors` is empty.
    """
    array = np.asarray(errors, dtype=np.float64)
    if len(array) == 0:
        raise ConfigError("the bootstrap needs at least one candidate, got none")
    places = np.argsort(np.argsort(array, kind="stable"), kind="stable")  # 0: the best
    drawn = drawn_indices(len(array), quarter(len(array)), seed, repeats)
    best: Ints = np.argsort(array, kind="stable")[places[drawn].min(axis=1)]
    return best


def quarter(count: int) -> int:
    """Return the size of a draw of the empirical bootstrap: 25 %, at least one."""
    return max(1, round(FRACTION * count))


def pareto_front(costs: ArrayLike, values: ArrayLike) -> list[int]:
    """Return the indices of the Pareto front of low cost and high value, cheapest first.

    Of equal entries only the first is included.
    """
    cost, value = np.asarray(costs, dtype=np.float64), np.asarray(values, dtype=np.float64)
    front: list[int] = []
    for index in np.lexsort((-value, cost)).tolist():
        if not front or value[index] > value[front[-1]]:
            front.append(index)
    return front


def best_so_far(
    epochs: Sequence[int], values: Sequence[float | None]
) -> tuple[list[int], list[float]]:
    """Return the epochs spent and the best value, after each trial that improves on it.

    Args:
        epochs: epochs of the trials in the order in which they ended.
        values: values of the trials; None for one without a value, whose epochs still count.

    Returns:
        Both ascending and of equal length; the last entry has all epochs.
    """
    spent = 0
    points: list[int] = []
    best: list[float] = []
    for used, value in zip(epochs, values, strict=True):
        spent += used
        if value is not None and (not best or value > best[-1]):
            points.append(spent)
            best.append(value)
    if best and points[-1] < spent:
        points.append(spent)
        best.append(best[-1])
    return points, best


def shows_noise(epochs: Sequence[int]) -> bool:
    """Return whether APs after these epochs, ascending, end in three points for `curve_noise`.

    The points must be successive epochs or lie within a tenth of the training: the training
    itself changes the AP between points that are farther apart.
    """
    return len(epochs) >= 3 and epochs[-1] - epochs[-3] <= max(2, NEAR * epochs[-1])


def curve_noise(curves: Sequence[Sequence[float]]) -> float | None:
    """Return the standard deviation of one evaluation, from the last three points of the curves.

    The second difference of three points has no linear trend and six times the variance of one
    point; the median of its absolute value over the curves, divided by that of a standard normal
    (0.6745), is robust. None without a curve of three points.
    """
    ends = [curve[-3:] for curve in curves if len(curve) >= 3]
    if not ends:
        return None
    second = np.abs(np.diff(np.array(ends, dtype=np.float64), n=2, axis=1))
    return float(np.median(second) / 0.6745 / np.sqrt(6))
