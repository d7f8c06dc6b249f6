"""Exact counting and listing of the backbones of stage 1 whose FLOPs are in a window.

Billions of backbones are too many to enumerate. The chain of stages is cut in two where that
is cheapest (meet in the middle): the sums of one half are sorted into a table, and for every
sum of the other half a binary search finds the partners that complete it to a total in the
window.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from search_spaces.cost.constraints import Window
from search_spaces.spaces.backbone_chain import Chain
from search_spaces.spaces.chains import (
    SLOTS,
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
from search_spaces.spaces.ranges import WIDTH_STEP

PIECE = 1 << 20  # rows at a time
MAX_ROWS = 400_000_000  # of both halves; beyond this the count would take minutes
_KEY = 1 << 50  # more than any total in a window; a key is slot * _KEY + FLOPs


def count_in_window(chain: Chain, window: Window) -> int | None:
    """Return the number of backbones with FLOPs within `window`; None if too many to count."""
    cut = _cheapest_cut(chain, window)
    if cut is None:
        return None
    table, queries = cut.halves(with_path=False)
    count = 0
    for rows in queries:
        first, last = table.partners(np.sort(_keys(rows)), window)  # faster in order of memory
        count += int((last - first).sum())
    return count


def list_in_window(chain: Chain, window: Window) -> NDArray[np.int16]:
    """Return the paths of all backbones within `window`, (N, 2 * steps + 1), sorted.

    A path is the first width and then width and depth of every step. Only for windows in
    which `count_in_window` finds few.
    """
    cut = _cheapest_cut(chain, window)
    if cut is None:
        raise ValueError("too many backbones to list")
    table, queries = cut.halves(with_path=True)
    found = [np.zeros((0, 2 * len(chain.steps) + 1), dtype=np.int16)]
    for rows in queries:
        mine, partners = table.pairs(rows, window)
        halves = [table.rows.path[partners], rows.path[mine]]
        found.append(np.concatenate(halves if cut.left_is_table else halves[::-1], axis=1))
    paths = np.concatenate(found)
    return paths[np.lexsort(paths.T[::-1])]


def nearest_flops(chain: Chain, target: int) -> int:
    """Return the FLOPs of the backbone of the chain that is nearest to `target`."""
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
    if cut is None:  # so dense that the distance to the nearest is negligible
        return target
    table, queries = cut.halves(with_path=False)
    totals = [np.zeros(0, dtype=np.int64)]
    for rows in queries:
        mine, partners = table.pairs(rows, window)
        totals.append(np.unique(rows.flops[mine] + table.rows.flops[partners]))
    found = np.concatenate(totals)
    return int(found[np.argmin(np.abs(found - target))]) if len(found) else None


def _keys(rows: Rows) -> Ints:
    """Return the width where a row meets its partners, and its FLOPs, as one sortable number."""
    return rows.meetings // WIDTH_STEP * _KEY + rows.flops


class _Table:
    """One half of the chain sorted by key."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows.take(np.argsort(_keys(rows), kind="stable"))
        self.keys = _keys(self.rows)

    def partners(self, keys: Ints, window: Window) -> tuple[Ints, Ints]:
        """Return the first and one past the last row that complete each of the sorted `keys`."""
        slots, flops = keys // _KEY, keys % _KEY
        low, high = np.maximum(window[0] - flops, 0), np.maximum(window[1] - flops, -1)
        first = np.searchsorted(self.keys, slots * _KEY + low, side="left")
        return first, np.searchsorted(self.keys, slots * _KEY + high, side="right")

    def pairs(self, rows: Rows, window: Window) -> tuple[Ints, Ints]:
        """Return every pair of one of `rows` and one of the table that is within the window."""
        keys = _keys(rows)
        order = np.argsort(keys, kind="stable")
        first, last = self.partners(keys[order], window)
        counts = last - first
        nth = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(order, counts), np.repeat(first, counts) + nth


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """A chain cut before step `node`, without the choices that no total in the window can use."""

    starts: Rows
    steps: list[Choices]
    before: list[Bounds]
    after: list[Bounds]
    window: Window
    node: int
    left_is_table: bool

    def halves(self, *, with_path: bool) -> tuple[_Table, Iterator[Rows]]:
        """Return the smaller half as a table, and the rows of the other in pieces."""
        parts = (self._left(with_path), self._right(with_path))
        table, queries = parts if self.left_is_table else parts[::-1]
        return _Table(joined(list(table))), queries

    def _left(self, with_path: bool) -> Iterator[Rows]:
        for rows in self._walk(self.starts, 0, self.node, with_path):
            yield replace(rows, meetings=rows.widths)

    def _right(self, with_path: bool) -> Iterator[Rows]:
        nodes = np.unique(self.steps[self.node].inputs)
        rows = replace(start_rows(nodes), path=np.zeros((len(nodes), 0), dtype=np.int16))
        return self._walk(rows, self.node, len(self.steps), with_path)

    def _walk(self, rows: Rows, step: int, end: int, with_path: bool) -> Iterator[Rows]:
        """Yield `rows` after the steps up to `end`, without those that cannot reach the window."""
        if step == end:
            yield rows
            return
        for piece in pieces(rows, fan_out(rows, self.steps[step]), PIECE):
            longer = extend(piece, self.steps[step], with_path=with_path)
            longer = longer.take(self._possible(longer, step + 1, left=end == self.node))
            yield from self._walk(longer, step + 1, end, with_path)

    def _possible(self, rows: Rows, node: int, *, left: bool) -> NDArray[np.bool_]:
        """Return which rows some completion brings into the window."""
        least, greatest = self.after[node].plus(rows.widths // WIDTH_STEP, rows.flops)
        if not left:
            meetings, before = rows.meetings // WIDTH_STEP, self.before[self.node]
            least, greatest = least + before.least[meetings], greatest + before.greatest[meetings]
        return (least <= self.window[1]) & (greatest >= self.window[0])


def _cheapest_cut(chain: Chain, window: Window) -> _Cut | None:
    """Return the chain pruned and cut where the halves have the fewest rows; None if too many."""
    before, after = bounds_before(chain.starts, chain.steps), bounds_after(chain.steps)
    steps = []
    for node, step in enumerate(chain.steps):
        least, greatest = before[node].plus(step.inputs // WIDTH_STEP, step.flops)
        outputs, rest = step.widths // WIDTH_STEP, after[node + 1]
        possible = least + rest.least[outputs] <= window[1]
        steps.append(step.subset(possible & (greatest + rest.greatest[outputs] >= window[0])))
    sizes = [_half_sizes(chain.starts, steps, node) for node in range(1, len(steps))]
    node, (left, right) = min(enumerate(sizes, 1), key=lambda item: sum(item[1]))
    if left + right > MAX_ROWS:
        return None
    return _Cut(
        starts=chain.starts,
        steps=steps,
        before=before,
        after=after,
        window=window,
        node=node,
        left_is_table=left <= right,
    )


def _half_sizes(starts: Rows, steps: list[Choices], node: int) -> tuple[float, float]:
    """Return upper limits of the numbers of rows of the halves before and from `node`."""
    left = _rows_after(starts.widths, steps[:node])
    return left, _rows_after(np.unique(steps[node].inputs), steps[node:])


def _rows_after(widths: Ints, steps: list[Choices]) -> float:
    """Return the number of rows that start at these widths and have taken all steps."""
    rows = np.zeros(SLOTS)
    rows[widths // WIDTH_STEP] = 1
    for step in steps:
        added = np.zeros(SLOTS)
        np.add.at(added, step.widths // WIDTH_STEP, rows[step.inputs // WIDTH_STEP])
        rows = added
    return float(rows.sum())
