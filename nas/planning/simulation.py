"""Search methods compared by many replays of recorded curves."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nas.planning.methods import Method, complete_rungs_method, describe_rungs, methods
from nas.planning.options import SimulationOptions
from nas.planning.recording import Recording, splice
from nas.planning.replay import Replay, random_order

BUDGETS = (1 / 8, 1 / 4, 1 / 2, 1.0)  # shares of the epochs that training every candidate takes
_SHOWN = ("repeats", "seed", "slots", "margin")
QUARTILES = {"lower": 0.25, "median": 0.5, "upper": 0.75}


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


def replay_method(method: Method, options: SimulationOptions) -> MethodSummary:
    """Replay a method and summarise what its searches find."""
    found = []
    for repeat in range(options.repeats):
        order = random_order(method.recording, options.seed, repeat)
        # One number for two: a strategy has one seed, and each replay needs another one.
        found.append(method.replay(order, options.seed * 1_000_003 + repeat, options.slots))
    return _summary(method, found, options.margin)


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
class Simulation:
    """Comparison of methods on one recording."""

    recording: Recording
    options: SimulationOptions
    summaries: Sequence[MethodSummary]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        recording = self.recording
        return {
            "candidates": len(recording.numbers),
            "epochs_each": recording.epochs,
            "epochs_of_all": recording.total_epochs,
            "best": {"candidate": recording.best_number, "hard": recording.best},
            **{name: getattr(self.options, name) for name in _SHOWN},
            "rungs": describe_rungs(recording, self.options),
            "choices": [summary.to_dict() for summary in self.summaries],
        }


def simulate(
    recording: Recording,
    short: Sequence[Recording],
    options: SimulationOptions,
    on_method: Callable[[Method], None] = lambda method: None,
) -> Simulation:
    """Compare search methods on the recording of a finished search.

    Args:
        recording: curves of the search.
        short: recordings of complete short trainings of the same candidates; if there are any,
            search with complete rungs is compared too.
        options: methods to compare, and settings of their replays.
        on_method: called with each method before its replays.

    Raises:
        ConfigError, DataError: see `nas.planning.methods` and `nas.planning.recording.splice`.
    """
    lengths = sorted(other.epochs for other in short)
    whole, spliced = splice(recording, short) if short else (recording, recording)
    chosen = methods(whole, options)
    if short:
        chosen.append(complete_rungs_method(spliced, lengths, options))
    summaries = []
    for method in chosen:
        on_method(method)
        summaries.append(replay_method(method, options))
    return Simulation(recording=whole, options=options, summaries=summaries)
