"""The backbones of stage 2: all whose stages keep the FLOPs ratios of the template to the stem.

Both spaces yield blocks of rows of stem widths, depths and widths with their FLOPs. A block
is produced by a function, on demand, so that billions of rows are never in memory at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import product

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import NUM_STAGES, Architecture, Backbone
from search_spaces.cost.constraints import Window, stage_window
from search_spaces.cost.detector import STAGES, flops_by_part
from search_spaces.cost.parts import lateral_flops, stage_flops, stem_flops
from search_spaces.errors import ConfigError
from search_spaces.spaces.chains import (
    Choices,
    Ints,
    Rows,
    extend,
    fan_out,
    pieces,
    start_rows,
)
from search_spaces.spaces.network_ranges import NetworkRanges

SPACES = ("free", "scaled")
BLOCK_ROWS = 1 << 18
MAX_BACKBONES = 200_000_000  # counting their necks and heads takes a minute or two


@dataclass(frozen=True, kw_only=True)
class BackboneRows:
    """Backbones, one per row.

    Attributes:
        stems: (N, 1 or 2) stem widths.
        depths, widths: (N, 4).
        flops: (N,) FLOPs of stem and stages.
        laterals: (N,) FLOPs of the lateral convs per channel of the neck.
    """

    stems: Ints
    depths: Ints
    widths: Ints
    flops: Ints
    laterals: Ints

    def __len__(self) -> int:
        return len(self.flops)

    def take(self, rows: NDArray[np.bool_] | slice) -> "BackboneRows":
        """Return the rows of a mask or a slice."""
        return BackboneRows(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def backbone(self, block: str, row: int) -> Backbone:
        """Return the backbone of one row."""
        columns = (self.stems, self.depths, self.widths)
        stem, depths, widths = (tuple(int(n) for n in column[row]) for column in columns)
        return Backbone(block=block, stem_widths=stem, depths=depths, widths=widths)


RowsMaker = Callable[[], BackboneRows]


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """FLOPs ratios of the template's stages to its stem, and the relative deviation allowed."""

    template: Architecture
    ratio_tolerance: float

    def windows(self, stem: int) -> list[Window]:
        """Return the FLOPs that each stage may have with a stem of `stem` FLOPs."""
        parts, tolerance = flops_by_part(self.template), self.ratio_tolerance
        return [stage_window(stem, parts[stage], parts["stem"], tolerance) for stage in STAGES]


def backbone_blocks(
    space: str, proportions: Proportions, ranges: NetworkRanges, most: int
) -> list[RowsMaker]:
    """Return makers of all backbones of `space` of at most `most` FLOPs, each backbone once.

    Raises:
        ConfigError: unknown space, or more backbones than can be counted in time.
    """
    if space not in SPACES:
        raise ConfigError(f"the stage-2 space must be one of {', '.join(SPACES)}, got {space!r}")
    if space == "scaled":
        return _scaled_blocks(proportions, ranges, most)
    return _free_blocks(proportions, ranges, most)


def _scaled_blocks(proportions: Proportions, ranges: NetworkRanges, most: int) -> list[RowsMaker]:
    """Scale all stages by one depth ratio and one width ratio; stems scale as widths do."""
    backbone = proportions.template.backbone
    stem = () if _stem_is_tied(backbone.block) else backbone.stem_widths
    pairs = list(
        product(
            ranges.scaled_depths(backbone.depths), ranges.scaled_widths((*stem, *backbone.widths))
        )
    )
    depths = np.array([pair[0] for pair in pairs], dtype=np.int64).reshape(-1, NUM_STAGES)
    widths = np.array([pair[1] for pair in pairs], dtype=np.int64)
    widths = widths.reshape(-1, len(stem) + NUM_STAGES)
    stems = widths[:, : len(backbone.stem_widths)]
    rows = _in_proportion(backbone.block, stems, depths, widths[:, len(stem) :], proportions)
    rows = rows.take(rows.flops <= most)
    return [lambda: rows] if len(rows) else []


