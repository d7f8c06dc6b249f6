"""Anchors: two squares in every cell of every level, as in SCRFD (arXiv 2105.04714).

Centres are at (x * stride, y * stride), without a half-cell offset. The order is level by
level, inside a level (y * W + x) * 2 + a with a = 0 the small and a = 1 the large anchor.
Shapes: A anchors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from search_spaces.errors import ConfigError

STRIDES = (8, 16, 32)
ANCHOR_SIZES = ((16, 32), (64, 128), (256, 512))
ANCHORS_PER_CELL = 2
_CACHED_SIZES = 32

Grid = tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Anchors:
    """All anchors of one input size.

    Attributes:
        boxes_A4: float32 xyxy in input pixels, not clipped to the image.
        centers_A2: float32 x, y in input pixels.
        strides_A: float32 stride of each anchor's level.
        levels_A: int64 level (0, 1, 2) of each anchor.
        grids: (rows, columns) of cells of each level.
    """

    boxes_A4: Tensor
    centers_A2: Tensor
    strides_A: Tensor
    levels_A: Tensor
    grids: tuple[Grid, ...]

    def __len__(self) -> int:
        return self.boxes_A4.shape[0]

    @property
    def level_sizes(self) -> tuple[int, ...]:
        """Anchors of each level."""
        return tuple(rows * columns * ANCHORS_PER_CELL for rows, columns in self.grids)

    @property
    def level_starts(self) -> tuple[int, ...]:
        """Index of the first anchor of each level."""
        sizes = self.level_sizes
        return tuple(sum(sizes[:level]) for level in range(len(sizes)))


def grids_for(height: int, width: int) -> tuple[Grid, ...]:
    """Return (rows, columns) of cells of each level for an input size in pixels, rounded up."""
    if height < 1 or width < 1:
        raise ConfigError(f"an input must have at least 1x1 pixels, got {height}x{width}")
    return tuple((-(-height // stride), -(-width // stride)) for stride in STRIDES)


def anchors_for(height: int, width: int, device: torch.device | str = "cpu") -> Anchors:
    """Return the anchors of an input of height x width pixels; cached, do not change them."""
    return anchors_for_grids(grids_for(height, width), device)


def anchors_for_grids(grids: Sequence[Grid], device: torch.device | str = "cpu") -> Anchors:
    """Return the anchors of levels of the given (rows, columns); cached, do not change them.

    Raises:
        ConfigError: there is not one grid of at least one cell for every stride.
    """
    checked = tuple((int(rows), int(columns)) for rows, columns in grids)
    if len(checked) != len(STRIDES) or min(map(min, checked)) < 1:
        rule = f"anchors need one grid of at least 1x1 cells for each stride of {STRIDES}"
        raise ConfigError(f"{rule}, got {checked}")
    return _build(checked, torch.device(device))


@lru_cache(maxsize=_CACHED_SIZES)
def _build(grids: tuple[Grid, ...], device: torch.device) -> Anchors:
    # A tensor made in inference mode cannot take part in training later.
    with torch.inference_mode(mode=False), torch.no_grad():
        levels = [_build_level(level, *grid) for level, grid in enumerate(grids)]
        boxes, centers, strides, indices = (torch.cat(parts) for parts in zip(*levels, strict=True))
        return Anchors(
            boxes_A4=boxes.to(device),
            centers_A2=centers.to(device),
            strides_A=strides.to(device),
            levels_A=indices.to(device),
            grids=grids,
        )


def _build_level(level: int, rows: int, columns: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    stride = STRIDES[level]
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    cells = torch.stack((x, y), dim=-1).reshape(-1, 1, 2).float() * stride
    centers_A2 = cells.expand(-1, ANCHORS_PER_CELL, 2).reshape(-1, 2)
    halves_A1 = (torch.tensor(ANCHOR_SIZES[level]) / 2).repeat(rows * columns)[:, None]
    boxes_A4 = torch.cat((centers_A2 - halves_A1, centers_A2 + halves_A1), dim=1)
    count = centers_A2.shape[0]
    return boxes_A4, centers_A2, torch.full((count,), float(stride)), torch.full((count,), level)
