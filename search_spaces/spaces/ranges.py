"""Checks of the ranges that a user may set, shared by both search spaces."""

import math
from typing import Any

from search_spaces.checks import require_integer
from search_spaces.cost.constraints import exact
from search_spaces.errors import ConfigError

WIDTH_STEP = 8
MAX_RATIO = 16
RATIO_DENOMINATOR = 1000


def integer_range(value: Any, name: str, low: int, high: int) -> tuple[int, int]:
    """Return `value` as an ordered pair of integers in [low, high]. Raises ConfigError."""
    begin, end = _pair(value, name)
    begin, end = (require_integer(number, f"{name} range", low) for number in (begin, end))
    if not begin <= end <= high:
        rule = f"the {name} range must be low <= high <= {high}"
        raise ConfigError(f"{rule}, got low={begin}, high={end}")
    return begin, end


def ratio_range(value: Any, name: str) -> tuple[float, float]:
    """Return `value` as an ordered pair of ratios in (0, 16]. Raises ConfigError.

    Ratios have at most 3 decimals, so that draws and counts stay exact in integers.
    """
    begin, end = _pair(value, name)
    for number in (begin, end):
        if RATIO_DENOMINATOR % exact(number, f"{name} range").denominator:
            raise ConfigError(f"the {name} range has at most 3 decimals, got {number!r}")
    if not 0 < begin <= end <= MAX_RATIO:
        rule = f"the {name} range must be 0 < low <= high <= {MAX_RATIO}"
        raise ConfigError(f"{rule}, got low={begin}, high={end}")
    return float(begin), float(end)


def multiples(low: int, high: int) -> list[int]:
    """Return the multiples of 8 from `low` to `high`."""
    return list(range(math.ceil(low / WIDTH_STEP) * WIDTH_STEP, high + 1, WIDTH_STEP))


def _pair(value: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"the {name} range must be two numbers, got {value!r}")
    return value[0], value[1]
