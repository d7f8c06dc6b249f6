"""Constraints on candidates, computed without rounding.

Tolerances are read as the decimals that the user wrote (0.1 is one tenth, not its nearest
double) and converted to windows of integer FLOPs.
"""

import math
from fractions import Fraction
from typing import Any

from search_spaces.architecture import Head
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError

NORM_GROUPS = (8, 16, 32, 64)

Window = tuple[int, int]


def exact(value: Any, label: str) -> Fraction:
    """Return the decimal number that `value` prints as. Raises ConfigError if it is no number."""
    is_number = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise ConfigError(f"{label} must be a finite number, got {value!r}")
    return Fraction(str(value))


def exact_tolerance(value: Any, label: str) -> Fraction:
    """Return a tolerance strictly between 0 and 1. Raises ConfigError otherwise."""
    tolerance = exact(value, label)
    if not 0 < tolerance < 1:
        raise ConfigError(f"{label} must be greater than 0 and less than 1, got {value!r}")
    return tolerance


def flops_window(target: int, tolerance: float) -> Window:
    """Return the least and greatest FLOPs f with (1 - tol) * target <= f <= (1 + tol) * target.

    Raises:
        ConfigError: the target is not a positive integer, or the tolerance not in (0, 1).
    """
    target = require_integer(target, "the FLOPs target", 1)
    share = exact_tolerance(tolerance, "the tolerance of the FLOPs target")
    return math.ceil((1 - share) * target), math.floor((1 + share) * target)


def stage_window(stem: int, template_stage: int, template_stem: int, tolerance: float) -> Window:
    """Return the least and greatest FLOPs of a stage of a network whose stem has `stem` FLOPs.

    With t the template's stage over its stem and c the candidate's, the reference
    (`search_tools/generate_configs_2.5g.py`) keeps (1 - tol) * c <= t <= (1 + tol) * c.
    """
    share = exact_tolerance(tolerance, "the ratio tolerance")
    wanted = Fraction(template_stage * stem, template_stem)
    return math.ceil(wanted / (1 + share)), math.floor(wanted / (1 - share))


def norm_groups(head: Head, neck_width: int, head_width: int) -> int:
    """Return the GroupNorm groups: the longest run of 8, 16, 32, 64 that divides the width.

    The first depthwise conv of a separable tower normalises the neck's channels, so there
    the groups divide the neck's width as well. A BatchNorm head has 0 groups.

    Raises:
        ConfigError: a width is not a multiple of 8.
    """
    if head.norm == "batch":
        return 0
    widths = (head_width, neck_width) if head.depthwise else (head_width,)
    groups = 0
    for option in NORM_GROUPS:
        if any(width % option for width in widths):
            break
        groups = option
    if not groups:
        raise ConfigError(f"GroupNorm needs widths that are multiples of 8, got {widths}")
    return groups


def relaxation(nearest: int, target: int, alternative: str) -> str:
    """Return advice for an error message where the nearest reachable FLOPs miss the target.

    The tolerance is rounded up to three decimals, so that it suffices; it must be below 1.
    """
    needed = math.ceil(Fraction(abs(nearest - target), target) * 1000) / 1000
    reachable = f"the nearest reachable is {in_giga(nearest)}"
    if needed >= 1:
        return f"{reachable}: change --flops, or {alternative}"
    return f"{reachable}: relax --tolerance to {needed:g}, or {alternative}, or change --flops"


def in_giga(flops: int) -> str:
    """Return FLOPs for an error message: `2.5G`, `0.503872G`."""
    return f"{flops / 1e9:.6g}G"
