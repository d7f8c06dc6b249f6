"""What step 1 draws: the distribution of backbones, in whole numbers.

Resnet family (REFERENCE facts, section 8): block uniform from {basic, bottleneck}; stem
width uniform from the integers 8-64, floored to a multiple of 8; four depths uniform from
1-10; three width ratios uniform from [1, 4), each applied to the width before it and
floored to a multiple of 8; the first stage has the stem's width.

Mobile family (this project's, the reference has none): blocks are depthwise; the first
stem width uniform from 8-40, floored; the second stem width and then the first stage's
width follow by ratios uniform from [1, 3); the other three widths by ratios from [1, 4);
depths 1-10. It contains mobilenet_0.5g, mobilenet_1g, scrfd_0.5g and scrfd_1g.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import lcm
from typing import Any

import numpy as np

from search_spaces.architecture import BLOCKS, MAX_DEPTH, MAX_WIDTH, NUM_STAGES
from search_spaces.checks import require_fields, require_integer
from search_spaces.cost.constraints import exact
from search_spaces.errors import ConfigError
from search_spaces.randomness import raw_words
from search_spaces.spaces.chains import WIDTH_STEP, Ints

FAMILIES = ("mobile", "resnet")
MAX_RATIO = 16
RATIO_DENOMINATOR = 1000
_UNIT = 1 << 32  # raw words lie in [0, _UNIT)


@dataclass(frozen=True, kw_only=True)
class BackboneRanges:
    """Ranges of the step-1 draws, ends included but for the ratios' upper ones.

    Attributes:
        blocks: kinds of block, either residual ones or `depthwise` alone.
        stem: integers from which the (first) stem width is drawn, before the floor to x8.
        depth: blocks a stage.
        ratio: width of a stage relative to the one before it.
        stem_ratio: mobile family only: second stem width relative to the first, and first
            stage relative to the second.
    """

    blocks: tuple[str, ...] = ("basic", "bottleneck")
    stem: tuple[int, int] = (8, 64)
    depth: tuple[int, int] = (1, 10)
    ratio: tuple[float, float] = (1.0, 4.0)
    stem_ratio: tuple[float, float] = (1.0, 3.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", _checked_blocks(self.blocks))
        object.__setattr__(self, "stem", integer_range(self.stem, "stem", 8, MAX_WIDTH))
        object.__setattr__(self, "depth", integer_range(self.depth, "depth", 1, MAX_DEPTH))
        for name in ("ratio", "stem_ratio"):
            object.__setattr__(self, name, ratio_range(getattr(self, name), name))

    @classmethod
    def of_family(cls, family: str, **changes: Any) -> "BackboneRanges":
        """The family's own ranges, with `changes` to single fields.

        Raises:
            ConfigError: unknown family or field, or a range that breaks a rule.
        """
        if family not in FAMILIES:
            raise ConfigError(f"the family must be one of {', '.join(FAMILIES)}, got {family!r}")
        require_fields(cls, changes, "ranges of step 1")
        own = {"blocks": ("depthwise",), "stem": (8, 40)} if family == "mobile" else {}
        ranges = cls(**{**own, **changes})
        if ranges.family != family:
            raise ConfigError(f"the {family} family has no blocks {', '.join(ranges.blocks)}")
        return ranges

    @property
    def family(self) -> str:
        """`mobile` for depthwise blocks, `resnet` otherwise."""
        return "mobile" if self.blocks == ("depthwise",) else "resnet"

    @property
    def ratios(self) -> tuple[tuple[float, float], ...]:
        """The ranges of the ratios along the chain of widths."""
        stages = (self.ratio,) * (NUM_STAGES - 1)
        return (self.stem_ratio,) * 2 + stages if self.family == "mobile" else stages

    def stem_weights(self) -> dict[int, int]:
        """Integers of `stem` that are floored to each (first) stem width."""
        floored = [value // WIDTH_STEP * WIDTH_STEP for value in range(*_half_open(self.stem))]
        return {width: floored.count(width) for width in dict.fromkeys(floored)}


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Backbones drawn: `blocks` (N,) indices into the ranges' blocks, `chain` (N, 4 or 6)
    widths from the stem on, `depths` (N, 4)."""

    blocks: Ints
    chain: Ints
    depths: Ints


