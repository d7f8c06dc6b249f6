"""FLOPs of single parts at 480x640, for arrays of widths and depths.

The FLOPs of a candidate are a chain: a stage costs what its input width, width and depth
determine, every stage adds a term to the neck's lateral convs, and the rest of neck and head
depends on neither. The spaces count and search along that chain.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from search_spaces.architecture import Head
from search_spaces.cost.detector import (
    STAGE_STRIDES,
    as_number,
    as_numbers,
    cells_by_stride,
    fusion_cost,
    head_cost,
    output_width,
    stage_cost,
    stem_cost,
)
from search_spaces.cost.layers import FVCORE

_HEIGHT, _WIDTH = 480, 640


def array_candidate(
    block: str, stem_widths: Any, depths: Any, widths: Any, neck_width: Any, head: Any
) -> SimpleNamespace:
    """Return a candidate for `search_spaces.cost.detector` whose numbers may be arrays."""
    backbone = SimpleNamespace(block=block, stem_widths=stem_widths, depths=depths, widths=widths)
    return SimpleNamespace(backbone=backbone, neck=SimpleNamespace(width=neck_width), head=head)


def stem_flops(block: str, widths: Sequence[Any]) -> Any:
    """Return the FLOPs of the stem. `widths`: one array, or two for `depthwise`."""
    return stem_cost(FVCORE, block, as_numbers(widths), _cells(block))


def stage_flops(block: str, stage: int, previous: Any, width: Any, depth: Any) -> Any:
    """Return the FLOPs of a stage (0 is C2), given the width of the stage (or stem) before it."""
    previous, width, depth = as_numbers([previous, width, depth])
    inputs = output_width(block, previous) if stage else previous
    return stage_cost(FVCORE, block, stage, (inputs, width, depth), _cells(block))


def lateral_flops(block: str, stage: int, width: Any) -> Any:
    """Return the FLOPs of a stage's lateral conv per channel of the neck (0 for C2)."""
    cells = _cells(block)[STAGE_STRIDES[stage]] if stage else 0
    return FVCORE.conv(1, output_width(block, as_number(width)), 1, cells)


def neck_head_flops(block: str, head: Head, neck_width: Any, head_width: Any, convs: Any) -> Any:
    """Return the FLOPs of neck and head except the lateral convs; the kind is that of `head`."""
    sized = SimpleNamespace(**{**vars(head), "width": head_width, "convs": convs})
    width, cells = as_number(neck_width), _cells(block)
    return fusion_cost(FVCORE, width, cells) + head_cost(FVCORE, sized, width, cells)


def _cells(block: str) -> dict[int, int]:
    return cells_by_stride(block, _HEIGHT, _WIDTH)
