"""Search methods compared by many replays of recorded curves."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.planning.methods import Choices, Method
from nas.planning.recording import Recording, splice
from nas.planning.replay import Replay, random_order
from reports.statistics.rank_correlation import RankCorrelation, rank_correlation
from search_spaces.checks import require_integer, require_number
from search_spaces.randomness import seeded_generator

BUDGETS = (1 / 8, 1 / 4, 1 / 2, 1.0)  # shares of the epochs that training every candidate takes
QUARTILES = {"lower": 0.25, "median": 0.5, "upper": 0.75}


@dataclass(frozen=True, kw_only=True)
class Replays:
    """Settings of the replays of each method.

    Attributes:
        repeats: replays of each method; replay k of each has the same random order.
        seed: seed of the orders and of the strategies.
        slots: trials that run at the same time.
        margin: distance from the best hard AP that counts as having found it.
    """

    repeats: int = 200
    seed: int = 0
    slots: int = 1
    margin: float = 0.005

    def __post_init__(self) -> None:
        require_integer(self.repeats, "repeats", 1)
        require_integer(self.seed, "the seed", 0)
        require_integer(self.slots, "slots", 1)
        require_number(self.margin, "the margin", 0, 1)


@dataclass(frozen=True, kw_only=True)
class Quartiles:
    """Observed values of many replays; infinite ones count like others.

    A quartile is the smallest observed value that at least its share of the replays does not
    exceed, so that replays without a value count as the worst.
    """

    lower: float
    median: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quartiles":
        """Return the quartiles of `values`."""
        array = np.asarray(values, dtype=float)
        found = np.quantile(array, list(QUARTILES.values()), method="inverted_cdf")
        return cls(**dict(zip(QUARTILES, map(float, found), strict=True)))

    def to_dict(self) -> dict[str, float | None]:
        """Return plain JSON data; infinite values become None."""
        return {k: value if math.isfinite(value) else None for k, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """Summary of the replays of one method.

    Attributes:
        strategy, scheduler: names of the method.
        repeats: number of replays.
        hard_at: hard AP found, by the share of all epochs spent; -inf: no trial was finished.
        hard_at_end: hard AP found when the search ends by itself.
        epochs_at_end: epochs spent by then.
        epochs_within_margin: epochs spent until the hard AP found is within the margin of the
            best of all; inf: never.
        reached_margin: share of the replays that came within the margin.
    """

    strategy: str
    scheduler: str
    repeats: int
    hard_at: Mapping[float, Quartiles]
    hard_at_end: Quartiles
    epochs_at_end: Quartiles
    epochs_within_margin: Quartiles
    reached_margin: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        quartiles = {k: v.to_dict() for k, v in vars(self).items() if isinstance(v, Quartiles)}
        hard_at = [{"share": share, **hard.to_dict()} for share, hard in self.hard_at.items()]
        return {**vars(self), "hard_at": hard_at, **quartiles}


def replay_method(method: Method, replays: Replays) -> MethodSummary:
    """Replay a method and summarise what its searches find."""
    found = []
    for repeat in range(replays.repeats):
        order = random_order(method.recording, replays.seed, repeat)
        # One number for two: a strategy has one seed, and each replay needs another one.
        found.append(method.replay(order, replays.seed * 1_000_003 + repeat, replays.slots))
    return _summary(method, found, replays.margin)


def _summary(method: Method, found: Sequence[Replay], margin: float) -> MethodSummary:
    recording = method.recording
    within = [run.spent_until(recording.best - margin, recording) for run in found]

    def hard_at(share: float) -> Quartiles:
        budget = share * recording.total_epochs
        return Quartiles.of([run.best_at(budget, recording) for run in found])

    return MethodSummary(
        strategy=method.strategy,
        scheduler=method.scheduler,
        repeats=len(found),
        hard_at={share: hard_at(share) for share in BUDGETS},
        hard_at_end=Quartiles.of([run.best_at(run.spent, recording) for run in found]),
        epochs_at_end=Quartiles.of([run.spent for run in found]),
        epochs_within_margin=Quartiles.of(within),
        reached_margin=sum(map(math.isfinite, within)) / len(within),
    )


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


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Comparison of methods on one recording."""

    recording: Recording
    replays: Replays
    summaries: Sequence[MethodSummary]
    ranks: Sequence[RungRank]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        recording = self.recording
        return {
            "candidates": len(recording.numbers),
            "epochs_each": recording.epochs,
            "epochs_of_all": recording.total_epochs,
            "best": {"candidate": recording.best_number, "hard": recording.best},
            **asdict(self.replays),
            "choices": [summary.to_dict() for summary in self.summaries],
            "rank_correlation": [rank.to_dict() for rank in self.ranks],
        }


def simulate(
    recording: Recording,
    short: Sequence[Recording],
    choices: Choices,
    replays: Replays,
    on_method: Callable[[Method], None] = lambda method: None,
) -> Simulation:
    """Compare methods on the recording of a finished search.

    Args:
        recording: curves of the search.
        short: recordings of complete short trainings of the same candidates; if there are any,
            search with complete rungs is compared too.
        choices: methods to compare.
        replays: settings of the replays.
        on_method: called with each method before its replays.

    Raises:
        ConfigError, DataError: see `Choices` and `nas.planning.recording.splice`.
    """
    lengths = sorted(other.epochs for other in short)
    whole, spliced = splice(recording, short) if short else (recording, recording)
    methods, ranks = choices.methods(whole), rung_ranks(whole, replays.seed)
    if short:
        methods.append(choices.complete_method(spliced, lengths))
        ranks += rung_ranks(spliced, replays.seed, lengths)
    summaries = []
    for method in methods:
        on_method(method)
        summaries.append(replay_method(method, replays))
    return Simulation(recording=whole, replays=replays, summaries=summaries, ranks=ranks)
