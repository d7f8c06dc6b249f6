"""Coordinates of architectures: the numbers that vary in a space, each scaled to [0, 1]."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Point:
    """Coordinates of an architecture: its kind of block, and its numbers (D,) in [0, 1]."""

    block: str
    numbers: Floats


@dataclass(frozen=True, kw_only=True)
class Coordinates:
    """Axes of a space.

    Attributes:
        names: names of the D numbers that vary.
        low, high: their least and greatest values, (D,); of widths, the logarithms to base 2.
        blocks: kinds of block.
    """

    names: tuple[str, ...]
    low: Floats
    high: Floats
    blocks: tuple[str, ...]

    @classmethod
    def along(cls, architectures: Sequence[Architecture]) -> "Coordinates":
        """Return the axes along which these architectures (at least one) differ."""
        rows = [_numbers(architecture) for architecture in architectures]
        everywhere = set(rows[0]).intersection(*rows)  # stems differ between kinds of block
        names = [n for n in rows[0] if n in everywhere and len({row[n] for row in rows}) > 1]
        table = np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
        table = table.reshape(len(rows), len(names))
        return cls(
            names=tuple(names),
            low=table.min(axis=0),
            high=table.max(axis=0),
            blocks=tuple(sorted({a.backbone.block for a in architectures})),
        )

    def point_of(self, architecture: Architecture) -> Point | None:
        """Return the coordinates; None if they are outside of the space.

        Numbers that do not vary in this space are ignored.
        """
        block, numbers = architecture.backbone.block, _numbers(architecture)
        if block not in self.blocks or any(name not in numbers for name in self.names):
            return None
        values = np.array([numbers[name] for name in self.names], dtype=np.float64)
        if (values < self.low).any() or (values > self.high).any():
            return None
        return Point(block=block, numbers=(values - self.low) / (self.high - self.low))


def _numbers(architecture: Architecture) -> dict[str, float]:
    """Return all numbers of an architecture but a residual stem's width, which is that of C2."""
    backbone, head = architecture.backbone, architecture.head
    stems = backbone.stem_widths if backbone.block == "depthwise" else ()
    widths = {f"width_stem{i}": width for i, width in enumerate(stems, start=1)}
    widths |= {f"width_c{i}": width for i, width in enumerate(backbone.widths, start=2)}
    widths |= {"width_neck": architecture.neck.width, "width_head": head.width}
    depths = {f"depth_c{i}": depth for i, depth in enumerate(backbone.depths, start=2)}
    logarithms = {name: math.log2(width) for name, width in widths.items()}
    return {**logarithms, **depths, "convs_head": head.convs}
