"""The data of a report: a search as plain data, independent of how it ran and was stored."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from reports.costs import SHARES, costs
from reports.curves import Curve
from reports.leaderboard import Row, leaderboard
from reports.statistics.population import Ints
from search_spaces.errors import ConfigError
from trials.evaluation.record import EvaluationRecord, Picture
from trials.result import TrialFailure, TrialResult


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Decision of a scheduler on a trial after `epoch`: `stopped` or `promoted`."""

    candidate: int
    epoch: int
    kind: str


@dataclass(frozen=True, kw_only=True)
class CandidateData(Row):
    """One candidate of a stage: its row of the leaderboard, and more.

    Attributes:
        curve: learning curve, if there is one.
        ended: end of the trial in seconds since 1970, None if unknown.
    """

    curve: Curve | None = None
    ended: float | None = None

    @property
    def hard(self) -> float | None:
        """Hard AP of a finished candidate, None for any other."""
        return self.outcome.hard if isinstance(self.outcome, TrialResult) else None

    @property
    def mean_hard(self) -> float:
        """Mean hard AP over the seeds of a finished candidate; NaN for any other."""
        values = self.hards or (float("nan") if self.hard is None else self.hard,)
        return math.fsum(values) / len(values)

    @cached_property
    def cost(self) -> Mapping[str, Any]:
        """FLOPs, parameters and shares of compute (`reports.costs`)."""
        return costs(self.architecture)


@dataclass(frozen=True, kw_only=True)
class SamplerDraws:
    """FLOPs of raw draws of the sampler, before rejection.

    Attributes:
        flops: FLOPs of every draw, (N,).
        accepted: number of draws within the constraints.
        window: least and greatest FLOPs accepted.
    """

    flops: Ints
    accepted: int
    window: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A picture of a recorded evaluation with its image.

    Attributes:
        picture: boxes in pixels of the evaluated image.
        size: width and height of that image.
        content: the image as a file in the WEBP format, possibly smaller.
    """

    picture: Picture
    size: tuple[int, int]
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Evaluations:
    """Recorded evaluations of the best candidates of a stage.

    Attributes:
        records: by the name of the candidate, the winner first; empty if it has none.
        photos: pictures of the winner.
        note: why photos are missing, in a sentence; empty if none is.
    """

    records: Mapping[str, EvaluationRecord] = field(default_factory=dict)
    photos: tuple[Photo, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class StageData:
    """One stage of a search.

    Attributes:
        stage: 1 or 2.
        request: options of the stage, as in `search.yaml`.
        record: start time and versions of packages (`created`, `versions`).
        candidates: candidates by number.
        decisions: decisions of the scheduler, in order.
        draws: draws of a sampler that rejects, None for other samplers.
        evaluations: recorded evaluations of the best.
    """

    stage: int
    request: Mapping[str, Any]
    record: Mapping[str, Any] = field(default_factory=dict)
    candidates: tuple[CandidateData, ...]
    decisions: tuple[Decision, ...] = ()
    draws: SamplerDraws | None = None
    evaluations: Evaluations = field(default_factory=Evaluations)

    def __post_init__(self) -> None:
        numbers = [candidate.candidate for candidate in self.candidates]
        if numbers != sorted(set(numbers)):
            raise ConfigError(f"candidates must be distinct and in order, got {numbers}")

    @cached_property
    def table(self) -> pd.DataFrame:
        """Leaderboard of the candidates (see `reports.leaderboard`)."""
        return leaderboard(self.candidates)

    @property
    def finished(self) -> tuple[CandidateData, ...]:
        """Candidates with a hard AP, in the order of the leaderboard."""
        places = {number: place for place, number in enumerate(self.table["candidate"])}
        found = (candidate for candidate in self.candidates if candidate.hard is not None)
        return tuple(sorted(found, key=lambda candidate: places[candidate.candidate]))

    @property
    def failed(self) -> tuple[CandidateData, ...]:
        """Failed candidates, by number."""
        return tuple(c for c in self.candidates if isinstance(c.outcome, TrialFailure))


@dataclass(frozen=True, kw_only=True)
class SearchData:
    """A search.

    Attributes:
        name: its display name.
        stages: the started stages in order.
        location: its folder or URL, as commands take it.
        baselines: hard APs by name of published networks that were trained as its candidates.
        baseline_command: the command that trains one; empty if there is none.
    """

    name: str
    stages: tuple[StageData, ...]
    location: str = ""
    baselines: Mapping[str, float] = field(default_factory=dict)
    baseline_command: str = ""


def results_table(candidates: tuple[CandidateData, ...]) -> pd.DataFrame:
    """Return the numbers of finished candidates, a row each in the given order.

    Columns: candidate, hard, error (1 - hard), `COSTS` and latency_ms (NaN if not measured).

    Raises:
        ConfigError: a candidate is not finished.
    """
    columns = ("candidate", "hard", "error", "flops", "params", "latency_ms", *SHARES)
    return pd.DataFrame([_result(candidate) for candidate in candidates], columns=list(columns))


def _result(candidate: CandidateData) -> dict[str, Any]:
    hard = candidate.hard
    if hard is None:
        raise ConfigError(f"candidate {candidate.candidate} must be finished to have results")
    latency = candidate.latency.median_ms if candidate.latency else float("nan")
    return {
        "candidate": candidate.candidate,
        "hard": hard,
        "error": 1 - hard,
        "latency_ms": latency,
        **candidate.cost,
    }
