"""ATSS: assignment of anchors to faces.

Source: Zhang et al., ATSS (CVPR 2020, arXiv 1912.02424), with the parameters of SCRFD
(`atss_assigner.py` of its mmdetection fork): k = 9 anchors a level, threshold = mean + sample
standard deviation of the candidates' IoUs, centre strictly inside the box.

Ties, which the reference leaves to `torch.topk`, are resolved: among anchors of equal
(float32) distance the lowest index is nearer, and an anchor claimed by two faces with the
same IoU goes to the first of them.

Shapes: B images, A anchors, G faces of an image, T faces of all images together,
K candidates of a face, L levels. All boxes xyxy in input pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from trials.detection.anchors import ANCHORS_PER_CELL, STRIDES, Anchors, Grid
from trials.detection.boxes import areas, distances_to_sides, iou

CANDIDATES_PER_LEVEL = 9
INSIDE_FRACTION = 0.001
INSIDE_MIN_AREA = 1e-4
# The five nearest cells of any point are among these rows and columns around it, also where
# the border of the grid cuts the neighbourhood in half.
_WINDOW = 6
_FIRST_OFFSET = 2
_KEY_LOW_BITS = 32
_KEY_LOW_MASK = (1 << _KEY_LOW_BITS) - 1


@torch.no_grad()
def assign_batch(anchors: Anchors, boxes: Sequence[Tensor]) -> Tensor:
    """Assign the anchors of every image of a batch, without a loop over faces or images.

    Args:
        anchors: the anchors of the input size, shared by the batch.
        boxes: (G, 4) float32 faces of each of the B images, on the anchors' device; they may
            be empty, reach outside the image or have no area.

    Returns:
        (B, A) int64: 0 for background, k for face k - 1 of that image.
    """
    device = anchors.boxes_A4.device
    boxes_T4 = torch.cat([boxes_G4.float() for boxes_G4 in boxes])
    counts = [boxes_G4.shape[0] for boxes_G4 in boxes]
    if not sum(counts):
        return torch.zeros(len(counts), len(anchors), dtype=torch.int64, device=device)
    images_T, ranks_T = _locate_faces(counts, device)
    candidates_TK = _candidates(anchors.grids, boxes_T4)
    overlaps_TK = iou(anchors.boxes_A4[candidates_TK], boxes_T4[:, None])
    positive_TK = _clears_threshold(overlaps_TK) & _is_inside(
        anchors.centers_A2[candidates_TK], boxes_T4
    )
    places_TK = candidates_TK + images_T[:, None] * len(anchors)
    keys_TK = _claim_keys(overlaps_TK, ranks_T, positive_TK)
    best = torch.full((len(counts) * len(anchors),), -1, dtype=torch.int64, device=device)
    best.scatter_reduce_(0, places_TK.flatten(), keys_TK.flatten(), reduce="amax")
    assigned = torch.where(best < 0, 0, _KEY_LOW_MASK - (best & _KEY_LOW_MASK) + 1)
    return assigned.reshape(len(counts), len(anchors))


def _locate_faces(counts: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the image (T,) of every face and its rank (T,) in that image."""
    images = [image for image, count in enumerate(counts) for _ in range(count)]
    ranks = [rank for count in counts for rank in range(count)]
    both = torch.tensor([images, ranks], dtype=torch.int64).to(device, non_blocking=True)
    return both[0], both[1]


def _candidates(grids: Sequence[Grid], boxes_T4: Tensor) -> Tensor:
    """Return the (T, K) nearest anchors of each level, the lowest index first among ties."""
    centers_T2 = (boxes_T4[:, :2] + boxes_T4[:, 2:]) / 2
    start = 0
    found = []
    for stride, grid in zip(STRIDES, grids, strict=True):
        found.append(_nearest_on_level(stride, grid, centers_T2) + start)
        start += grid[0] * grid[1] * ANCHORS_PER_CELL
    return torch.cat(found, dim=1)


def _nearest_on_level(stride: int, grid: Grid, centers_T2: Tensor) -> Tensor:
    """Return (T, min(9, anchors of the level)) indices within the level.

    Only a window of cells around the centre is searched. It holds the nearest cells as long
    as float32 can distinguish their distances, which fails for centres thousands of pixels
    outside the image.
    """
    rows, columns = grid
    xs_TW = _window(centers_T2[:, 0], stride, columns)
    ys_TW = _window(centers_T2[:, 1], stride, rows)
    dx_TW = xs_TW * stride - centers_T2[:, :1]
    dy_TW = ys_TW * stride - centers_T2[:, 1:]
    # The root is part of the definition: its rounding decides which distances tie.
    distances = (dx_TW.square()[:, None, :] + dy_TW.square()[:, :, None]).sqrt().flatten(1)
    cells = (ys_TW[:, :, None] * columns + xs_TW[:, None, :]).flatten(1)
    order = distances.sort(dim=1, stable=True).indices
    count = min(CANDIDATES_PER_LEVEL, rows * columns * ANCHORS_PER_CELL)
    nearest = cells.gather(1, order[:, : -(-count // ANCHORS_PER_CELL)])
    twins = torch.arange(ANCHORS_PER_CELL, device=nearest.device)
    return (nearest[:, :, None] * ANCHORS_PER_CELL + twins).flatten(1)[:, :count]


def _window(positions_T: Tensor, stride: int, length: int) -> Tensor:
    """Return (T, W) int64 indices of the cells around each position on one axis of the grid."""
    width = min(_WINDOW, length)
    first_T = (positions_T / stride).floor() - _FIRST_OFFSET
    first_T = first_T.clamp(0, length - width).long()
    return first_T[:, None] + torch.arange(width, device=positions_T.device)


def _clears_threshold(overlaps_TK: Tensor) -> Tensor:
    thresholds_T = overlaps_TK.mean(dim=1) + overlaps_TK.std(dim=1)
    return overlaps_TK >= thresholds_T[:, None]


def _is_inside(centers_TK2: Tensor, boxes_T4: Tensor) -> Tensor:
    margins_TK = distances_to_sides(centers_TK2, boxes_T4[:, None]).amin(dim=-1)
    least_T = INSIDE_FRACTION * areas(boxes_T4).clamp(min=INSIDE_MIN_AREA).sqrt()
    return margins_TK > least_T[:, None]


def _claim_keys(overlaps_TK: Tensor, ranks_T: Tensor, positive_TK: Tensor) -> Tensor:
    """Return integers whose maximum is the winner: the highest IoU, then the lowest rank.

    The bits of a non-negative float32, read as an integer, sort like the float.
    """
    bits_TK = overlaps_TK.contiguous().view(torch.int32).long()
    keys_TK = (bits_TK << _KEY_LOW_BITS) | (_KEY_LOW_MASK - ranks_T)[:, None]
    return torch.where(positive_TK, keys_TK, -1)
