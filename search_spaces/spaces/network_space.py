"""Stage 2: the distribution of a template's compute over backbone, neck and head.

`scaled` is the space of the reference: one depth ratio and one width ratio for all stages.
`free` is that of the paper's text (arXiv 2105.04714): depth and width of every stage vary
independently. In both, neck width, head width and head convs vary, the total stays within the
tolerance of the target, and the FLOPs of each stage relative to the stem within the ratio
tolerance of the template's. Kinds (block, norm, separable, shared, key points) are those of
the template. A residual stem has the width of the first stage; the two stem widths of the
mobile family scale with the stages (`scaled`) or vary independently (`free`). GroupNorm groups
follow `norm_groups`, so a template with other groups is not itself a member.

Both spaces are finite. Every member has a rank: backbones in order, within a backbone neck
widths in order, within a neck the heads by FLOPs. Counting the members of each backbone gives
the exact total and the member of any rank, so sampling is uniform.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from search_spaces.architecture import Architecture, Neck
from search_spaces.checks import require_integer
from search_spaces.cost.constraints import (
    Window,
    exact_tolerance,
    flops_window,
    in_giga,
    norm_groups,
    relaxation,
)
from search_spaces.cost.parts import neck_head_flops
from search_spaces.errors import InfeasibleError
from search_spaces.randomness import shuffled
from search_spaces.spaces.chains import Ints
from search_spaces.spaces.network_backbones import (
    BackboneRows,
    Proportions,
    RowsMaker,
    backbone_blocks,
)
from search_spaces.spaces.network_ranges import NetworkRanges
from search_spaces.spaces.sample import Sample

GROUP = 512  # backbones that share one stored count: 200 million have to fit in memory


@dataclass(frozen=True, kw_only=True)
class NetworkSpace:
    """The networks around `template` with FLOPs within the tolerance of `flops`.

    Attributes:
        flops: target of the whole network at 480x640.
        space: `free` or `scaled`.
        ratio_tolerance: relative deviation of each stage's FLOPs over the stem's.
        tolerance: relative deviation of the total.
    """

    template: Architecture
    flops: int
    space: str = "free"
    ratio_tolerance: float = 0.1
    tolerance: float = 0.02
    ranges: NetworkRanges = field(default_factory=NetworkRanges)

    def __post_init__(self) -> None:
        flops_window(self.flops, self.tolerance)
        exact_tolerance(self.ratio_tolerance, "the ratio tolerance")

    @property
    def window(self) -> Window:
        """Least and greatest FLOPs accepted."""
        return flops_window(self.flops, self.tolerance)

    def count(self) -> int:
        """Return the exact number of distinct architectures that satisfy the constraints."""
        return int(sum(counts.sum() for counts in self._group_counts))

    def sample(self, generator: np.random.Generator, num: int) -> Sample:
        """Return up to `num` distinct architectures, uniform among all; fewer if there are no more.

        A larger `num` with an equal generator begins with the same architectures.

        Raises:
            ConfigError: `num` is not a positive integer, or there are too many backbones.
            InfeasibleError: no architecture satisfies them; the message names what to relax.
        """
        num = require_integer(num, "the number of candidates", 1)
        feasible = self.count()
        if feasible == 0:
            raise self._infeasible()
        order = shuffled(generator, feasible)
        ranks = [next(order) for _ in range(min(num, feasible))]
        return Sample(architectures=tuple(self._members(ranks)), feasible=feasible).noted(num)

    @cached_property
    def _heads(self) -> "_Heads":
        return _Heads.of(self.template, self.ranges)

    @cached_property
    def _blocks(self) -> list[RowsMaker]:
        return self._backbone_blocks(self.window[1] - self._heads.least)

    def _backbone_blocks(self, most: int) -> list[RowsMaker]:
        proportions = Proportions(template=self.template, ratio_tolerance=self.ratio_tolerance)
        return backbone_blocks(self.space, proportions, self.ranges, most)

    @cached_property
    def _group_counts(self) -> list[Ints]:
        """Numbers of members of the groups of backbones, block by block."""
        counts = []
        for make in self._blocks:
            members = self._heads.count(make(), self.window)
            groups = np.arange(0, len(members), GROUP)
            counts.append(np.add.reduceat(members, groups) if len(members) else members)
        return counts

    def _members(self, ranks: list[int]) -> list[Architecture]:
        """Return the architectures of these ranks."""
        ends = np.cumsum([int(counts.sum()) for counts in self._group_counts])
        blocks = np.searchsorted(ends, ranks, side="right")
        found: dict[int, Architecture] = {}
        for block in np.unique(blocks).tolist():
            rows, begin = self._blocks[block](), int(ends[block - 1]) if block else 0
            for rank in (rank for rank, home in zip(ranks, blocks, strict=True) if home == block):
                found[rank] = self._member(rows, self._group_counts[block], rank - begin)
        return [found[rank] for rank in ranks]

    def _member(self, rows: BackboneRows, groups: Ints, rank: int) -> Architecture:
        """Return the architecture of `rank` within a block."""
        group, rank = _locate(groups, rank)
        members = self._heads.count(
            rows.take(slice(group * GROUP, (group + 1) * GROUP)), self.window
        )
        row, rank = _locate(members, rank)
        row += group * GROUP
        neck, head_width, convs = self._heads.pick(
            rows.take(slice(row, row + 1)), self.window, rank
        )
        backbone = rows.backbone(self.template.backbone.block, row)
        groups_of_norm = norm_groups(self.template.head, neck, head_width)
        head = replace(self.template.head, convs=convs, width=head_width, groups=groups_of_norm)
        return Architecture(backbone=backbone, neck=Neck(width=neck), head=head)

    def _infeasible(self) -> InfeasibleError:
        heads = self._heads
        nearest: list[int] = []
        for make in self._backbone_blocks(1 << 60):
            rows = make()
            if len(rows):
                nearest.append(heads.nearest(rows, self.flops))
        limits = f"--ratio-tolerance (now {self.ratio_tolerance:g})"
        if not nearest:
            return InfeasibleError(
                f"no {self.space} backbone within the ranges keeps the proportions of the "
                f"template's stages: relax {limits} or widen the ranges"
            )
        best = min(nearest, key=lambda flops: abs(flops - self.flops))
        return InfeasibleError(
            f"no {self.space} network around the template has {in_giga(self.flops)} FLOPs within "
            f"{self.tolerance:g}; " + relaxation(best, self.flops, f"relax {limits}")
        )


def _locate(counts: Ints, rank: int) -> tuple[int, int]:
    """Return the index of the count that contains `rank`, and the rank within it."""
    ends = np.cumsum(counts)
    index = int(np.searchsorted(ends, rank, side="right"))
    return index, rank - (int(ends[index - 1]) if index else 0)


@dataclass(frozen=True, kw_only=True)
class _Heads:
    """Every neck and head without the lateral convs: per neck width the heads by FLOPs.

    Attributes:
        flops: (necks, heads), ascending in each row.
        order: (necks, heads), the index into `heads` of each entry.
    """

    necks: list[int]
    heads: list[tuple[int, int]]
    flops: Ints
    order: Ints

    @classmethod
    def of(cls, template: Architecture, ranges: NetworkRanges) -> "_Heads":
        """Return the necks and heads of the ranges, of the kind of the template."""
        necks = ranges.neck_widths
        heads = [(width, convs) for width in ranges.head_widths for convs in ranges.conv_counts]
        widths, convs = np.array(heads, dtype=np.int64).T
        neck_column = np.array(necks, dtype=np.int64)[:, None]
        block = template.backbone.block
        flops = neck_head_flops(block, template.head, neck_column, widths[None], convs[None])
        order = np.argsort(flops, axis=1, kind="stable")
        return cls(
            necks=necks, heads=heads, flops=np.take_along_axis(flops, order, axis=1), order=order
        )

    @property
    def least(self) -> int:
        """FLOPs of the cheapest neck and head, without lateral convs."""
        return int(self.flops.min())

    def count(self, rows: BackboneRows, window: Window) -> Ints:
        """Return how many necks and heads bring each backbone into the window, (N,)."""
        members = np.zeros(len(rows), dtype=np.int64)
        for first, last in self._ranges(rows, window):
            members += last - first
        return members

    def pick(self, row: BackboneRows, window: Window, rank: int) -> tuple[int, int, int]:
        """Return neck width, head width and convs of the given rank for one backbone."""
        for neck, (first, last) in enumerate(self._ranges(row, window)):
            if rank < last[0] - first[0]:
                return self.necks[neck], *self.heads[self.order[neck, first[0] + rank]]
            rank -= int(last[0] - first[0])
        raise IndexError(f"rank {rank} beyond the members of the backbone")

    def nearest(self, rows: BackboneRows, target: int) -> int:
        """Return the FLOPs nearest to `target` that these backbones reach."""
        best = []
        for neck, width in enumerate(self.necks):
            base, costs = rows.flops + width * rows.laterals, self.flops[neck]
            above = np.searchsorted(costs, target - base)
            for index in (np.minimum(above, len(costs) - 1), np.maximum(above - 1, 0)):
                totals = base + costs[index]
                best.append(int(totals[np.argmin(np.abs(totals - target))]))
        return min(best, key=lambda flops: abs(flops - target))

    def _ranges(self, rows: BackboneRows, window: Window) -> list[tuple[Ints, Ints]]:
        """Return for each neck the first head in the window and one past the last, (N,) each."""
        found = []
        for width, costs in zip(self.necks, self.flops, strict=True):
            base = rows.flops + width * rows.laterals
            first = np.searchsorted(costs, window[0] - base, side="left")
            found.append((first, np.searchsorted(costs, window[1] - base, side="right")))
        return found
