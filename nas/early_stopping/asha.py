"""Asynchronous successive halving (ASHA, arXiv 1810.05934) on recorded learning curves.

A candidate is compared once at each rung, with all values recorded there so far, and is never
compared again: resuming a search from its curves and decisions repeats and changes no decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nas.early_stopping.schedule import HardCurve, Schedule


def continues(schedule: Schedule, curves: Mapping[int, HardCurve], number: int, rung: int) -> bool:
    """Return whether a candidate continues past a rung.

    It does if no other candidate has a value at the rung, or if its own is not below the
    quantile 1 - 1 / reduction_factor of the others', linearly interpolated. This is the
    arithmetic of `ray.tune.schedulers.ASHAScheduler`.

    Args:
        schedule: schedule with shared rungs.
        curves: curves of all candidates as far as they are recorded, `number` included.
        number: candidate to decide about.
        rung: epoch of the rung.
    """
    others = [curve[rung] for n, curve in curves.items() if n != number and rung in curve]
    if not others:
        return True
    cutoff = np.percentile(others, (1 - 1 / schedule.reduction_factor) * 100)
    return bool(curves[number][rung] >= cutoff)


@dataclass(frozen=True, kw_only=True)
class RungDecision:
    """Decision about a candidate with a hard AP of `hard` at `rung`."""

    number: int
    rung: int
    hard: float
    continues: bool


@dataclass(frozen=True, kw_only=True)
class RungRecords:
    """Record of a stage's curves and decisions.

    Attributes:
        schedule: schedule with shared rungs.
        curves: curve of every candidate of the stage, by number.
        decided: decisions so far, by number and rung: whether the candidate continues.
    """

    schedule: Schedule
    curves: dict[int, HardCurve] = field(default_factory=dict)
    decided: dict[tuple[int, int], bool] = field(default_factory=dict)

    def record(self, number: int, curve: HardCurve) -> list[RungDecision]:
        """Record a candidate's curve, and return and record the decisions that are due.

        A decision is due at each rung of the curve that the candidate has not been promoted at,
        in ascending order, up to the first one that stops it.
        """
        self.curves[number] = curve
        decisions = []
        for rung in self.schedule.milestones:
            key = (number, rung)
            if rung not in curve or self.decided.get(key):
                continue
            if key not in self.decided:
                self.decided[key] = continues(self.schedule, self.curves, number, rung)
            passes = self.decided[key]
            decisions.append(
                RungDecision(number=number, rung=rung, hard=curve[rung], continues=passes)
            )
            if not passes:
                break
        return decisions
