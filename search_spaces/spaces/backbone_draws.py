"""Random draws of backbones in stage 1, in integer arithmetic.

A 32-bit word w stands for the ratio low + (high - low) * w / 2**32, so that the probability of
every width is an exact count of words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Any

import numpy as np

from search_spaces.architecture import MAX_WIDTH, NUM_STAGES
from search_spaces.randomness import raw_words
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.spaces.chains import Ints
from search_spaces.spaces.ranges import WIDTH_STEP

WORDS = 1 << 32


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Drawn backbones.

    Attributes:
        blocks: (N,) indices into the blocks of the ranges.
        chain: (N, 4) widths of the stages, or (N, 6) with the two stem widths first.
        depths: (N, 4).
    """

    blocks: Ints
    chain: Ints
    depths: Ints


def draw(ranges: BackboneRanges, generator: np.random.Generator, count: int) -> Draws:
    """Draw `count` independent backbones; some may have widths out of bounds (0 or > 4096)."""

    def uniform(low: int, high: int) -> Ints:
        return low + ((raw_words(generator, count) * (high - low + 1)) >> 32)

    blocks = uniform(0, len(ranges.blocks) - 1)
    chain = [uniform(*ranges.stem) // WIDTH_STEP * WIDTH_STEP]
    depths = [uniform(*ranges.depth) for _ in range(NUM_STAGES)]
    for ratio in ranges.ratios:
        chain.append(next_width(chain[-1], raw_words(generator, count), ratio))
    return Draws(blocks=blocks, chain=np.stack(chain, axis=1), depths=np.stack(depths, axis=1))


def next_width(width: Any, words: Any, ratio: tuple[float, float]) -> Any:
    """Return width x ratio, floored to a multiple of 8, for ratios given as 32-bit words."""
    low, high, scale = _whole_ratio(ratio)
    width = np.minimum(width, MAX_WIDTH + WIDTH_STEP)  # stays out of bounds, without overflow
    scaled = width * (low * WORDS + (high - low) * words)
    return scaled // (scale * WORDS * WIDTH_STEP) * WIDTH_STEP


@lru_cache(maxsize=4096)
def next_width_weights(width: int, ratio: tuple[float, float]) -> Mapping[int, int]:
    """Return how many of the 2**32 words lead from `width` to each valid next width."""
    low, high, scale = _whole_ratio(ratio)
    if high == low:
        only = int(next_width(np.int64(width), np.int64(0), ratio))
        return {only: WORDS} if 0 < only <= MAX_WIDTH else {}
    last = min(int(next_width(np.int64(width), np.int64(WORDS - 1), ratio)), MAX_WIDTH)
    edges = range(WIDTH_STEP, last + 2 * WIDTH_STEP, WIDTH_STEP)
    span = (high - low) * width
    firsts = [-((low * width - edge * scale) * WORDS // span) for edge in edges]
    firsts = [max(0, min(WORDS, first)) for first in firsts]
    counts = zip(edges, firsts[:-1], firsts[1:], strict=False)
    return {edge: end - begin for edge, begin, end in counts if end > begin}


def _whole_ratio(ratio: tuple[float, float]) -> tuple[int, int, int]:
    """Return both ends as integers, and the denominator that they share."""
    low, high = (Fraction(str(end)) for end in ratio)
    scale = lcm(low.denominator, high.denominator)
    return int(low * scale), int(high * scale), scale
