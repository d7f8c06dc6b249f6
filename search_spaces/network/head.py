"""The head: towers, predictions and level scales.

Shapes: B images, H x W cells of a level, W_n the neck's width. Two anchors per cell (a = 0
small, 1 large); channel order of an anchor: score a; box 4 a + (left, top, right, bottom);
key points 10 a + 2 k + (x, y).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from search_spaces import architecture as spec
from search_spaces.network.layers import ConvUnit, SeparableUnit

ANCHORS = 2


class HeadOutputs(NamedTuple):
    """Raw predictions, one tensor per level (strides 8, 16, 32).

    Attributes:
        scores: logits, (B, 2, H, W).
        boxes: distances from the anchor's centre to left, top, right, bottom in units of
            the stride, level scale applied, (B, 8, H, W).
        keypoints: offsets from the anchor's centre in units of the stride, (B, 20, H, W);
            None for a head without key points.
    """

    scores: list[Tensor]
    boxes: list[Tensor]
    keypoints: list[Tensor] | None


class Head(nn.Module):
    """One tower and one set of predictions for all levels, or one of each per level."""

    def __init__(self, head: spec.Head, inputs: int) -> None:
        super().__init__()
        sets = range(1 if head.shared else spec.NUM_LEVELS)
        self.towers = nn.ModuleList(_tower(head, inputs) for _ in sets)
        self.scores = nn.ModuleList(_prediction(head, 1) for _ in sets)
        self.boxes = nn.ModuleList(_prediction(head, 4) for _ in sets)
        keypoint_sets = sets if head.keypoints else ()
        self.keypoints = nn.ModuleList(_prediction(head, 2 * head.keypoints) for _ in keypoint_sets)
        levels = spec.NUM_LEVELS if head.level_scales else 0
        self.level_scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in range(levels))

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Return the predictions for feature maps (B, W_n, H, W) of strides 8, 16, 32."""
        scores, boxes, keypoints = [], [], []
        for level, x in enumerate(features):
            own = level % len(self.towers)  # the shared set, or that of the level
            x = self.towers[own](x)
            scores.append(self.scores[own](x))
            boxes.append(self._scaled(self.boxes[own](x), level))
            if len(self.keypoints):
                keypoints.append(self.keypoints[own](x))
        return HeadOutputs(scores, boxes, keypoints or None)

    def _scaled(self, boxes: Tensor, level: int) -> Tensor:
        return boxes * self.level_scales[level] if len(self.level_scales) else boxes


def _tower(head: spec.Head, inputs: int) -> nn.Sequential:
    widths = [inputs] + [head.width] * (head.convs - 1)
    unit = SeparableUnit if head.depthwise else ConvUnit
    return nn.Sequential(*(unit(width, head.width, groups=head.groups) for width in widths))


def _prediction(head: spec.Head, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(head.width, ANCHORS * outputs, 3, padding=1)
