"""Chains of stages as arrays: the choices of each stage, and partial candidates.

A row is a partial candidate: the width of its last stage, its FLOPs so far and its path (width
and depth of every step). Widths are multiples of 8 up to `MAX_WIDTH`; a slot is a width over 8.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import MAX_WIDTH
from search_spaces.spaces.ranges import WIDTH_STEP

Ints = NDArray[np.int64]
SLOTS = MAX_WIDTH // WIDTH_STEP + 2  # one for every width, and an end
IMPOSSIBLE = 1 << 60  # more FLOPs than any candidate has


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Choices of one step of a chain, (N,) each, sorted by the width of the input.

    Attributes:
        laterals: FLOPs that the choice adds per channel of the neck.
    """

    inputs: Ints
    widths: Ints
    depths: Ints
    flops: Ints
    laterals: Ints

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def ends(self) -> Ints:
        """For every input slot, one past its last choice."""
        return np.cumsum(np.bincount(self.inputs // WIDTH_STEP, minlength=SLOTS))

    def subset(self, keep: Ints | NDArray[np.bool_]) -> "Choices":
        """Return the choices of an index or a mask."""
        return Choices(**{item.name: getattr(self, item.name)[keep] for item in fields(self)})

    def ordered(self) -> "Choices":
        """Return the choices sorted by input, then width, then depth."""
        return self.subset(np.lexsort((self.depths, self.widths, self.inputs)))


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Partial candidates: `widths`, `flops`, `laterals` and `meetings` (N,).

    `path` (N, 1 + 2 * steps) holds the first width, then width and depth of every step
    taken. `meetings` is the width that a row shares with the rows that precede it.
    """

    widths: Ints
    flops: Ints
    laterals: Ints
    meetings: Ints
    path: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.widths)

    def take(self, rows: Ints | NDArray[np.bool_] | slice) -> "Rows":
        """Return the rows of an index, a mask or a slice."""
        return Rows(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})


def start_rows(widths: Ints, flops: Ints | int = 0) -> Rows:
    """Return rows that have taken no step."""
    zeros = np.zeros(len(widths), dtype=np.int64)
    path = widths[:, None].astype(np.int16)
    return Rows(widths=widths, flops=zeros + flops, laterals=zeros, meetings=widths, path=path)


def fan_out(rows: Rows, choices: Choices) -> Ints:
    """Return the number of choices of each row, (N,)."""
    slots = rows.widths // WIDTH_STEP
    ends = choices.ends
    return ends[slots] - np.where(slots > 0, ends[slots - 1], 0)


def extend(rows: Rows, choices: Choices, *, with_path: bool = True) -> Rows:
    """Return every row with every choice that its width allows, in order."""
    counts = fan_out(rows, choices)
    parents = np.repeat(np.arange(len(rows)), counts)
    first_child = np.cumsum(counts) - counts
    first_choice = choices.ends[rows.widths // WIDTH_STEP] - counts
    picked = np.arange(len(parents)) + np.repeat(first_choice - first_child, counts)
    path = rows.path[parents]
    if with_path:
        step = np.stack([choices.widths[picked], choices.depths[picked]], axis=1)
        path = np.concatenate([path, step.astype(np.int16)], axis=1)
    return Rows(
        widths=choices.widths[picked],
        flops=rows.flops[parents] + choices.flops[picked],
        laterals=rows.laterals[parents] + choices.laterals[picked],
        meetings=rows.meetings[parents],
        path=path,
    )


def pieces(rows: Rows, counts: Ints, limit: int) -> Iterator[Rows]:
    """Yield `rows` cut, in order, where the running sum of `counts` passes multiples of `limit`."""
    group = np.cumsum(counts) // limit
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(rows)]
    for begin, end in pairwise(cuts):
        if end > begin:
            yield rows.take(slice(begin, end))


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, in order."""
    parts = parts or [start_rows(np.zeros(0, dtype=np.int64))]
    columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(Rows)}
    return Rows(**{name: np.concatenate(arrays) for name, arrays in columns.items()})


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Least and greatest FLOPs of reaching a width (or of finishing from it), by slot."""

    least: Ints
    greatest: Ints

    @classmethod
    def of(cls, widths: Ints, least: Ints, greatest: Ints) -> "Bounds":
        """Return the bounds over all entries of each width."""
        low, high = np.full(SLOTS, IMPOSSIBLE), np.full(SLOTS, -IMPOSSIBLE)
        np.minimum.at(low, widths // WIDTH_STEP, least)
        np.maximum.at(high, widths // WIDTH_STEP, greatest)
        return cls(least=low, greatest=high)

    def plus(self, slots: Ints, flops: Ints) -> tuple[Ints, Ints]:
        """Return least and greatest of `flops` added to the bounds at `slots`."""
        return self.least[slots] + flops, self.greatest[slots] + flops


def bounds_before(starts: Rows, steps: Sequence[Choices]) -> list[Bounds]:
    """Return the bounds of the FLOPs up to each node of the chain; node i precedes step i."""
    bounds = [Bounds.of(starts.widths, starts.flops, starts.flops)]
    for step in steps:
        sums = bounds[-1].plus(step.inputs // WIDTH_STEP, step.flops)
        bounds.append(Bounds.of(step.widths, *sums))
    return bounds


def bounds_after(steps: Sequence[Choices]) -> list[Bounds]:
    """Return the bounds of the FLOPs from each node of the chain to its end."""
    zeros = np.zeros(SLOTS, dtype=np.int64)
    bounds = [Bounds(least=zeros, greatest=zeros)]
    for step in reversed(steps):
        sums = bounds[0].plus(step.widths // WIDTH_STEP, step.flops)
        bounds.insert(0, Bounds.of(step.inputs, *sums))
    return bounds