def _in_proportion(
    block: str, stems: Ints, depths: Ints, widths: Ints, proportions: Proportions
) -> BackboneRows:
    """Return the rows whose stages keep the proportions of the template."""
    stem = np.asarray(stem_flops(block, list(stems.T)))
    flops, laterals, keep = stem.copy(), np.zeros_like(stem), np.ones(len(stem), dtype=bool)
    values, inverse = np.unique(stem, return_inverse=True)
    windows = np.array([proportions.windows(int(v)) for v in values], dtype=np.int64)
    windows = windows.reshape(-1, NUM_STAGES, 2)[inverse]
    inputs = stems[:, -1]
    for stage in range(NUM_STAGES):
        cost = stage_flops(block, stage, inputs, widths[:, stage], depths[:, stage])
        keep &= (windows[:, stage, 0] <= cost) & (cost <= windows[:, stage, 1])
        flops = flops + cost
        laterals = laterals + lateral_flops(block, stage, widths[:, stage])
        inputs = widths[:, stage]
    rows = BackboneRows(stems=stems, depths=depths, widths=widths, flops=flops, laterals=laterals)
    return rows.take(keep)


def _free_blocks(proportions: Proportions, ranges: NetworkRanges, most: int) -> list[RowsMaker]:
    """Vary depth and width of every stage; a residual stem has the width of the first stage."""
    backbone = proportions.template.backbone
    steps = _free_steps(backbone, ranges)
    stems = product(*(ranges.widths_of(width) for width in backbone.stem_widths))
    makers: list[RowsMaker] = []
    total = 0
    for stem in stems:
        flops = int(stem_flops(backbone.block, list(stem)))
        kept = [_kept(step, w) for step, w in zip(steps, proportions.windows(flops), strict=True)]
        least_after = _least_after(kept)
        rows = start_rows(np.array([stem[-1]], dtype=np.int64), flops)
        for node, step in enumerate(kept[:-1], 1):
            _check_count(int(fan_out(rows, step).sum()))
            rows = extend(rows, step)
            rows = rows.take(rows.flops + least_after[node] <= most)
        counts = fan_out(rows, kept[-1])
        total += int(counts.sum())
        _check_count(total)
        for piece in pieces(rows, counts, BLOCK_ROWS):
            makers.append(_free_maker(stem, piece, kept[-1], most))
    return makers


def _free_maker(stem: tuple[int, ...], rows: Rows, last: Choices, most: int) -> RowsMaker:
    """Return a maker of the rows of three stages with every choice of the fourth."""

    def make() -> BackboneRows:
        whole = extend(rows, last)
        path = whole.path.astype(np.int64)
        stems = np.tile(np.array(stem, dtype=np.int64), (len(whole), 1))
        made = BackboneRows(
            stems=stems,
            depths=path[:, 2::2],
            widths=path[:, 1::2],
            flops=whole.flops,
            laterals=whole.laterals,
        )
        return made.take(made.flops <= most)

    return make


def _free_steps(backbone: Backbone, ranges: NetworkRanges) -> list[Choices]:
    """Return every choice of each stage, whatever its FLOPs."""
    inputs = ranges.widths_of(backbone.stem_widths[-1])
    steps = []
    for stage in range(NUM_STAGES):
        depths = ranges.depths_of(backbone.depths[stage])
        widths = ranges.widths_of(backbone.widths[stage])
        if stage == 0 and _stem_is_tied(backbone.block):
            triples = [(w, w, d) for w in sorted({*inputs} & {*widths}) for d in depths]
        else:
            triples = list(product(inputs, widths, depths))
        columns = np.array(triples, dtype=np.int64).reshape(-1, 3).T
        choices = Choices(
            inputs=columns[0],
            widths=columns[1],
            depths=columns[2],
            flops=stage_flops(backbone.block, stage, *columns),
            laterals=lateral_flops(backbone.block, stage, columns[1]),
        )
        steps.append(choices.ordered())
        inputs = widths
    return steps


def _kept(step: Choices, window: Window) -> Choices:
    return step.subset((window[0] <= step.flops) & (step.flops <= window[1]))


def _least_after(steps: list[Choices]) -> list[int]:
    """Return a lower limit of the FLOPs of the steps from each node on."""
    least = [0]
    for step in reversed(steps):
        least.insert(0, least[0] + (int(step.flops.min()) if len(step) else 0))
    return least


def _stem_is_tied(block: str) -> bool:
    return block != "depthwise"


def _check_count(total: int) -> None:
    if total > MAX_BACKBONES:
        raise ConfigError(
            f"more than {MAX_BACKBONES:,} backbones keep the template's proportions, too many "
            "to count: lower --ratio-tolerance or narrow the ranges"
        )
