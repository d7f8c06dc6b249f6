"""Box geometry on torch tensors: areas, IoU, DIoU and distances to sides.

Boxes are `x1, y1, x2, y2` in continuous coordinates (width = x2 - x1, no +1), in any unit
as long as both operands share it. Shapes: N, G boxes; `...` any equal leading shape.
"""

import torch
from torch import Tensor

IOU_EPS = 1e-6
DIOU_EPS = 1e-6


def areas(boxes: Tensor) -> Tensor:
    """Return signed areas, (..., 4) -> (...), negative where exactly one side is inverted."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of boxes at the same position, (..., 4) -> (...).

    Shapes may be broadcast. The IoU of proper boxes is in [0, 1]; it is 0 where either box is
    empty or inverted.
    """
    overlap = _overlap(boxes, others)
    union = areas(boxes) + areas(others) - overlap
    return overlap / union.clamp(min=IOU_EPS)


def diou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the distance IoU: IoU - (distance of centres / diagonal of enclosing box)^2.

    Source: Zheng et al., Distance-IoU loss (AAAI 2020), equation 7; eps 1e-6 is added to
    the union and to the squared diagonal, as the SCRFD reference does.

    Shapes as for `iou`; the result is in (-1, 1] and differentiable in both arguments.
    """
    overlap = _overlap(boxes, others)
    union = areas(boxes) + areas(others) - overlap + DIOU_EPS
    # An inverted prediction has a negative area, which could cancel the other's exactly.
    union = union.masked_fill(union == 0, DIOU_EPS)
    enclosing = _enclosing_sides(boxes, others)
    diagonal_squared = enclosing.square().sum(-1) + DIOU_EPS
    shift = (others[..., :2] + others[..., 2:]) - (boxes[..., :2] + boxes[..., 2:])
    distance_squared = shift.square().sum(-1) / 4
    return overlap / union - distance_squared / diagonal_squared


def boxes_from_distances(centers: Tensor, distances: Tensor) -> Tensor:
    """Return boxes with sides `l, t, r, b` from a point: (..., 2), (..., 4) -> (..., 4)."""
    return torch.cat((centers - distances[..., :2], centers + distances[..., 2:]), dim=-1)


def distances_to_sides(centers: Tensor, boxes: Tensor) -> Tensor:
    """Return `l, t, r, b` from points to the sides of boxes; negative outside."""
    return torch.cat((centers - boxes[..., :2], boxes[..., 2:] - centers), dim=-1)


def _overlap(boxes: Tensor, others: Tensor) -> Tensor:
    top_left = torch.maximum(boxes[..., :2], others[..., :2])
    bottom_right = torch.minimum(boxes[..., 2:], others[..., 2:])
    # Not clamp: its gradient where boxes just touch depends on the version of torch.
    sides = (bottom_right - top_left).relu()
    return sides[..., 0] * sides[..., 1]


def _enclosing_sides(boxes: Tensor, others: Tensor) -> Tensor:
    top_left = torch.minimum(boxes[..., :2], others[..., :2])
    bottom_right = torch.maximum(boxes[..., 2:], others[..., 2:])
    return (bottom_right - top_left).relu()
