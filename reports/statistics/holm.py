"""Correction of p-values for their number."""

import math
from collections.abc import Sequence

LEVEL = 0.05  # probability that any of the corrected tests finds a difference where none is


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values times the number of tests left, smallest first (Holm 1979), at most 1.

    The order is kept. NaN is no test: it stays, and does not count.
    """
    tests = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    corrected, least = list(p_values), 0.0
    for place, (p, index) in enumerate(tests):
        least = max(least, min(1.0, p * (len(tests) - place)))
        corrected[index] = least
    return corrected
