"""Ranges of stage 2 around a template, as finite lists of integers."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from search_spaces.architecture import MAX_DEPTH, MAX_WIDTH
from search_spaces.checks import require_fields
from search_spaces.errors import ConfigError
from search_spaces.spaces.ranges import WIDTH_STEP, integer_range, multiples, ratio_range


@dataclass(frozen=True, kw_only=True)
class NetworkRanges:
    """Ranges of stage 2, both ends included; widths are the multiples of 8 within them.

    Attributes:
        depth_ratio, width_ratio: depths and widths of the stages relative to the template's.
        neck: neck width.
        head: head width.
        convs: convs in the tower of the head.
    """

    depth_ratio: tuple[float, float] = (0.5, 3.0)
    width_ratio: tuple[float, float] = (0.5, 3.0)
    neck: tuple[int, int] = (8, 128)
    head: tuple[int, int] = (8, 256)
    convs: tuple[int, int] = (1, 4)

    def __post_init__(self) -> None:
        for name in ("depth_ratio", "width_ratio"):
            object.__setattr__(self, name, ratio_range(getattr(self, name), name))
        for name, low, high in _INTEGER_RANGES:
            checked = integer_range(getattr(self, name), name, low, high)
            object.__setattr__(self, name, checked)
        for name in ("neck", "head"):
            if not multiples(*getattr(self, name)):
                rule = f"the {name} range must contain a multiple of 8"
                raise ConfigError(f"{rule}, got {getattr(self, name)}")

    @classmethod
    def changed(cls, changes: Any) -> "NetworkRanges":
        """Return the defaults with `changes` to single fields. Raises ConfigError."""
        return cls(**require_fields(cls, changes, "ranges of stage 2"))

    @property
    def neck_widths(self) -> list[int]:
        """Every neck width."""
        return multiples(*self.neck)

    @property
    def head_widths(self) -> list[int]:
        """Every head width."""
        return multiples(*self.head)

    @property
    def conv_counts(self) -> list[int]:
        """Every number of head convs."""
        return list(range(self.convs[0], self.convs[1] + 1))

    def depths_of(self, depth: int) -> list[int]:
        """Return every depth that a stage of `depth` blocks may have, at least 1."""
        low, high = _ends(self.depth_ratio)
        least, greatest = scaled_depth(depth, low), scaled_depth(depth, high)
        return list(range(max(1, least), min(greatest, MAX_DEPTH) + 1))

    def widths_of(self, width: int) -> list[int]:
        """Return every width that a stage of `width` channels may have, at least 8."""
        low, high = _ends(self.width_ratio)
        least, greatest = scaled_width(width, low), scaled_width(width, high)
        return list(range(max(WIDTH_STEP, least), min(greatest, MAX_WIDTH) + 1, WIDTH_STEP))

    def scaled_depths(self, depths: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the distinct results of scaling all `depths` by one ratio, all at least 1.

        The result changes only where some depth * ratio is halfway between two integers.
        Python rounds such a tie to the even one, so that the ratio itself can have a result
        that no other has: it counts as reachable.
        """
        low, high = _ends(self.depth_ratio)
        halves = (Fraction(2 * k + 1, 2 * d) for d in depths for k in range(int(d * high) + 1))
        ratios = _with_middles({low, high, *(half for half in halves if low < half < high)})
        found = (tuple(scaled_depth(depth, ratio) for depth in depths) for ratio in ratios)
        return _within(found, 1, MAX_DEPTH)

    def scaled_widths(self, widths: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the distinct results of scaling all `widths` by one ratio, all at least 8."""
        low, high = _ends(self.width_ratio)
        steps = (
            Fraction(2 * edge - 1, 2 * width)  # rounds up to the edge, which is even
            for width in widths
            for edge in range(WIDTH_STEP, int(width * high) + 2, WIDTH_STEP)
        )
        ratios = _with_middles({low, high, *(step for step in steps if low < step < high)})
        found = (tuple(scaled_width(width, ratio) for width in widths) for ratio in ratios)
        return _within(found, WIDTH_STEP, MAX_WIDTH)


_INTEGER_RANGES = (("neck", 8, MAX_WIDTH), ("head", 8, MAX_WIDTH), ("convs", 1, MAX_DEPTH))


def scaled_depth(depth: int, ratio: Fraction) -> int:
    """Return depth * ratio, rounded half to even."""
    return round(depth * ratio)


def scaled_width(width: int, ratio: Fraction) -> int:
    """Return width * ratio, rounded half to even and then floored to a multiple of 8."""
    return round(width * ratio) // WIDTH_STEP * WIDTH_STEP


def _ends(ratio: tuple[float, float]) -> tuple[Fraction, Fraction]:
    return Fraction(str(ratio[0])), Fraction(str(ratio[1]))


def _with_middles(ratios: set[Fraction]) -> list[Fraction]:
    """Return the ratios in order, with one between each and the next."""
    ordered = sorted(ratios)
    middles = [(low + high) / 2 for low, high in pairwise(ordered)]
    return sorted([*ordered, *middles])


def _within(found: Iterable[tuple[int, ...]], low: int, high: int) -> list[tuple[int, ...]]:
    """Return the distinct tuples, in order, whose numbers are all from `low` to `high`."""
    return [
        numbers for numbers in dict.fromkeys(found) if low <= min(numbers) <= max(numbers) <= high
    ]
