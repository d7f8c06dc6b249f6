"""Exact counting and listing of step 1's backbones whose FLOPs lie in a window.

Billions of backbones are too many to look at one by one, so the chain of stages is cut in
two where that is cheapest: the sums of one half are sorted into a table, and for every sum
of the other half the table says how many partners complete it to a total in the window.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.cost.constraints import Window
from search_spaces.spaces.backbone_chain import Chain
from search_spaces.spaces.chains import (
    SLOTS,
    WIDTH_STEP,
    Bounds,
    Choices,
    Ints,
    Rows,
    bounds_after,
    bounds_before,
    extend,
    fan_out,
    joined,
    pieces,
    start_rows,
)

PIECE = 1 << 20  # rows at a time
MAX_ROWS = 400_000_000  # of both halves; beyond this the count would take minutes
_KEY = 1 << 50  # more than any total in a window; a key is slot * _KEY + FLOPs


def count_in_window(chain: Chain, window: Window) -> int | None:
    """How many backbones have FLOPs within `window`; None if too many to count."""
    cut = _cheapest_cut(chain, window)
    if cut is None:
        return None
    table = _Table.of(cut.half(cut.left_is_table, with_path=False))
    queries = cut.half(not cut.left_is_table, with_path=False)
    return sum(
        int(np.subtract(*table.partners(_keys(rows), window)[::-1]).sum()) for rows in queries
    )


def list_in_window(chain: Chain, window: Window) -> NDArray[np.int16]:
    """The paths of all backbones within `window`, (N, 2 * steps + 1), sorted.

    A path is the first width and then width and depth of every step. Only for windows that
    `count_in_window` says hold few.
    """
    cut = _cheapest_cut(chain, window)
    if cut is None:
        raise ValueError("too many backbones to list")
    table = _Table.of(cut.half(cut.left_is_table, with_path=True))
    found = []
    for rows in cut.half(not cut.left_is_table, with_path=True):
        mine, partners = table.pairs(rows, window)
        halves = [table.rows.path[partners], rows.path[mine]]
        found.append(np.concatenate(halves if cut.left_is_table else halves[::-1], axis=1))
    paths = np.concatenate([np.zeros((0, 2 * len(chain.steps) + 1), dtype=np.int16), *found])
    return paths[np.lexsort(paths.T[::-1])]


def nearest_flops(chain: Chain, target: int) -> int:
    """The FLOPs of the backbone of the chain that is nearest to `target`."""
    least, greatest = chain.extremes()
    if not least < target < greatest:
        return least if target <= least else greatest
    reach = 1 + (target >> 20)
    nearest = None
    while nearest is None:  # ends: the window grows to contain both extremes
        nearest = _nearest_in_window(chain, (target - reach, target + reach), target)
        reach *= 4
    return nearest


def _nearest_in_window(chain: Chain, window: Window, target: int) -> int | None:
    cut = _cheapest_cut(chain, window)
    if cut is None:  # so many that some are as near as makes no difference
        return target
    table = _Table.of(cut.half(cut.left_is_table, with_path=False))
    totals = []
    for rows in cut.half(not cut.left_is_table, with_path=False):
        mine, partners = table.pairs(rows, window)
        totals.append(np.unique(rows.flops[mine] + table.rows.flops[partners]))
    found = np.concatenate([np.zeros(0, dtype=np.int64), *totals])
    return int(found[np.argmin(np.abs(found - target))]) if len(found) else None


def _keys(rows: Rows) -> Ints:
    """The width where a row meets its partners, and its FLOPs, in one sortable number."""
    return rows.meetings // WIDTH_STEP * _KEY + rows.flops


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One half of the chain sorted by key."""

    keys: Ints
    rows: Rows

    @classmethod
    def of(cls, halves: Iterator[Rows]) -> "_Table":
        rows = joined(list(halves))
        order = np.argsort(_keys(rows), kind="stable")
        rows = rows.take(order)
        return cls(keys=_keys(rows), rows=rows)

    def partners(self, keys: Ints, window: Window) -> tuple[Ints, Ints]:
        """First and one past the last row of the table that complete each of `keys`."""
        ordered = np.sort(keys)  # neighbours in memory are found much faster
        slots, flops = ordered // _KEY, ordered % _KEY
        low, high = np.maximum(window[0] - flops, 0), np.maximum(window[1] - flops, -1)
        first = np.searchsorted(self.keys, slots * _KEY + low, side="left")
        last = np.searchsorted(self.keys, slots * _KEY + high, side="right")
        return first, last

    def pairs(self, rows: Rows, window: Window) -> tuple[Ints, Ints]:
        """Every pair of one of `rows` and one of the table that is within the window."""
        order = np.argsort(_keys(rows), kind="stable")
        first, last = self.partners(_keys(rows), window)
        counts = last - first
        nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(order, counts), np.repeat(first, counts) + nth


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """A chain cut before step `node`, without the choices that no window total can use."""

    starts: Rows
    steps: tuple[Choices, ...]
    before: list[Bounds]
    after: list[Bounds]
    window: Window
    node: int
    left_is_table: bool

    def half(self, left: bool, *, with_path: bool) -> Iterator[Rows]:
        """The rows of one half in pieces; they meet the other half's in `meetings`."""
        if left:
            for rows in self._walk(self.starts, 0, self.node, left, with_path):
                yield replace(rows, meetings=rows.widths)
            return
        nodes = np.unique(self.steps[self.node].inputs)
        rows = replace(start_rows(nodes), path=np.zeros((len(nodes), 0), dtype=np.int16))
        yield from self._walk(rows, self.node, len(self.steps), left, with_path)

    def _walk(self, rows: Rows, step: int, end: int, left: bool, with_path: bool) -> Iterator[Rows]:
        if step == end:
            yield rows
            return
        for piece in pieces(rows, fan_out(rows, self.steps[step]), PIECE):
            longer = extend(piece, self.steps[step], with_path=with_path)
            longer = longer.take(self._possible(longer, step + 1, left))
            yield from self._walk(longer, step + 1, end, left, with_path)

    def _possible(self, rows: Rows, node: int, left: bool) -> NDArray[np.bool_]:
        """The rows that some completion brings into the window."""
        slots = rows.widths // WIDTH_STEP
        least = rows.flops + self.after[node].least[slots]
        greatest = rows.flops + self.after[node].greatest[slots]
        if not left:
            meetings = rows.meetings // WIDTH_STEP
            least = least + self.before[self.node].least[meetings]
            greatest = greatest + self.before[self.node].greatest[meetings]
        return (least <= self.window[1]) & (greatest >= self.window[0])


