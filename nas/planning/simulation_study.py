"""Strategies and schedulers against each other: many replays of one recording, in quartiles."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.planning.simulation import Recording, Replay
from reports.statistics.rank_correlation import RankCorrelation, rank_correlation
from search_spaces.checks import require_integer, require_number
from search_spaces.randomness import seeded_generator, shuffled

BUDGETS = (1 / 8, 1 / 4, 1 / 2, 1.0)
MARGIN = 0.005
QUARTILES = (0.25, 0.5, 0.75)

Quartiles = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to search.

    Attributes:
        strategy, scheduler: their names.
        play: one search over the candidates in an order, with a seed of its own.
    """

    strategy: str
    scheduler: str
    play: Callable[[Sequence[int], int], Replay]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What one contestant's replays came to, as lower quartile, median and upper quartile.

    A quartile is a value that was observed (the smallest that at least that share of the
    replays do not exceed), so that replays without a value can count as the worst.

    Attributes:
        strategy, scheduler: the contestant.
        repeats: replays.
        at: hard AP found, by the share of all epochs spent; -inf: nothing was finished.
        end: hard AP found when the search ends by itself.
        spent: epochs that it has spent then.
        within: epochs spent until the best of all is missed by no more than the margin;
            inf: never.
        reached: share of the replays that came that near.
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
        """Plain JSON data; what does not exist is None."""
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


@dataclass(frozen=True, kw_only=True)
class RungRank:
    """How the ranks after `epoch` of a schedule of `schedule` epochs agree with the final ones."""

    epoch: int
    schedule: int
    correlation: RankCorrelation

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {"epoch": self.epoch, "schedule": self.schedule, **asdict(self.correlation)}


def simulate(
    recording: Recording,
    contestants: Sequence[Contestant],
    *,
    repeats: int = 200,
    seed: int = 0,
    budgets: Sequence[float] = BUDGETS,
    margin: float = MARGIN,
    progress: Callable[[int, int], None] | None = None,
) -> list[Standing]:
    """Replay every contestant `repeats` times; replay k of each meets the same random order.

    Args:
        recording: the curves.
        contestants: to compare.
        repeats: replays of each.
        seed: of the orders and of the strategies.
        budgets: shares of the epochs that training everything takes.
        margin: how near to the best hard AP counts as having found it.
        progress: called with the replays done and wanted.

    Raises:
        ConfigError: a value breaks a rule.
    """
    require_integer(repeats, "repeats", 1)
    require_integer(seed, "the seed", 0)
    require_number(margin, "the margin", 0, 1)
    for budget in budgets:
        require_number(budget, "a budget", 0, 1)
    standings, wanted = [], repeats * len(contestants)
    for position, contestant in enumerate(contestants):
        replays = []
        for repeat in range(repeats):
            # Two numbers to one: a strategy has one seed, and each replay needs another.
            order = random_order(recording, seed, repeat)
            replays.append(contestant.play(order, seed * 1_000_003 + repeat))
            if progress:
                progress(position * repeats + repeat + 1, wanted)
        standings.append(_standing(recording, contestant, replays, budgets, margin))
    return standings


def rung_ranks(
    recording: Recording, seed: int = 0, epochs: Sequence[int] | None = None
) -> list[RungRank]:
    """Kendall's tau of hard AP after some epochs with that after the last one.

    Args:
        recording: the curves.
        seed: of the bootstrap.
        epochs: at which complete short schedules end; None: every evaluated epoch of the
            whole schedule but its last.
    """
    finals = [recording.final(number) for number in recording.numbers]
    ranks = []
    for epoch in recording.evaluated()[:-1] if epochs is None else epochs:
        values = [recording.hard[number][epoch] for number in recording.numbers]
        found = rank_correlation(values, finals, seeded_generator(seed, purpose=epoch))
        schedule = recording.epochs if epochs is None else epoch
        ranks.append(RungRank(epoch=epoch, schedule=schedule, correlation=found))
    return ranks


def random_order(recording: Recording, seed: int, repeat: int) -> tuple[int, ...]:
    """The order in which replay `repeat` meets the candidates."""
    generator = seeded_generator(seed, purpose=1000 + repeat)
    return tuple(recording.numbers[i] for i in shuffled(generator, len(recording.numbers)))


def quartiles(values: Sequence[float]) -> Quartiles:
    """Observed values at the three quarters; infinite ones count like others."""
    found = np.quantile(np.asarray(values, dtype=float), QUARTILES, method="inverted_cdf")
    return float(found[0]), float(found[1]), float(found[2])


def _standing(
    recording: Recording,
    contestant: Contestant,
    replays: Sequence[Replay],
    budgets: Sequence[float],
    margin: float,
) -> Standing:
    whole, target = recording.total_epochs, recording.best - margin
    within = [run.spent_until(target, recording) for run in replays]
    return Standing(
        strategy=contestant.strategy,
        scheduler=contestant.scheduler,
        repeats=len(replays),
        at={
            share: quartiles([run.best_at(share * whole, recording) for run in replays])
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