def draw(ranges: BackboneRanges, generator: np.random.Generator, count: int) -> Draws:
    """`count` independent backbones. Some may have widths out of bounds (0 or > 4096)."""
    lowest, end = _half_open(ranges.stem)
    blocks = _below(raw_words(generator, count), len(ranges.blocks))
    stem = lowest + _below(raw_words(generator, count), end - lowest)
    chain = [stem // WIDTH_STEP * WIDTH_STEP]
    lowest, end = _half_open(ranges.depth)
    depths = [lowest + _below(raw_words(generator, count), end - lowest) for _ in range(NUM_STAGES)]
    for ratio in ranges.ratios:
        chain.append(next_width(chain[-1], raw_words(generator, count), ratio))
    return Draws(blocks=blocks, chain=np.stack(chain, axis=1), depths=np.stack(depths, axis=1))


def next_width(width: Any, words: Any, ratio: tuple[float, float]) -> Any:
    """Width x ratio floored to a multiple of 8; a word w stands for low + (high-low)*w/2**32."""
    low, high, scale = _whole_ratio(ratio)
    width = np.minimum(width, MAX_WIDTH + WIDTH_STEP)  # out of bounds stays so, no overflow
    scaled = width * (low * _UNIT + (high - low) * words)
    return scaled // (scale * _UNIT * WIDTH_STEP) * WIDTH_STEP


@lru_cache(maxsize=4096)
def next_width_weights(width: int, ratio: tuple[float, float]) -> Mapping[int, int]:
    """How many of the 2**32 words lead from `width` to each valid next width."""
    low, high, scale = _whole_ratio(ratio)
    if high == low:
        only = int(next_width(np.int64(width), np.int64(0), ratio))
        return {only: _UNIT} if 0 < only <= MAX_WIDTH else {}
    last = min(int(next_width(np.int64(width), np.int64(_UNIT - 1), ratio)), MAX_WIDTH)
    edges = range(WIDTH_STEP, last + 2 * WIDTH_STEP, WIDTH_STEP)
    span = (high - low) * width
    firsts = [-((low * width - edge * scale) * _UNIT // span) for edge in edges]
    firsts = [max(0, min(_UNIT, first)) for first in firsts]
    counts = zip(edges, firsts[:-1], firsts[1:], strict=False)
    return {edge: end - begin for edge, begin, end in counts if end > begin}


def _below(words: Ints, bound: int) -> Ints:
    """Uniform integers from 0 to bound - 1 out of 32-bit words."""
    return (words * bound) >> 32


def _half_open(bounds: tuple[int, int]) -> tuple[int, int]:
    return bounds[0], bounds[1] + 1


def _whole_ratio(ratio: tuple[float, float]) -> tuple[int, int, int]:
    """Both ends as whole multiples of 1 / the third number."""
    low, high = (Fraction(str(end)) for end in ratio)
    scale = lcm(low.denominator, high.denominator)
    return int(low * scale), int(high * scale), scale


def _checked_blocks(blocks: Any) -> tuple[str, ...]:
    names = (blocks,) if isinstance(blocks, str) else blocks
    is_list = isinstance(names, list | tuple) and len(names) > 0
    if not is_list or any(name not in BLOCKS for name in names) or len(set(names)) < len(names):
        raise ConfigError(f"blocks must be distinct ones of {', '.join(BLOCKS)}, got {blocks!r}")
    if "depthwise" in names and len(names) > 1:
        raise ConfigError(f"depthwise blocks are a family of their own, got {', '.join(names)}")
    return tuple(names)


def integer_range(value: Any, name: str, low: int, high: int) -> tuple[int, int]:
    """A pair of integers within [low, high] in order. Raises ConfigError otherwise."""
    begin, end = _pair(value, name)
    begin, end = (require_integer(number, f"{name} range", low) for number in (begin, end))
    if not begin <= end <= high:
        rule = f"the {name} range must be low <= high <= {high}"
        raise ConfigError(f"{rule}, got low={begin}, high={end}")
    return begin, end


def ratio_range(value: Any, name: str) -> tuple[float, float]:
    """A pair of ratios above 0 up to 16 with at most 3 decimals. Raises ConfigError otherwise."""
    begin, end = _pair(value, name)
    for number in (begin, end):
        if RATIO_DENOMINATOR % exact(number, f"{name} range").denominator:
            raise ConfigError(f"the {name} range has at most 3 decimals, got {number!r}")
    if not 0 < begin <= end <= MAX_RATIO:
        rule = f"the {name} range must be 0 < low <= high <= {MAX_RATIO}"
        raise ConfigError(f"{rule}, got low={begin}, high={end}")
    return float(begin), float(end)


def _pair(value: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"the {name} range must be two numbers, got {value!r}")
    return value[0], value[1]