def _cheapest_cut(chain: Chain, window: Window) -> _Cut | None:
    """The chain pruned and cut where the halves have the fewest rows; None if too many."""
    before, after = bounds_before(chain.starts, chain.steps), bounds_after(chain.steps)
    steps = []
    for node, step in enumerate(chain.steps):
        inputs, outputs = step.inputs // WIDTH_STEP, step.widths // WIDTH_STEP
        least = before[node].least[inputs] + step.flops + after[node + 1].least[outputs]
        greatest = before[node].greatest[inputs] + step.flops + after[node + 1].greatest[outputs]
        steps.append(step.subset((least <= window[1]) & (greatest >= window[0])))
    sizes = [_half_sizes(chain.starts, steps, node) for node in range(1, len(steps))]
    node, (left, right) = min(enumerate(sizes, 1), key=lambda item: sum(item[1]))
    if left + right > MAX_ROWS:
        return None
    parts: dict[str, Any] = {"starts": chain.starts, "steps": tuple(steps), "window": window}
    return _Cut(**parts, before=before, after=after, node=node, left_is_table=left <= right)


def _half_sizes(starts: Rows, steps: list[Choices], node: int) -> tuple[float, float]:
    """At most how many rows the halves before and from `node` have."""
    left = _rows_after(starts.widths, steps[:node])
    return left, _rows_after(np.unique(steps[node].inputs), steps[node:])


def _rows_after(widths: Ints, steps: list[Choices]) -> float:
    """How many rows there are when rows of these widths have taken all steps."""
    rows = np.zeros(SLOTS)
    rows[widths // WIDTH_STEP] = 1
    for step in steps:
        added = np.zeros(SLOTS)
        np.add.at(added, step.widths // WIDTH_STEP, rows[step.inputs // WIDTH_STEP])
        rows = added
    return float(rows.sum())
