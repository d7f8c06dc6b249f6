"""Step 2's backbones: all that keep each stage's FLOPs in proportion to the stem's.

Both spaces yield the same thing, blocks of rows of stem widths, depths and widths with
their FLOPs, that can be produced again at any time: billions are never held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import NUM_STAGES, Architecture, Backbone
from search_spaces.cost.constraints import Window, stage_window
from search_spaces.cost.detector import PARTS, flops_by_part
from search_spaces.cost.parts import lateral_flops, stage_flops, stem_flops
from search_spaces.errors import ConfigError
from search_spaces.spaces.chains import (
    Choices,
    Ints,
    Rows,
    extend,
    fan_out,
    pieces,
    sorted_choices,
    start_rows,
)
from search_spaces.spaces.network_ranges import NetworkRanges

SPACES = ("free", "scaled")
BLOCK_ROWS = 1 << 18
MAX_BACKBONES = 200_000_000  # counting their necks and heads takes a minute or two


@dataclass(frozen=True, kw_only=True)
class BackboneRows:
    """Backbones, one a row.

    Attributes:
        stems: (N, 1 or 2) stem widths.
        depths, widths: (N, 4).
        flops: (N,) of stem and stages.
        laterals: (N,) FLOPs of the lateral convs for every channel of the neck.
    """

    stems: Ints
    depths: Ints
    widths: Ints
    flops: Ints
    laterals: Ints

    def __len__(self) -> int:
        return len(self.flops)

    def slice(self, begin: int, end: int) -> "BackboneRows":
        """The rows from `begin` to before `end`."""
        return _subset(self, slice(begin, end))

    def backbone(self, block: str, row: int) -> Backbone:
        """One of them."""
        columns = (self.stems, self.depths, self.widths)
        stem, depths, widths = (tuple(int(n) for n in column[row]) for column in columns)
        return Backbone(block=block, stem_widths=stem, depths=depths, widths=widths)


RowsMaker = Callable[[], BackboneRows]


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """The template's FLOPs of stem and stages, and how far a candidate's may deviate."""

    template: Architecture
    ratio_tolerance: float

    def windows(self, stem: int) -> list[Window]:
        """The FLOPs that each stage may have beside a stem of `stem` FLOPs."""
        parts = flops_by_part(self.template)
        stages = PARTS[1 : 1 + NUM_STAGES]
        return [
            stage_window(stem, parts[stage], parts["stem"], self.ratio_tolerance)
            for stage in stages
        ]


def backbone_blocks(
    space: str, proportions: Proportions, ranges: NetworkRanges, most: int
) -> list[RowsMaker]:
    """Makers of all backbones of `space` of at most `most` FLOPs, each backbone once.

    Raises:
        ConfigError: unknown space, or more backbones than can be counted in time.
    """
    if space not in SPACES:
        raise ConfigError(f"the stage-2 space must be one of {', '.join(SPACES)}, got {space!r}")
    if space == "scaled":
        return _scaled_blocks(proportions, ranges, most)
    return _free_blocks(proportions, ranges, most)


def _scaled_blocks(proportions: Proportions, ranges: NetworkRanges, most: int) -> list[RowsMaker]:
    """One depth ratio and one width ratio for all stages; stems scale as widths do."""
    backbone = proportions.template.backbone
    tied = _stem_is_tied(backbone.block)
    template_widths = backbone.widths if tied else (*backbone.stem_widths, *backbone.widths)
    depths = ranges.scaled_depths(backbone.depths)
    widths = ranges.scaled_widths(template_widths)
    pairs = list(product(depths, widths))
    all_depths = np.array([pair[0] for pair in pairs], dtype=np.int64).reshape(-1, NUM_STAGES)
    all_widths = np.array([pair[1] for pair in pairs], dtype=np.int64)
    all_widths = all_widths.reshape(-1, len(template_widths))
    stems = all_widths[:, :1] if tied else all_widths[:, :2]
    stage_widths = all_widths if tied else all_widths[:, 2:]
    rows = _in_proportion(backbone.block, stems, all_depths, stage_widths, proportions)
    rows = _subset(rows, rows.flops <= most)
    return [lambda: rows] if len(rows) else []


def _in_proportion(
    block: str, stems: Ints, depths: Ints, widths: Ints, proportions: Proportions
) -> BackboneRows:
    """The rows whose stages keep the template's proportions."""
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
    return _subset(rows, keep)


def _subset(rows: BackboneRows, keep: NDArray[np.bool_] | slice) -> BackboneRows:
    return BackboneRows(
        stems=rows.stems[keep],
        depths=rows.depths[keep],
        widths=rows.widths[keep],
        flops=rows.flops[keep],
        laterals=rows.laterals[keep],
    )


def _free_blocks(proportions: Proportions, ranges: NetworkRanges, most: int) -> list[RowsMaker]:
    """Every stage's depth and width by itself; residual stems are tied to the first stage."""
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
    """A maker of the rows of three stages with every choice of the fourth."""

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
        return _subset(made, made.flops <= most)

    return make


def _free_steps(backbone: Backbone, ranges: NetworkRanges) -> list[Choices]:
    """Every choice of each stage, whatever its FLOPs."""
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
        steps.append(
            sorted_choices(
                inputs=columns[0],
                widths=columns[1],
                depths=columns[2],
                flops=stage_flops(backbone.block, stage, *columns),
                laterals=lateral_flops(backbone.block, stage, columns[1]),
            )
        )
        inputs = widths
    return steps


def _kept(step: Choices, window: Window) -> Choices:
    return step.subset((window[0] <= step.flops) & (step.flops <= window[1]))


def _least_after(steps: list[Choices]) -> list[int]:
    """At least how many FLOPs the steps from each node on cost."""
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
