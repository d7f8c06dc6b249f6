"""Search methods compared by many replays of one recording."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.planning.methods import Method
from nas.planning.recording import Recording
from nas.planning.replay import Replay, random_order
from reports.statistics.rank_correlation import RankCorrelation, rank_correlation
from search_spaces.checks import require_integer, require_number
from search_spaces.randomness import seeded_generator

BUDGETS = (1 / 8, 1 / 4, 1 / 2, 1.0)
QUARTILES = (0.25, 0.5, 0.75)

Quartiles = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """Lower quartile, median and upper quartile over the replays of one method.

    A quartile is an observed value (the smallest that at least that share of the replays does
    not exceed), so that replays without a value count as the worst.

    Attributes:
        strategy, scheduler: names of the method.
        repeats: number of replays.
        at: hard AP found, by the share of all epochs spent; -inf: no trial was finished.
        end: hard AP found when the search ends by itself.
        spent: epochs spent by then.
        within: epochs spent until the hard AP found is within the margin of the best of all;
            inf: never.
        reached: share of the replays that came within the margin.
    """

    strategy: str
    scheduler: str
    repeats: int
    at: Mapping[float, Quartiles]
    end: Quartiles
    spent: Quartiles
    within: Quartiles
    reached: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data; infinite values become None."""
        return {
            "strategy": self.strategy,
            "scheduler": self.scheduler,
            "repeats": self.repeats,
            "hard_at": [{"share": share, **_plain(hard)} for share, hard in self.at.items()],
            "hard_at_end": _plain(self.end),
            "epochs_at_end": _plain(self.spent),
            "epochs_within_margin": _plain(self.within),
            "reached_margin": self.reached,
        }


def simulate(
    chosen: Sequence[Method],
    *,
    repeats: int = 200,
    seed: int = 0,
    budgets: Sequence[float] = BUDGETS,
    margin: float = 0.005,
    progress: Callable[[int, int], None] | None = None,
) -> list[MethodSummary]:
    """Replay every method `repeats` times; replay k of each has the same random order.

    Args:
        chosen: methods to compare.
        repeats: replays of each.
        seed: seed of the orders and of the strategies.
        budgets: shares of the epochs that training every candidate takes.
        margin: distance from the best hard AP that counts as having found it.
        progress: called with the replays done and wanted.

    Raises:
        ConfigError: a value is out of range.
    """
    require_integer(repeats, "repeats", 1)
    require_integer(seed, "the seed", 0)
    require_number(margin, "the margin", 0, 1)
    for budget in budgets:
        require_number(budget, "a budget", 0, 1)
    summaries = []
    for position, method in enumerate(chosen):
        replays = []
        for repeat in range(repeats):
            # One number for two: a strategy has one seed, and each replay needs another one.
            order = random_order(method.recording, seed, repeat)
            replays.append(method.replay(order, seed * 1_000_003 + repeat))
            if progress:
                progress(position * repeats + repeat + 1, repeats * len(chosen))
        summaries.append(_summary(method, replays, budgets, margin))
    return summaries


@dataclass(frozen=True, kw_only=True)
class RungRank:
    """Rank correlation of hard AP with the final one, after `epoch` of `schedule` epochs."""

    epoch: int
    schedule: int
    correlation: RankCorrelation

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {"epoch": self.epoch, "schedule": self.schedule, **asdict(self.correlation)}


def rung_ranks(
    recording: Recording, seed: int = 0, lengths: Sequence[int] | None = None
) -> list[RungRank]:
    """Return Kendall's tau of hard AP after some epochs with that after the last one.

    Args:
        recording: the curves.
        seed: seed of the bootstrap.
        lengths: epochs of complete short schedules; None: every evaluated epoch of the whole
            schedule but its last.
    """
    finals = [recording.final(number) for number in recording.numbers]
    ranks = []
    for epoch in recording.evaluated()[:-1] if lengths is None else lengths:
        values = [recording.hard[number][epoch] for number in recording.numbers]
        found = rank_correlation(values, finals, seeded_generator(seed, purpose=epoch))
        schedule = recording.epochs if lengths is None else epoch
        ranks.append(RungRank(epoch=epoch, schedule=schedule, correlation=found))
    return ranks


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the observed values at the three quarters; infinite ones count like others."""
    found = np.quantile(np.asarray(values, dtype=float), QUARTILES, method="inverted_cdf")
    return float(found[0]), float(found[1]), float(found[2])


def _summary(
    method: Method, replays: Sequence[Replay], budgets: Sequence[float], margin: float
) -> MethodSummary:
    recording = method.recording
    within = [run.spent_until(recording.best - margin, recording) for run in replays]
    return MethodSummary(
        strategy=method.strategy,
        scheduler=method.scheduler,
        repeats=len(replays),
        at={
            share: quartiles(
                [run.best_at(share * recording.total_epochs, recording) for run in replays]
            )
            for share in budgets
        },
        end=quartiles([run.best_at(run.spent, recording) for run in replays]),
        spent=quartiles([run.spent for run in replays]),
        within=quartiles(within),
        reached=sum(map(math.isfinite, within)) / len(within),
    )


def _plain(values: Quartiles) -> dict[str, float | None]:
    names = ("lower", "median", "upper")
    finite = (value if math.isfinite(value) else None for value in values)
    return dict(zip(names, finite, strict=True))
