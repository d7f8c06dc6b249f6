"""Stage 1: backbones under a fixed neck and head, sampled as the reference's generator does.

The reference draws at random and keeps candidates of the wanted FLOPs (its
`search_tools/generate_configs_2.5g.py`). Here the closed-form cost rejects whole arrays of
draws, the number of distinct backbones in the window is counted exactly, and where there are
few the order in which rejection sampling would find them is drawn directly, so that sampling
always ends.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import MAX_WIDTH, Architecture, Backbone, Head, Neck
from search_spaces.checks import require_integer
from search_spaces.cost.constraints import Window, flops_window, in_giga, relaxation
from search_spaces.cost.detector import flops_by_part, total
from search_spaces.cost.parts import array_candidate, neck_head_flops
from search_spaces.errors import InfeasibleError
from search_spaces.randomness import weighted_order
from search_spaces.spaces.backbone_chain import Chain, build_chain
from search_spaces.spaces.backbone_counting import count_in_window, list_in_window, nearest_flops
from search_spaces.spaces.backbone_draws import WORDS, Draws, draw, next_width_weights
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.spaces.chains import Ints
from search_spaces.spaces.neck_and_head import neck_and_head
from search_spaces.spaces.ranges import WIDTH_STEP
from search_spaces.spaces.sample import Sample

CHUNK = 1 << 15  # draws at a time; as many as fit the processor's cache
MAX_DRAWS = 200_000_000
FEW = 50_000  # up to so many are listed instead of drawn


@dataclass(frozen=True, kw_only=True)
class BackboneSpace:
    """Every backbone of `ranges` with this neck and head, and FLOPs within the tolerance.

    Attributes:
        flops: target of the whole network at 480x640.
        tolerance: relative deviation from the target, both ends included.
    """

    ranges: BackboneRanges
    neck: Neck
    head: Head
    flops: int
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        flops_window(self.flops, self.tolerance)

    @classmethod
    def for_budget(
        cls, flops: int, ranges: BackboneRanges, tolerance: float = 0.02
    ) -> "BackboneSpace":
        """Return the space of stage 1 at a budget, with the neck and head of that budget.

        Raises:
            ConfigError: the budget or the tolerance breaks a rule.
        """
        flops_window(flops, tolerance)
        neck, head = neck_and_head(ranges.family, flops)
        return cls(ranges=ranges, neck=neck, head=head, flops=int(flops), tolerance=tolerance)

    @property
    def window(self) -> Window:
        """Least and greatest FLOPs accepted."""
        return flops_window(self.flops, self.tolerance)

    def count(self) -> int | None:
        """Return the number of distinct architectures in the window; None if too many to count."""
        counts = [count_in_window(chain, self._backbone_window(chain)) for chain in self._chains()]
        return None if None in counts else sum(count or 0 for count in counts)

    def sample(self, generator: np.random.Generator, num: int) -> Sample:
        """Return up to `num` distinct architectures, distributed as by rejection sampling.

        Fewer only if there are no more (or, where the space is too large to count, after 200
        million draws); `note` says so. A larger `num` with an equal generator begins with the
        same architectures.

        Raises:
            ConfigError: `num` is not a positive integer.
            InfeasibleError: no architecture has such FLOPs.
        """
        num = require_integer(num, "the number of candidates", 1)
        feasible = self.count()
        if feasible == 0:
            raise self._infeasible()
        if feasible is not None and feasible <= FEW:
            sample = Sample(architectures=self._listed(generator, num), feasible=feasible)
        else:
            sample = replace(self._rejected(generator, num), feasible=feasible)
        if not sample.architectures:
            raise self._infeasible(f" in {sample.draws:,} draws")
        return sample.noted(num)

    def accepts(self, draws: Draws) -> NDArray[np.bool_]:
        """Return which draws have valid widths and FLOPs within the window, (N,)."""
        low, high = self.window
        flops = self.flops_of(draws)
        valid = ((draws.chain >= WIDTH_STEP) & (draws.chain <= MAX_WIDTH)).all(axis=1)
        return valid & (flops >= low) & (flops <= high)

    def flops_of(self, draws: Draws) -> Ints:
        """Return the total FLOPs of every draw, (N,)."""
        flops = np.zeros(len(draws.blocks), dtype=np.int64)
        for index, block in enumerate(self.ranges.blocks):
            rows = np.flatnonzero(draws.blocks == index)
            stem, widths = _stem_and_widths(block, draws.chain[rows].T)
            depths = draws.depths[rows].T
            candidate = array_candidate(block, stem, depths, widths, self.neck.width, self.head)
            flops[rows] = total(flops_by_part(candidate))
        return flops

    def _rejected(self, generator: np.random.Generator, num: int) -> Sample:
        """Sample by rejection; duplicates are dropped."""
        found: dict[Architecture, None] = {}
        draws = accepted = 0
        while len(found) < num and draws < MAX_DRAWS:
            chunk = draw(self.ranges, generator, CHUNK)
            rows = np.flatnonzero(self.accepts(chunk))
            draws, accepted = draws + CHUNK, accepted + len(rows)
            for row in rows.tolist():
                block = self.ranges.blocks[int(chunk.blocks[row])]
                found[self._architecture(block, chunk.chain[row], chunk.depths[row])] = None
        architectures = tuple(found)[:num]
        return Sample(architectures=architectures, feasible=None, draws=draws, accepted=accepted)

    def _listed(self, generator: np.random.Generator, num: int) -> tuple[Architecture, ...]:
        """Return architectures in the order in which rejection sampling would find them."""
        listed, weights = [], []
        for chain in self._chains():
            paths = list_in_window(chain, self._backbone_window(chain)).astype(np.int64)
            for widths, depths in zip(*_chain_and_depths(chain.block, paths), strict=True):
                listed.append((chain.block, widths, depths))
                weights.append(self._weight(widths.tolist()))
        order = weighted_order(generator, np.array(weights))[:num]
        return tuple(self._architecture(*listed[index]) for index in order.tolist())

    def _weight(self, chain: list[int]) -> float:
        """Return the probability of drawing a chain of widths, but for a constant factor."""
        weight = 1.0
        for width, wider, ratio in zip(chain[:-1], chain[1:], self.ranges.ratios, strict=True):
            weight *= next_width_weights(width, ratio)[wider] / WORDS
        return self.ranges.stem_weights()[chain[0]] * weight

    def _chains(self) -> list[Chain]:
        return [build_chain(self.ranges, b, self.neck.width) for b in self.ranges.blocks]

    def _rest(self, block: str) -> int:
        """Return the FLOPs of neck and head without the lateral convs, which the chain has."""
        head = self.head
        return int(neck_head_flops(block, head, self.neck.width, head.width, head.convs))

    def _backbone_window(self, chain: Chain) -> Window:
        rest = self._rest(chain.block)
        return self.window[0] - rest, self.window[1] - rest

    def _architecture(self, block: str, chain: Ints, depths: Ints) -> Architecture:
        stem, widths = _stem_and_widths(block, chain.tolist())
        backbone = Backbone(
            block=block,
            stem_widths=tuple(stem),
            depths=tuple(depths.tolist()),
            widths=tuple(widths),
        )
        return Architecture(backbone=backbone, neck=self.neck, head=self.head)

    def _infeasible(self, where: str = "") -> InfeasibleError:
        totals = []
        for chain in self._chains():
            rest = self._rest(chain.block)
            totals.append(rest + nearest_flops(chain, self.flops - rest))
        nearest = min(totals, key=lambda flops: abs(flops - self.flops))
        return InfeasibleError(
            f"no stage-1 backbone of the {self.ranges.family} family has {in_giga(self.flops)} "
            f"FLOPs within {self.tolerance:g}{where}; "
            + relaxation(nearest, self.flops, "widen the ranges")
        )


def _stem_and_widths(block: str, chain: Any) -> tuple[Any, Any]:
    """Split a chain of widths into stem widths and stage widths."""
    return (chain[:2], chain[2:]) if block == "depthwise" else (chain[:1], chain)


def _chain_and_depths(block: str, paths: Ints) -> tuple[Ints, Ints]:
    """Return the chains of widths (N, 4 or 6) and the depths (N, 4) of `list_in_window`'s paths.

    The first step of a residual chain keeps the stem's width; that of a mobile one has no depth.
    """
    if block == "depthwise":
        return paths[:, [0, 1, 3, 5, 7, 9]], paths[:, [4, 6, 8, 10]]
    return paths[:, [1, 3, 5, 7]], paths[:, [2, 4, 6, 8]]
