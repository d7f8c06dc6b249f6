"""What a report is made of: a search as plain data, whoever ran it and wherever it lies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from reports.curves import Curve
from reports.statistics.population import Ints
from search_spaces.architecture import Architecture
from search_spaces.cost.detector import PARTS, flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError
from trials.evaluation.latency import Latency
from trials.result import Outcome, TrialFailure, TrialResult


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a scheduler decided about a trial after `epoch`: `stopped` or `promoted`."""

    candidate: int
    epoch: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class CandidateData:
    """One candidate of a stage.

    Attributes:
        number: its number.
        architecture: what was trained.
        outcome: None while it is unfinished.
        curve: by epoch; empty if nothing is known.
        epochs: that were spent on it.
        ended: seconds since 1970 when its trial ended, None if that is not known.
        hards: hard APs by seed, the search's own first, as in a leaderboard's row.
        latency: None if it was not measured.
    """

    number: int
    architecture: Architecture
    outcome: Outcome | None = None
    curve: Curve | None = None
    epochs: int = 0
    ended: float | None = None
    hards: tuple[float, ...] = ()
    latency: Latency | None = None

    @property
    def hard(self) -> float | None:
        """Hard AP of a finished one."""
        return self.outcome.hard if isinstance(self.outcome, TrialResult) else None


@dataclass(frozen=True, kw_only=True)
class SamplerDraws:
    """FLOPs of raw draws of the sampler, before any was rejected.

    Attributes:
        flops: of every draw, (N,).
        accepted: how many of them the search would have kept.
        window: least and greatest FLOPs accepted.
    """

    flops: Ints
    accepted: int
    window: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class StageData:
    """One stage of a search.

    Attributes:
        stage: 1 or 2.
        request: what was asked for, as in `search.yaml`.
        record: when it was begun, and by which versions (`created`, `versions`).
        table: its leaderboard (see `reports.leaderboard`).
        candidates: in the order of their numbers.
        decisions: of the scheduler, in order.
        draws: None where nothing is drawn that could be rejected.
    """

    stage: int
    request: Mapping[str, Any]
    record: Mapping[str, Any] = field(default_factory=dict)
    table: pd.DataFrame
    candidates: tuple[CandidateData, ...]
    decisions: tuple[Decision, ...] = ()
    draws: SamplerDraws | None = None

    def __post_init__(self) -> None:
        numbers = [candidate.number for candidate in self.candidates]
        if numbers != sorted(set(numbers)):
            raise ConfigError(f"candidates must be distinct and in order, got {numbers}")

    @property
    def finished(self) -> tuple[CandidateData, ...]:
        """Those with a hard AP, in the order of the leaderboard."""
        places = {number: place for place, number in enumerate(self.table["candidate"])}
        found = [c for c in self.candidates if c.hard is not None and c.number in places]
        return tuple(sorted(found, key=lambda candidate: places[candidate.number]))

    @property
    def failed(self) -> tuple[CandidateData, ...]:
        """Those that failed, by number."""
        return tuple(c for c in self.candidates if isinstance(c.outcome, TrialFailure))


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """A search: its name for a reader, and the stages begun, in order."""

    name: str
    stages: tuple[StageData, ...]


def statistics(candidates: tuple[CandidateData, ...]) -> pd.DataFrame:
    """Numbers of finished candidates, a row each in the order given.

    Columns: candidate, hard, error (1 - hard), flops, params, latency_ms (NaN if not
    measured) and the share of each part of the network as a fraction of 1.
    """
    rows = [_statistics(candidate) for candidate in candidates]
    columns = ("candidate", "hard", "error", "flops", "params", "latency_ms", *SHARES)
    return pd.DataFrame(rows, columns=list(columns))


SHARES = tuple(f"share_{part}" for part in PARTS)


def _statistics(candidate: CandidateData) -> dict[str, Any]:
    hard = candidate.hard
    if hard is None:
        raise ConfigError(f"candidate {candidate.number} must be finished to have statistics")
    flops = flops_by_part(candidate.architecture)
    whole = total(flops)
    latency = candidate.latency.median_ms if candidate.latency else float("nan")
    return {
        "candidate": candidate.number,
        "hard": hard,
        "error": 1 - hard,
        "flops": whole,
        "params": total(params_by_part(candidate.architecture)),
        "latency_ms": latency,
        **{f"share_{part}": flops[part] / whole for part in PARTS},
    }
