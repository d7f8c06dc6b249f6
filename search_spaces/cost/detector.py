"""Closed-form cost of a detector by part: FLOPs and parameters of one candidate or a million.

The functions below follow the modules of `search_spaces/network`; `search_spaces.cost.layers`
has the costs of single layers under each counting convention.

A candidate is an `Architecture`, or any object with the same attributes whose numbers may
be numpy integer arrays of shapes that broadcast: `backbone.stem_widths`, `.depths`, `.widths`,
`neck.width`, `head.convs`, `.width`. The kinds (`backbone.block`, `head.norm`, `.depthwise`,
`.shared`, `.keypoints`, `.level_scales`) are scalars. Arrays are computed in int64.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import BLOCKS, BOTTLENECK_EXPANSION
from search_spaces.cost.layers import FVCORE, PARAMETERS, PUBLISHED, Cells, Convention, Number
from search_spaces.errors import ConfigError

STAGES = ("c2", "c3", "c4", "c5")
PARTS = ("stem", *STAGES, "neck", "head")
PUBLISHED_PARTS = ("stem", "pool", *STAGES, "neck", "head")
ANCHORS = 2  # per cell
IMAGE_CHANNELS = 3
STAGE_STRIDES = (4, 8, 16, 32)

Cost = dict[str, Any]


def flops_by_part(candidate: Any, height: int = 480, width: int = 640) -> Cost:
    """Return the multiply-adds of each of `PARTS` for one image, equal to fvcore's count.

    Ints for plain numbers, int64 arrays for arrays; a part that no array touches stays an int.

    Raises:
        ConfigError: the image size is not positive or the kind of block is unknown.
    """
    cost = cost_by_part(candidate, FVCORE, height, width)
    return {part: cost[part] for part in PARTS}


def params_by_part(candidate: Any) -> Cost:
    """Return the learned numbers in each of `PARTS` (see `flops_by_part` for types and errors)."""
    cost = cost_by_part(candidate, PARAMETERS)
    return {part: cost[part] for part in PARTS}


def mmcv_flops_by_part(candidate: Any, height: int = 480, width: int = 640) -> Cost:
    """Return the FLOPs of each of `PUBLISHED_PARTS` in the convention of the paper's tables.

    `pool` is the max-pool between stem and C2, which the reference keeps out of the stem's
    share; it is 0 in the mobile family.
    """
    return cost_by_part(candidate, PUBLISHED, height, width)


def total(parts: Cost) -> Any:
    """Return the sum over the parts: an int, or an array where any part is one."""
    return sum(parts.values())


def cost_by_part(
    candidate: Any, convention: Convention, height: int = 480, width: int = 640
) -> Cost:
    """Return the cost of each of `PUBLISHED_PARTS` under `convention`."""
    backbone = candidate.backbone
    if backbone.block not in BLOCKS:
        raise ConfigError(f"block must be one of {', '.join(BLOCKS)}, got {backbone.block!r}")
    cells = cells_by_stride(backbone.block, height, width)
    stem_widths, widths = as_numbers(backbone.stem_widths), as_numbers(backbone.widths)
    pool = 0 if backbone.block == "depthwise" else convention.pool * stem_widths[0] * cells[2]
    cost = {"stem": stem_cost(convention, backbone.block, stem_widths, cells), "pool": pool}
    inputs = stem_widths[-1]
    for index, depth in enumerate(as_numbers(backbone.depths)):
        stage = (inputs, widths[index], depth)
        cost[STAGES[index]] = stage_cost(convention, backbone.block, index, stage, cells)
        inputs = output_width(backbone.block, widths[index])
    neck_width = as_number(candidate.neck.width)
    outputs = [output_width(backbone.block, width) for width in widths]
    cost["neck"] = laterals_cost(convention, outputs[1:], neck_width, cells)
    cost["neck"] = cost["neck"] + fusion_cost(convention, neck_width, cells)
    cost["head"] = head_cost(convention, candidate.head, neck_width, cells)
    return cost


def cells_by_stride(block: str, height: int, width: int) -> dict[int, Cells]:
    """Return height x width of the feature maps at strides 2 to 32.

    Every halving rounds up, except the residual stem's max-pool, which drops an odd edge.

    Raises:
        ConfigError: height or width is not positive.
    """
    if height < 1 or width < 1:
        raise ConfigError(f"an image must have positive height and width, got {height} x {width}")
    cells = {}
    for stride in (2, *STAGE_STRIDES):
        drops_edge = stride == 4 and block != "depthwise"
        rounding = 0 if drops_edge else 1
        height, width = (height + rounding) // 2, (width + rounding) // 2
        cells[stride] = height * width
    return cells


def output_width(block: str, width: Number) -> Number:
    """Return the output channels of a stage of `width` channels."""
    return BOTTLENECK_EXPANSION * width if block == "bottleneck" else width


def stem_cost(
    convention: Convention, block: str, widths: Sequence[Number], cells: dict[int, Cells]
) -> Number:
    """Return the cost of the stem.

    Residual (one width): three 3x3 convs of w/2, w/2 and w channels, the first at stride 2.
    Depthwise (two widths): a 3x3 conv at stride 2 and a separable unit.
    """
    unit = convention.unit
    if block == "depthwise":
        first, second = widths
        conv = unit(3, IMAGE_CHANNELS, first, cells[2])
        return conv + convention.separable(first, second, cells[2])
    half = widths[0] // 2
    first_two = unit(3, IMAGE_CHANNELS, half, cells[2]) + unit(3, half, half, cells[2])
    return first_two + unit(3, half, widths[0], cells[2])


def stage_cost(
    convention: Convention,
    block: str,
    index: int,
    stage: tuple[Number, Number, Number],
    cells: dict[int, Cells],
) -> Number:
    """Return the cost of stage `index` (0 is C2), given (input channels, width, depth).

    The first block changes width and size, the others neither. C2 of a residual backbone
    keeps the size; its shortcut exists only if the width changes.
    """
    inputs, width, depth = stage
    stride = STAGE_STRIDES[index]
    keeps_size = index == 0 and block != "depthwise"
    before, here = cells[stride if keeps_size else stride // 2], cells[stride]
    outputs = output_width(block, width)
    first = _branch_cost(convention, block, inputs, width, (before, here))
    if block != "depthwise":
        shortcut = convention.shortcut(inputs, outputs, before, here)
        first = first + (shortcut if not keeps_size else (inputs != outputs) * shortcut)
    later = _branch_cost(convention, block, outputs, width, (here, here))
    return first + (depth - 1) * later


def _branch_cost(
    convention: Convention, block: str, inputs: Number, width: Number, cells: tuple[Cells, Cells]
) -> Number:
    """Return the cost of one block without its shortcut; `cells` of its input and its output."""
    before, after = cells
    if block == "depthwise":
        return convention.separable(inputs, width, after)
    if block == "basic":
        first = convention.unit(3, inputs, width, after)
        return first + convention.unit(3, width, width, after)
    reduced = convention.unit(1, inputs, width, before) + convention.unit(3, width, width, after)
    return reduced + convention.unit(1, width, BOTTLENECK_EXPANSION * width, after)


def laterals_cost(
    convention: Convention,
    inputs: Sequence[Number],
    neck_width: Number,
    cells: dict[int, Cells],
) -> Number:
    """Return the cost of the neck's 1x1 convs on C3, C4 and C5 of `inputs` channels."""
    levels = zip(inputs, STAGE_STRIDES[1:], strict=True)
    return sum(convention.conv(1, n, neck_width, cells[s], bias=True) for n, s in levels)


