"""Successive halving in rounds, for rungs that are complete short trainings.

All candidates are trained to the first rung; of those evaluated there the best one in
`reduction_factor` go on to the next, and so on. What is to be done next follows from the
learning curves on disk alone: a search that was interrupted, or that gets more candidates,
goes on as if it had been so from the beginning. A stopped candidate that belongs to the best
of a larger field is taken up again; whoever has gone further than its place in a larger
field would allow keeps what it has.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from nas.early_stopping.schedule import HardCurve, Schedule


@dataclass(frozen=True, kw_only=True)
class Round:
    """What is to be done next.

    Attributes:
        until: the epoch to train up to.
        numbers: candidates that have to be trained up to it; none: all is done.
        promoted, stopped: candidates by the last rung that they have been ranked at, and
            whether they go on from there.
    """

    until: int
    numbers: tuple[int, ...]
    promoted: Mapping[int, int] = field(default_factory=dict)
    stopped: Mapping[int, int] = field(default_factory=dict)


def next_round(
    schedule: Schedule, curves: Mapping[int, HardCurve], failed: Collection[int]
) -> Round:
    """The first round in which somebody has not come to its rung yet.

    Args:
        schedule: with complete rungs.
        curves: of all candidates.
        failed: candidates that cannot go on. They keep their places at the rungs they
            have passed: nobody else is promoted instead.
    """
    runners = sorted(curves)
    promoted: dict[int, int] = {}
    stopped: dict[int, int] = {}
    for rung in schedule.complete_rungs:
        behind = _behind(runners, rung, curves, failed)
        if behind:
            return Round(until=rung, numbers=behind, promoted=promoted, stopped=stopped)
        ranked = [number for number in runners if rung in curves[number]]
        ranked.sort(key=lambda number: (-curves[number][rung], number))
        num_kept = math.ceil(len(ranked) / schedule.reduction_factor)
        runners = ranked[:num_kept]
        promoted |= dict.fromkeys(runners, rung)
        stopped |= dict.fromkeys(ranked[num_kept:], rung)
        for number in stopped:
            promoted.pop(number, None)
    behind = _behind(runners, schedule.epochs, curves, failed)
    return Round(until=schedule.epochs, numbers=behind, promoted=promoted, stopped=stopped)


def _behind(
    runners: Collection[int],
    rung: int,
    curves: Mapping[int, HardCurve],
    failed: Collection[int],
) -> tuple[int, ...]:
    return tuple(sorted(n for n in runners if rung not in curves[n] and n not in failed))
