"""The backbones of stage 1 as a chain of choices whose FLOPs add up."""

from dataclasses import dataclass

import numpy as np

from search_spaces.architecture import NUM_STAGES
from search_spaces.cost.constraints import Window
from search_spaces.cost.parts import lateral_flops, stage_flops, stem_flops
from search_spaces.spaces.backbone_draws import next_width_weights
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.spaces.chains import Choices, Ints, Rows, bounds_before, start_rows


@dataclass(frozen=True, kw_only=True)
class Chain:
    """All backbones of one block: the first widths, and the choices of each step.

    The FLOPs are those of stem, stages and the lateral convs of a neck of fixed width.
    """

    block: str
    starts: Rows
    steps: tuple[Choices, ...]

    def extremes(self) -> Window:
        """Return the least and the greatest FLOPs of any backbone."""
        last = bounds_before(self.starts, self.steps)[-1]
        return int(last.least.min()), int(last.greatest.max())


def build_chain(ranges: BackboneRanges, block: str, neck_width: int) -> Chain:
    """Return the chain of every backbone that `ranges` can draw with this block."""
    stems = np.array(list(ranges.stem_weights()), dtype=np.int64)
    ratios = list(ranges.ratios)
    steps = []
    if block == "depthwise":
        starts = start_rows(stems)
        links = _links(stems, ratios.pop(0))
        steps.append(_stem_choices(block, links))
        links = _links(np.unique(links[1]), ratios.pop(0))
    else:
        starts = start_rows(stems, stem_flops(block, [stems]))
        links = (stems, stems)
    for stage in range(NUM_STAGES):
        steps.append(_stage_choices(block, stage, links, ranges.depth, neck_width))
        if stage < NUM_STAGES - 1:
            links = _links(np.unique(links[1]), ratios.pop(0))
    return Chain(block=block, starts=starts, steps=tuple(steps))


def _links(widths: Ints, ratio: tuple[float, float]) -> tuple[Ints, Ints]:
    """Return every width with every width that may follow it, as two columns."""
    pairs = [(int(w), wider) for w in widths for wider in next_width_weights(int(w), ratio)]
    columns = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return columns[:, 0], columns[:, 1]


def _stem_choices(block: str, links: tuple[Ints, Ints]) -> Choices:
    first, second = links
    zeros, flops = np.zeros_like(first), stem_flops(block, links)
    choices = Choices(inputs=first, widths=second, depths=zeros, flops=flops, laterals=zeros)
    return choices.ordered()


def _stage_choices(
    block: str, stage: int, links: tuple[Ints, Ints], depth: tuple[int, int], neck_width: int
) -> Choices:
    depths = np.arange(depth[0], depth[1] + 1)
    inputs, widths = (np.repeat(column, len(depths)) for column in links)
    depths = np.tile(depths, len(links[0]))
    flops = stage_flops(block, stage, inputs, widths, depths)
    flops = flops + neck_width * lateral_flops(block, stage, widths)
    zeros = np.zeros_like(inputs)  # the laterals are in `flops`
    choices = Choices(inputs=inputs, widths=widths, depths=depths, flops=flops, laterals=zeros)
    return choices.ordered()
