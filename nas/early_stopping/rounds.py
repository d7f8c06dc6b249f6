"""Successive halving in rounds, for rungs that are complete short trainings.

All candidates are trained to the first rung; the best one in `reduction_factor` of those
evaluated there continue to the next, and so on. The next round follows from the recorded
learning curves alone, so that a search that was interrupted or got more candidates continues as
if it had begun that way. A stopped candidate that is among the best of a larger search continues;
one that was trained further than it would be in a larger search keeps its epochs.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from nas.early_stopping.schedule import HardCurve, Schedule


@dataclass(frozen=True, kw_only=True)
class Round:
    """Next trainings of a search.

    Attributes:
        until: epoch to train up to.
        numbers: candidates to train; empty when the search is done.
        promoted: last rung of the candidates that continue from it.
        stopped: last rung of the candidates that do not.
    """

    until: int
    numbers: tuple[int, ...]
    promoted: Mapping[int, int] = field(default_factory=dict)
    stopped: Mapping[int, int] = field(default_factory=dict)


def next_round(
    schedule: Schedule, curves: Mapping[int, HardCurve], failed: Collection[int]
) -> Round:
    """Return the first round in which a candidate is not trained up to its rung yet.

    Args:
        schedule: schedule with complete rungs.
        curves: curves of all candidates.
        failed: candidates that cannot continue. They keep their places at the rungs that they
            have passed: no other one is promoted instead.
    """
    active = sorted(curves)
    promoted: dict[int, int] = {}
    stopped: dict[int, int] = {}
    for rung in (*schedule.complete_rungs, schedule.epochs):
        missing = tuple(n for n in sorted(active) if rung not in curves[n] and n not in failed)
        if missing or rung == schedule.epochs:
            break
        ranked = [number for number in active if rung in curves[number]]
        ranked.sort(key=lambda number: (-curves[number][rung], number))
        num_kept = math.ceil(len(ranked) / schedule.reduction_factor)
        active = ranked[:num_kept]
        stopped |= dict.fromkeys(ranked[num_kept:], rung)
        promoted |= dict.fromkeys(active, rung)
        promoted = {number: last for number, last in promoted.items() if number not in stopped}
    return Round(until=rung, numbers=missing, promoted=promoted, stopped=stopped)
