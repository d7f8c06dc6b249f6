"""Ranges of the backbones of stage 1.

ResNet family, as in the reference's `search_tools/generate_configs_2.5g.py` (arXiv 2105.04714):
block uniform from {basic, bottleneck}; stem width uniform from the integers 8-64, floored to
a multiple of 8; four depths uniform from 1-10; three width ratios uniform from [1, 4), each
applied to the width before it and floored to a multiple of 8; the first stage has the stem's
width.

Mobile family (of this project, the reference has none): blocks are depthwise; the first stem
width uniform from 8-40, floored; the second stem width and then the first stage's width
follow by ratios uniform from [1, 3); the other three widths by ratios from [1, 4); depths
1-10. It contains mobilenet_0.5g, mobilenet_1g, scrfd_0.5g and scrfd_1g.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from search_spaces.architecture import BLOCKS, MAX_DEPTH, MAX_WIDTH, NUM_STAGES
from search_spaces.checks import require_fields
from search_spaces.errors import ConfigError
from search_spaces.spaces.ranges import WIDTH_STEP, integer_range, ratio_range

FAMILIES = ("mobile", "resnet")


@dataclass(frozen=True, kw_only=True)
class BackboneRanges:
    """Ranges of the draws of stage 1, both ends included except the ratios' upper ones.

    Attributes:
        blocks: kinds of block, either residual ones or `depthwise` alone.
        stem: integers from which the (first) stem width is drawn, before the floor to x8.
        depth: blocks per stage.
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
        """Return the family's default ranges with `changes` to single fields.

        Raises:
            ConfigError: unknown family or field, or a range that breaks a rule.
        """
        if family not in FAMILIES:
            raise ConfigError(f"the family must be one of {', '.join(FAMILIES)}, got {family!r}")
        require_fields(cls, changes, "ranges of stage 1")
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
        """Ranges of the ratios along the chain of widths."""
        stages = (self.ratio,) * (NUM_STAGES - 1)
        return (self.stem_ratio,) * 2 + stages if self.family == "mobile" else stages

    def stem_weights(self) -> dict[int, int]:
        """Return how many integers of `stem` are floored to each (first) stem width."""
        low, high = self.stem
        return Counter(value // WIDTH_STEP * WIDTH_STEP for value in range(low, high + 1))


def _checked_blocks(blocks: Any) -> tuple[str, ...]:
    names = (blocks,) if isinstance(blocks, str) else blocks
    is_list = isinstance(names, list | tuple) and len(names) > 0
    if not is_list or any(name not in BLOCKS for name in names) or len(set(names)) < len(names):
        raise ConfigError(f"blocks must be distinct ones of {', '.join(BLOCKS)}, got {blocks!r}")
    if "depthwise" in names and len(names) > 1:
        raise ConfigError(f"depthwise blocks are a family of their own, got {', '.join(names)}")
    return tuple(names)
