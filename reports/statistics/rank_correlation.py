"""Rank correlation of two scores of candidates: Kendall's tau-b with a bootstrap interval.

For candidates with scores x and values y, each of the n (n - 1) / 2 pairs either agrees
(sign(x_i - x_j) = sign(y_i - y_j)), disagrees, or is tied in x or y. Then

    tau_b = (agreeing - disagreeing) / sqrt(pairs not tied in x * pairs not tied in y)

(Kendall 1945; the definition of scipy.stats.kendalltau). Each resample of the percentile
bootstrap draws n candidates with replacement (Efron and Tibshirani 1993, chapter 13). A
candidate counts as often as it was drawn, and pairs of itself are ties, so all resamples are
products of the counts with the matrices of signs.

Shapes: N candidates, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.checks import require_integer, require_number
from search_spaces.errors import ConfigError

Floats = NDArray[np.float64]

LEAST_CANDIDATES = 3  # two have only the values -1 and 1
RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Kendall's tau-b and its interval.

    Attributes:
        num: number of candidates.
        tau: from -1 (reversed) through 0 (no relation) to 1 (same order); None for fewer than
            three candidates, or if all scores or all values are equal.
        low, high: ends of the percentile bootstrap interval; None if tau is None.
        level: confidence level of the interval, such as 0.95.
    """

    num: int
    tau: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = LEVEL


def rank_correlation(
    scores: Sequence[float],
    values: Sequence[float],
    generator: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> RankCorrelation:
    """Return Kendall's tau-b of `scores` and `values` with its bootstrap interval.

    Args:
        scores, values: finite numbers, one each per candidate.
        generator: source of the resamples.
        resamples: number of resamples, at least 1.
        level: confidence level of the interval, between 0 and 1.

    Raises:
        ConfigError: an argument breaks a rule.
    """
    x_N, y_N = _finite(scores, "scores"), _finite(values, "values")
    if len(x_N) != len(y_N):
        raise ConfigError(
            f"scores and values must have equal lengths, got {len(x_N)} and {len(y_N)}"
        )
    require_integer(resamples, "resamples", 1)
    require_number(level, "the interval's level", 0, 1)
    num = len(x_N)
    if num < LEAST_CANDIDATES:
        return RankCorrelation(num=num, level=level)
    signs = np.sign(x_N[:, None] - x_N), np.sign(y_N[:, None] - y_N)
    tau = float(_tau_b(*signs, np.ones((1, num)))[0])
    if np.isnan(tau):
        return RankCorrelation(num=num, level=level)
    # A resample of equal candidates has no order and counts as no relation.
    taus_R = np.nan_to_num(_tau_b(*signs, _counts(generator, resamples, num)), nan=0.0)
    low, high = np.quantile(taus_R, [(1 - level) / 2, (1 + level) / 2])
    return RankCorrelation(num=num, tau=tau, low=float(low), high=float(high), level=level)


def _finite(numbers: Sequence[float], what: str) -> Floats:
    array = np.asarray(numbers, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ConfigError(f"{what} must be a list of finite numbers, got {numbers!r}")
    return array


def _counts(generator: np.random.Generator, resamples: int, num: int) -> Floats:
    """Return how often each candidate is drawn in each resample, (R, N); rows add up to N."""
    drawn = generator.integers(num, size=(resamples, num))
    rows = np.arange(resamples)[:, None]
    flat = np.bincount((rows * num + drawn).ravel(), minlength=resamples * num)
    return flat.reshape(resamples, num).astype(np.float64)


def _tau_b(x_NN: Floats, y_NN: Floats, counts_RN: Floats) -> Floats:
    """Return tau-b of each resample from the signs of all differences, (R,); NaN if undefined."""

    def pairs(signs_NN: Floats) -> Floats:
        weighted: Floats = np.einsum("rn,rn->r", counts_RN @ signs_NN, counts_RN)
        return weighted

    untied = pairs(np.abs(x_NN)) * pairs(np.abs(y_NN))
    with np.errstate(invalid="ignore"):
        taus: Floats = pairs(x_NN * y_NN) / np.sqrt(untied)
    return taus
