"""The closed-form cost of single parts, for arrays of widths and depths.

A candidate's FLOPs are a chain: every stage costs what its input width, width and depth
say, the neck's lateral convs add a term a stage, and the rest of neck and head depends on
neither. The spaces count and search along that chain; the formulas themselves stay in
`cost`, of which these functions ask one part at a time.
"""

from types import SimpleNamespace
from typing import Any

from search_spaces.architecture import NUM_STAGES, Head
from search_spaces.cost.detector import PARTS, flops_by_part

_ANY_HEAD = SimpleNamespace(
    convs=1, width=8, depthwise=False, norm="group", shared=True, keypoints=0, level_scales=True
)


def arrays_candidate(
    block: str,
    stem_widths: Any,
    depths: Any,
    widths: Any,
    neck_width: Any = 8,
    head: Any = _ANY_HEAD,
) -> SimpleNamespace:
    """A candidate for `cost` whose numbers may be arrays."""
    backbone = SimpleNamespace(block=block, stem_widths=stem_widths, depths=depths, widths=widths)
    return SimpleNamespace(backbone=backbone, neck=SimpleNamespace(width=neck_width), head=head)


def stem_flops(block: str, stem_widths: Any) -> Any:
    """FLOPs of the stem. `stem_widths`: one array, or two for `depthwise`."""
    candidate = arrays_candidate(block, stem_widths, [1] * NUM_STAGES, [8] * NUM_STAGES)
    return flops_by_part(candidate)["stem"]


def stage_flops(block: str, stage: int, inputs: Any, width: Any, depth: Any) -> Any:
    """FLOPs of a stage (0 is C2), given the width of the stage (or stem) before it."""
    stem_widths: list[Any] = [8, 8] if block == "depthwise" else [8]
    widths: list[Any] = [8] * NUM_STAGES
    depths: list[Any] = [1] * NUM_STAGES
    if stage == 0:
        stem_widths[-1] = inputs
    else:
        widths[stage - 1] = inputs
    widths[stage], depths[stage] = width, depth
    return flops_by_part(arrays_candidate(block, stem_widths, depths, widths))[PARTS[1 + stage]]


def lateral_flops(block: str, stage: int, width: Any) -> Any:
    """FLOPs of a stage's lateral conv for every channel of the neck (0 for C2)."""
    if stage == 0:
        return width * 0
    widths: list[Any] = [0] * NUM_STAGES
    without = _neck_flops(block, widths)
    widths[stage] = width
    return _neck_flops(block, widths) - without


def neck_head_flops(block: str, head: Head, neck_width: Any, head_width: Any, convs: Any) -> Any:
    """FLOPs of neck and head but for the lateral convs; the head's kind is `head`'s."""
    numbers = SimpleNamespace(
        convs=convs,
        width=head_width,
        depthwise=head.depthwise,
        norm=head.norm,
        shared=head.shared,
        keypoints=head.keypoints,
        level_scales=head.level_scales,
    )
    stem_widths = [8, 8] if block == "depthwise" else [8]
    depths, widths = [1] * NUM_STAGES, [0] * NUM_STAGES
    parts = flops_by_part(arrays_candidate(block, stem_widths, depths, widths, neck_width, numbers))
    return parts["neck"] + parts["head"]


def _neck_flops(block: str, widths: list[Any]) -> Any:
    stem_widths = [8, 8] if block == "depthwise" else [8]
    candidate = arrays_candidate(block, stem_widths, [1] * NUM_STAGES, widths, neck_width=1)
    return flops_by_part(candidate)["neck"]