def fusion_cost(convention: Convention, width: Number, cells: dict[int, Cells]) -> Number:
    """Return the cost of the neck after its lateral convs.

    Two upsamplings, three output convs, and two downward and two output convs of the path
    back up; all convs are 3x3 with bias.
    """
    levels = [cells[stride] for stride in STAGE_STRIDES[1:]]
    convs = [convention.conv(3, width, width, c, bias=True) for c in levels + 2 * levels[1:]]
    return sum(convs) + convention.upsample * width * sum(levels[:2])


def head_cost(
    convention: Convention, head: Any, neck_width: Number, cells: dict[int, Cells]
) -> Number:
    """Return the cost of towers, predictions and level scales on strides 8, 16 and 32."""
    levels = [cells[stride] for stride in STAGE_STRIDES[1:]]
    width, convs = as_number(head.width), as_number(head.convs)
    outputs = [ANCHORS * n for n in (1, 4, 2 * head.keypoints)]

    def tower_conv(inputs: Number, cells: Cells) -> Number:
        if head.depthwise:
            return convention.separable(inputs, width, cells, head.norm)
        return convention.unit(3, inputs, width, cells, head.norm)

    cost: Number = len(levels) * head.level_scales * convention.level_scale
    for level in [sum(levels)] if head.shared else levels:
        cost = cost + tower_conv(neck_width, level) + (convs - 1) * tower_conv(width, level)
        cost = cost + sum(convention.conv(3, width, n, level, bias=True) for n in outputs)
    return cost


def as_numbers(values: Any) -> list[Number]:
    """Return every value as `as_number` does."""
    return [as_number(value) for value in values]


def as_number(value: Any) -> int | NDArray[np.int64]:
    """Return a number as an int, an array as int64, in which no valid network overflows."""
    if isinstance(value, np.ndarray):
        return value.astype(np.int64, copy=False)
    return int(value)
