"""The fixed neck and head of stage 1 for any budget.

At the budget of a published baseline (within 5 %) they are those of the baseline. Elsewhere
neck width and head width are interpolated between the two nearest baselines of the family,
linearly in logarithms, and extrapolated beyond the last one; then rounded to a multiple of 8
and kept within 8-128 and 8-256, the ranges of stage 2. All else is that of the nearest
baseline, except the GroupNorm groups, which follow the rule of stage 2.
"""

import math
from dataclasses import replace

from search_spaces.architecture import Head, Neck
from search_spaces.checks import require_integer
from search_spaces.cost.constraints import norm_groups
from search_spaces.errors import ConfigError
from search_spaces.spaces.backbone_ranges import FAMILIES
from search_spaces.spaces.ranges import WIDTH_STEP
from search_spaces.zoo import load_zoo

BASELINES = {
    "mobile": {500_000_000: "mobilenet_0.5g", 1_000_000_000: "mobilenet_1g"},
    "resnet": {
        2_500_000_000: "resnet_2.5g",
        10_000_000_000: "resnet_10g",
        34_000_000_000: "resnet_34g",
    },
}
NEAR = 0.05
NECK_LIMITS = (8, 128)
HEAD_LIMITS = (8, 256)
LARGEST_MOBILE_BUDGET = 1_000_000_000


def family_for(space: str, flops: int) -> str:
    """Return the family of `space` (`auto`, `mobile` or `resnet`) at this budget.

    Raises:
        ConfigError: another name.
    """
    if space == "auto":
        return "mobile" if flops <= LARGEST_MOBILE_BUDGET else "resnet"
    if space not in FAMILIES:
        raise ConfigError(f"the space must be one of auto, {', '.join(FAMILIES)}, got {space!r}")
    return space


def neck_and_head(family: str, flops: int) -> tuple[Neck, Head]:
    """Return the neck and the head of stage 1 for a budget of `flops` (at 480x640).

    Raises:
        ConfigError: unknown family, or a budget that is not a positive integer.
    """
    flops = require_integer(flops, "the FLOPs budget", 1)
    baselines = {budget: load_zoo(name) for budget, name in BASELINES[family].items()}
    nearest = min(baselines, key=lambda budget: abs(math.log(budget / flops)))
    if abs(flops - nearest) <= NEAR * nearest:
        return baselines[nearest].neck, baselines[nearest].head
    low, high = _neighbours(sorted(baselines), flops)
    small, large = baselines[low], baselines[high]
    position = math.log(flops / low) / math.log(high / low)
    neck_width = _interpolated(small.neck.width, large.neck.width, position, NECK_LIMITS)
    head_width = _interpolated(small.head.width, large.head.width, position, HEAD_LIMITS)
    head = baselines[nearest].head
    groups = norm_groups(head, neck_width, head_width)
    return Neck(width=neck_width), replace(head, width=head_width, groups=groups)


def _neighbours(budgets: list[int], flops: int) -> tuple[int, int]:
    """Return the two budgets around `flops`, or the two nearest ones beyond the ends."""
    above = next((i for i, budget in enumerate(budgets) if budget >= flops), len(budgets) - 1)
    above = max(above, 1)
    return budgets[above - 1], budgets[above]


def _interpolated(small: int, large: int, position: float, limits: tuple[int, int]) -> int:
    width = float(small * (large / small) ** position)
    rounded = math.floor(width / WIDTH_STEP + 0.5) * WIDTH_STEP
    return min(max(rounded, limits[0]), limits[1])
