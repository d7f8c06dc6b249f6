"""Chains of stages: the choices of each stage given the one before, joined as arrays.

A row is a partial candidate: the width it ends with, its FLOPs so far and the path (width
and depth of every step). Widths are multiples of 8 up to `MAX_WIDTH`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import MAX_WIDTH

Ints = NDArray[np.int64]
WIDTH_STEP = 8
SLOTS = MAX_WIDTH // WIDTH_STEP + 2  # one for every width, and an end
IMPOSSIBLE = 1 << 60  # more FLOPs than any candidate has


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What one step of a chain may choose, sorted by the width of its input.

    Attributes:
        inputs, widths, depths, flops: one entry a choice.
        laterals: FLOPs that the choice adds for every channel of the neck.
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

    def subset(self, keep: NDArray[np.bool_]) -> "Choices":
        """The choices where `keep` holds."""
        columns = {name: getattr(self, name)[keep] for name in _COLUMNS}
        return Choices(**columns)


_COLUMNS = ("inputs", "widths", "depths", "flops", "laterals")


def sorted_choices(**columns: Ints) -> Choices:
    """Choices in any order, sorted by input, then width, then depth."""
    order = np.lexsort((columns["depths"], columns["widths"], columns["inputs"]))
    return Choices(**{name: np.asarray(columns[name])[order] for name in _COLUMNS})


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Partial candidates: `widths` (N,), `flops` (N,), `laterals` (N,), `meetings` (N,).

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
        """The rows of an index, a mask or a slice."""
        return Rows(
            widths=self.widths[rows],
            flops=self.flops[rows],
            laterals=self.laterals[rows],
            meetings=self.meetings[rows],
            path=self.path[rows],
        )


def start_rows(widths: Ints, flops: Ints | int = 0) -> Rows:
    """Rows that have taken no step."""
    zeros = np.zeros(len(widths), dtype=np.int64)
    path = widths[:, None].astype(np.int16)
    return Rows(widths=widths, flops=zeros + flops, laterals=zeros, meetings=widths, path=path)


def fan_out(rows: Rows, choices: Choices) -> Ints:
    """How many choices each row has."""
    slots = rows.widths // WIDTH_STEP
    ends = choices.ends
    return ends[slots] - np.where(slots > 0, ends[slots - 1], 0)


def extend(rows: Rows, choices: Choices, *, with_path: bool = True) -> Rows:
    """Every row with every choice that its width allows, in order."""
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
    """`rows` cut, in order, where the running sum of `counts` passes multiples of `limit`."""
    group = np.cumsum(counts) // limit
    cuts = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(rows)]
    for begin, end in pairwise(cuts):
        if end > begin:
            yield rows.take(slice(begin, end))


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Least and greatest FLOPs of reaching a width (or of finishing from it), by slot."""

    least: Ints
    greatest: Ints


def bounds_before(starts: Rows, steps: Sequence[Choices]) -> list[Bounds]:
    """Bounds of the FLOPs up to each node of the chain; node i lies before step i."""
    bounds = [_slot_bounds(starts.widths, starts.flops, starts.flops)]
    for step in steps:
        slots, before = step.inputs // WIDTH_STEP, bounds[-1]
        least, greatest = before.least[slots] + step.flops, before.greatest[slots] + step.flops
        bounds.append(_slot_bounds(step.widths, least, greatest))
    return bounds


def bounds_after(steps: Sequence[Choices]) -> list[Bounds]:
    """Bounds of the FLOPs from each node of the chain to its end."""
    zeros = np.zeros(SLOTS, dtype=np.int64)
    bounds = [Bounds(least=zeros, greatest=zeros)]
    for step in reversed(steps):
        slots, after = step.widths // WIDTH_STEP, bounds[0]
        least, greatest = after.least[slots] + step.flops, after.greatest[slots] + step.flops
        bounds.insert(0, _slot_bounds(step.inputs, least, greatest))
    return bounds


def _slot_bounds(widths: Ints, least: Ints, greatest: Ints) -> Bounds:
    low = np.full(SLOTS, IMPOSSIBLE)
    high = np.full(SLOTS, -IMPOSSIBLE)
    np.minimum.at(low, widths // WIDTH_STEP, least)
    np.maximum.at(high, widths // WIDTH_STEP, greatest)
    low, high = np.minimum(low, IMPOSSIBLE), np.maximum(high, -IMPOSSIBLE)
    return Bounds(least=low, greatest=high)


def joined(parts: Sequence[Rows]) -> Rows:
    """The rows of all parts, in order."""
    if not parts:
        return start_rows(np.zeros(0, dtype=np.int64))
    columns = {item.name: [getattr(part, item.name) for part in parts] for item in fields(Rows)}
    return Rows(**{name: np.concatenate(arrays) for name, arrays in columns.items()})
