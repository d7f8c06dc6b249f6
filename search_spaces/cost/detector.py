"""Closed-form cost of a candidate by part, written once for one candidate or a million.

The composition of the network (which layers, how many, at which size) is spelled out once,
in the functions `_stem` to `_head`, in the order of `search_spaces/network`. What a single
layer costs is asked of a `Counting` (see `search_spaces.cost.layers`): fvcore's multiply-adds,
the paper's convention, or parameters.

A candidate is an `Architecture`, or any object with the same attributes whose numbers may
be numpy integer arrays of one shape (or shapes that broadcast): `backbone.stem_widths`,
`.depths`, `.widths`, `neck.width`, `head.convs`, `.width`. The kinds (`backbone.block`,
`head.norm`, `.depthwise`, `.shared`, `.keypoints`, `.level_scales`) are scalars. Arrays are
computed in int64; plain ints give plain ints. Depth enters linearly.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import BOTTLENECK_EXPANSION
from search_spaces.cost.layers import FVCORE, PARAMETERS, PUBLISHED, Cells, Counting, Number
from search_spaces.errors import ConfigError

PARTS = ("stem", "c2", "c3", "c4", "c5", "neck", "head")
PUBLISHED_PARTS = ("stem", "pool", "c2", "c3", "c4", "c5", "neck", "head")
ANCHORS = 2  # a cell
IMAGE_CHANNELS = 3

Cost = dict[str, Any]


def flops_by_part(candidate: Any, height: int = 480, width: int = 640) -> Cost:
    """Multiply-adds (fvcore's total) of each of `PARTS` for one image of `height` x `width`.

    Ints for plain numbers, int64 arrays for arrays; a part that no array touches stays an int.

    Raises:
        ConfigError: the image size is not positive or the kind of block is unknown.
    """
    cost = cost_by_part(candidate, FVCORE, height, width)
    return {part: cost[part] for part in PARTS}


def params_by_part(candidate: Any) -> Cost:
    """Learned numbers in each of `PARTS` (see `flops_by_part` for types and errors)."""
    cost = cost_by_part(candidate, PARAMETERS)
    return {part: cost[part] for part in PARTS}


def mmcv_flops_by_part(candidate: Any, height: int = 480, width: int = 640) -> Cost:
    """FLOPs of each of `PUBLISHED_PARTS` in the convention of the paper's tables.

    `pool` is the max-pool between stem and C2, which the reference keeps out of the stem's
    share; it is 0 in the mobile family.
    """
    return cost_by_part(candidate, PUBLISHED, height, width)


def total(parts: Cost) -> Any:
    """Sum over the parts: an int, or an array where any part is one."""
    return sum(parts.values())


def cost_by_part(candidate: Any, counting: Counting, height: int = 480, width: int = 640) -> Cost:
    """The cost of each of `PUBLISHED_PARTS` under any `Counting`."""
    if height < 1 or width < 1:
        raise ConfigError(f"an image has positive height and width, got {height} x {width}")
    block = candidate.backbone.block
    if block not in ("basic", "bottleneck", "depthwise"):
        raise ConfigError(f"the cost of a backbone of {block!r} blocks is unknown")
    cells = _cells_by_stride(block, height, width)
    cost = _backbone(candidate.backbone, counting, cells)
    expansion = BOTTLENECK_EXPANSION if block == "bottleneck" else 1
    inputs = [expansion * width for width in _numbers(candidate.backbone.widths)[1:]]
    cost["neck"] = _neck(candidate.neck, counting, inputs, cells)
    cost["head"] = _head(candidate, counting, cells)
    return cost


def _cells_by_stride(block: str, height: int, width: int) -> dict[int, Cells]:
    """Height x width of the feature maps at strides 2 to 32.

    Every halving rounds up, but for the residual stem's max-pool, which drops an odd edge.
    """
    cells = {}
    for stride in (2, 4, 8, 16, 32):
        drops_edge = stride == 4 and block != "depthwise"
        rounding = 0 if drops_edge else 1
        height, width = (height + rounding) // 2, (width + rounding) // 2
        cells[stride] = height * width
    return cells


def _backbone(backbone: Any, counting: Counting, cells: dict[int, Cells]) -> Cost:
    """Stem, pool and the four stages."""
    separable = backbone.block == "depthwise"
    stem_widths = _numbers(backbone.stem_widths)
    stem = _mobile_stem if separable else _residual_stem
    cost = {"stem": stem(stem_widths, counting, cells[2]), "pool": 0}
    if not separable:
        cost["pool"] = counting.pool(stem_widths[0], cells[2])
    cost_of_stage = _STAGES[backbone.block]
    inputs = stem_widths[-1]
    cells_in = cells[2] if separable else cells[4]
    depths, widths = _numbers(backbone.depths), _numbers(backbone.widths)
    for part, stride, depth, width in zip(PARTS[1:5], (4, 8, 16, 32), depths, widths, strict=True):
        halves = separable or stride > 4
        cost[part], inputs = cost_of_stage(
            counting, inputs, width, depth, cells_in, cells[stride], halves
        )
        cells_in = cells[stride]
    return cost


def _residual_stem(stem_widths: list[Number], counting: Counting, cells: Cells) -> Number:
    """Three 3x3 convs (w/2, w/2, w), the first at stride 2."""
    half = stem_widths[0] // 2
    return (
        _unit(counting, 3, IMAGE_CHANNELS, half, cells)
        + _unit(counting, 3, half, half, cells)
        + _unit(counting, 3, half, stem_widths[0], cells)
    )


def _mobile_stem(stem_widths: list[Number], counting: Counting, cells: Cells) -> Number:
    """A 3x3 conv at stride 2 and a separable block at stride 1."""
    first, second = stem_widths
    conv = _unit(counting, 3, IMAGE_CHANNELS, first, cells)
    return conv + _separable(counting, first, second, cells)


def _basic_stage(
    counting: Counting,
    inputs: Number,
    width: Number,
    depth: Number,
    cells_in: Cells,
    cells: Cells,
    halves: bool,
) -> tuple[Number, Number]:
    """Cost of a stage of two-conv residual blocks, and its output width."""
    later = 2 * _unit(counting, 3, width, width, cells)
    first = _unit(counting, 3, inputs, width, cells) + _unit(counting, 3, width, width, cells)
    shortcut = _shortcut(counting, inputs, width, cells_in, cells, halves)
    return first + shortcut + (depth - 1) * later, width


def _bottleneck_stage(
    counting: Counting,
    inputs: Number,
    width: Number,
    depth: Number,
    cells_in: Cells,
    cells: Cells,
    halves: bool,
) -> tuple[Number, Number]:
    """Cost of a stage of 1x1, 3x3 (with the stride), 1x1 blocks, and its output width."""
    outputs = BOTTLENECK_EXPANSION * width
    tail = _unit(counting, 3, width, width, cells) + _unit(counting, 1, width, outputs, cells)
    first = _unit(counting, 1, inputs, width, cells_in) + tail
    later = _unit(counting, 1, outputs, width, cells) + tail
    shortcut = _shortcut(counting, inputs, outputs, cells_in, cells, halves)
    return first + shortcut + (depth - 1) * later, outputs


def _separable_stage(
    counting: Counting,
    inputs: Number,
    width: Number,
    depth: Number,
    cells_in: Cells,
    cells: Cells,
    halves: bool,
) -> tuple[Number, Number]:
    """Cost of a stage of depthwise blocks, and its output width."""
    first = _separable(counting, inputs, width, cells)
    return first + (depth - 1) * _separable(counting, width, width, cells), width


_STAGES = {
    "basic": _basic_stage,
    "bottleneck": _bottleneck_stage,
    "depthwise": _separable_stage,
}


def _shortcut(
    counting: Counting,
    inputs: Number,
    outputs: Number,
    cells_in: Cells,
    cells: Cells,
    halves: bool,
) -> Number:
    """Average-pool, 1x1 conv and BatchNorm, if width or size changes.

    The published figures count the pool where the stage does not halve as well (kernel 1).
    """
    conv = counting.conv(inputs * outputs, outputs, cells, bias=False)
    cost = counting.pool(inputs, cells_in) + conv + counting.batch_norm(outputs, cells)
    return cost if halves else (inputs != outputs) * cost


def _unit(counting: Counting, kernel: int, inputs: Number, outputs: Number, cells: Cells) -> Number:
    """Conv without bias, BatchNorm, ReLU."""
    conv = counting.conv(kernel * kernel * inputs * outputs, outputs, cells, bias=False)
    return conv + _norm_relu(counting, "batch", outputs, cells)


def _separable(
    counting: Counting, inputs: Number, outputs: Number, cells: Cells, norm: str = "batch"
) -> Number:
    """Depthwise 3x3 and pointwise 1x1, each with norm and ReLU."""
    depthwise = counting.conv(9 * inputs, inputs, cells, bias=False)
    pointwise = counting.conv(inputs * outputs, outputs, cells, bias=False)
    depthwise_norm = _norm_relu(counting, norm, inputs, cells)
    return depthwise + depthwise_norm + pointwise + _norm_relu(counting, norm, outputs, cells)


def _norm_relu(counting: Counting, norm: str, channels: Number, cells: Cells) -> Number:
    normalise = counting.batch_norm if norm == "batch" else counting.group_norm
    return normalise(channels, cells) + counting.relu(channels, cells)


def _neck(neck: Any, counting: Counting, inputs: list[Number], cells: dict[int, Cells]) -> Number:
    """Biased convs: laterals, outputs, downward path and its outputs; two upsamplings."""
    width = _number(neck.width)
    levels = [cells[8], cells[16], cells[32]]
    cost: Number = 0
    for channels, level in zip(inputs, levels, strict=True):
        cost = cost + counting.conv(channels * width, width, level, bias=True)
    convs_3x3 = levels + 2 * levels[1:]  # outputs; downward convs and outputs of the upper two
    for level in convs_3x3:
        cost = cost + counting.conv(9 * width * width, width, level, bias=True)
    for level in levels[:2]:
        cost = cost + counting.upsample(width, level)
    return cost


def _head(candidate: Any, counting: Counting, cells: dict[int, Cells]) -> Number:
    """Towers and predictions: one set for all strides, or one a stride."""
    head = candidate.head
    levels = [cells[8], cells[16], cells[32]]
    sets = [sum(levels)] if head.shared else levels
    neck_width, width, convs = (_number(n) for n in (candidate.neck.width, head.width, head.convs))
    predictions = ANCHORS * 1, ANCHORS * 4, ANCHORS * 2 * head.keypoints
    cost: Number = len(levels) * counting.scalar() if head.level_scales else 0
    for level in sets:
        cost = cost + _tower_conv(head, counting, neck_width, width, level)
        cost = cost + (convs - 1) * _tower_conv(head, counting, width, width, level)
        for outputs in predictions:
            cost = cost + counting.conv(9 * width * outputs, outputs, level, bias=True)
    return cost


def _tower_conv(
    head: Any, counting: Counting, inputs: Number, outputs: Number, cells: Cells
) -> Number:
    """One conv of a head's tower with its norm and ReLU."""
    if head.depthwise:
        return _separable(counting, inputs, outputs, cells, head.norm)
    conv = counting.conv(9 * inputs * outputs, outputs, cells, bias=False)
    return conv + _norm_relu(counting, head.norm, outputs, cells)


def _numbers(values: Any) -> list[Number]:
    return [_number(value) for value in values]


def _number(value: Any) -> int | NDArray[np.int64]:
    """An int as it is; arrays as int64, in which no sensible network overflows."""
    if isinstance(value, np.ndarray):
        return value.astype(np.int64, copy=False)
    return int(value)
