"""Layout of a head's output tensors, and reading the values of chosen anchors.

Every level is a tensor (B, 2 * values, H, W) whose channel `a * values + v` has value v of
anchor a of the cell. Nothing is transposed: the levels are joined into one vector (image,
anchor of the cell, value, row, column; level after level) and the wanted values are picked
by index, which also makes the gradient cheap.

Shapes: B images, A anchors, P chosen anchors of all images together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.network.head import HeadOutputs
from trials.detection.anchors import ANCHORS_PER_CELL, Anchors, anchors_for_grids

BOX_VALUES = 4
NUM_KEYPOINTS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Places:
    """Positions of chosen anchors in the joined vector of the scores.

    Attributes:
        image_P, anchor_P: int64 indices of the image and of the anchor in that image.
        plane_start_P: start of the plane (all cells of one image, level and anchor).
        plane_size_P: cells of the plane.
        cell_P: the cell in the plane.
    """

    image_P: Tensor
    anchor_P: Tensor
    plane_start_P: Tensor
    plane_size_P: Tensor
    cell_P: Tensor

    @property
    def score_index_P(self) -> Tensor:  # noqa: N802
        """Index of the anchors' scores in `join(outputs.scores)`."""
        return self.plane_start_P + self.cell_P


def anchors_for_outputs(outputs: HeadOutputs) -> Anchors:
    """Return the anchors of the outputs' feature maps, on their device."""
    grids = [(scores.shape[2], scores.shape[3]) for scores in outputs.scores]
    return anchors_for_grids(grids, outputs.scores[0].device)


def places_of(anchors: Anchors, images: int, image_P: Tensor, anchor_P: Tensor) -> Places:
    """Locate chosen anchors in the joined vector of a batch of `images` images."""
    level_P = anchors.levels_A[anchor_P]
    device = anchor_P.device
    plane_sizes = [rows * columns for rows, columns in anchors.grids]
    by_level = torch.tensor([anchors.level_starts, plane_sizes]).to(device, non_blocking=True)
    level_start_P, plane_size_P = by_level[:, level_P]
    local_P = anchor_P - level_start_P
    plane_P = image_P * ANCHORS_PER_CELL + local_P % ANCHORS_PER_CELL
    return Places(
        image_P=image_P,
        anchor_P=anchor_P,
        plane_start_P=level_start_P * images + plane_P * plane_size_P,
        plane_size_P=plane_size_P,
        cell_P=local_P // ANCHORS_PER_CELL,
    )


def join(levels: Sequence[Tensor]) -> Tensor:
    """Join all values of all levels in one vector."""
    return torch.cat([values.reshape(-1) for values in levels])


def pick(levels: Sequence[Tensor], places: Places, values: int) -> Tensor:
    """Return the `values` numbers of each chosen anchor, (P, values) float32.

    An anchor whose score is at `plane_start + cell` has its value v at
    `plane_start * values + v * plane_size + cell`.
    """
    first_P = places.plane_start_P * values + places.cell_P
    steps = torch.arange(values, device=first_P.device)
    index = first_P[:, None] + steps * places.plane_size_P[:, None]
    return join(levels).index_select(0, index.flatten()).reshape(-1, values).float()
