"""What the spaces demand of a candidate, compared without rounding.

Tolerances are read as the decimals that the user typed (0.1 is one tenth, not its nearest
double), and turned once into windows of whole numbers of FLOPs.
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
    """The decimal number that `value` prints as. Raises ConfigError if it is not a number."""
    is_number = isinstance(value, int | float | Fraction) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        raise ConfigError(f"{label} must be a finite number, got {value!r}")
    return Fraction(str(value))


def exact_tolerance(value: Any, label: str) -> Fraction:
    """A tolerance strictly between 0 and 1. Raises ConfigError otherwise."""
    tolerance = exact(value, label)
    if not 0 < tolerance < 1:
        raise ConfigError(f"{label} must be greater than 0 and less than 1, got {value!r}")
    return tolerance


def flops_window(target: int, tolerance: float) -> Window:
    """The least and the greatest FLOPs f with (1 - tol) * target <= f <= (1 + tol) * target.

    Raises:
        ConfigError: the target is not a positive integer, or the tolerance not in (0, 1).
    """
    target = require_integer(target, "the FLOPs target", 1)
    share = exact_tolerance(tolerance, "the tolerance of the FLOPs target")
    return math.ceil((1 - share) * target), math.floor((1 + share) * target)


def stage_window(stem: int, template_stage: int, template_stem: int, tolerance: float) -> Window:
    """The FLOPs that a stage may have beside a stem of `stem` FLOPs.

    With t the template's stage relative to its stem and c the candidate's, the reference
    keeps (1 - tol) * c <= t <= (1 + tol) * c (REFERENCE facts, section 8).
    """
    share = exact_tolerance(tolerance, "the ratio tolerance")
    wanted = Fraction(template_stage * stem, template_stem)
    return math.ceil(wanted / (1 + share)), math.floor(wanted / (1 - share))


def norm_groups(head: Head, neck_width: int, head_width: int) -> int:
    """GroupNorm groups by rule: the longest run of 8, 16, 32, 64 that divides the width.

    The first depthwise conv of a separable tower normalises the neck's channels, so there
    the groups divide the neck's width as well. A BatchNorm head has 0.

    Raises:
        ConfigError: not even 8 divides.
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
    """What to do where the nearest reachable FLOPs miss the target, for an error message.

    The tolerance is rounded up to three decimals, so that it suffices; one of 1 is none.
    """
    needed = math.ceil(Fraction(abs(nearest - target), target) * 1000) / 1000
    reachable = f"the nearest reachable is {in_giga(nearest)}"
    if needed >= 1:
        return f"{reachable}: change --flops, or {alternative}"
    return f"{reachable}: relax --tolerance to {needed:g}, or {alternative}, or change --flops"


def in_giga(flops: int) -> str:
    """FLOPs for an error message: `2.5G`, `0.503872G`."""
    return f"{flops / 1e9:.6g}G"
