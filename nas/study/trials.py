"""Conversion of candidates and their outcomes into Optuna trials, and back into records."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.early_stopping.schedule import HardCurve
from search_spaces.architecture import BLOCKS, MAX_DEPTH, MAX_WIDTH, Architecture
from trials.result import Outcome, TrialFailure, TrialResult, TrialStopped

_STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "stopped",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A candidate as the study records it.

    Attributes:
        architecture: the trained architecture.
        file: the architecture's file, relative to the search directory.
        flops, params: multiply-adds at 480x640 and learned numbers of the architecture.
        crops: probability by crop scale, where these are searched.
        curve: hard AP by epoch, as far as it was evaluated before the study recorded it.
    """

    architecture: Architecture
    file: str
    flops: int
    params: int
    curve: HardCurve = field(default_factory=dict)
    crops: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """One Optuna trial in plain data.

    Attributes:
        candidate: the candidate's number.
        state: waiting, running, finished, failed or stopped.
        hard: hard AP of a finished trial, else None.
        reason: why a trial failed or was stopped, else empty.
        curve: hard AP by evaluated epoch.
        ended: seconds since 1970 when it finished or failed, None before.
    """

    candidate: int
    state: str
    hard: float | None
    reason: str
    curve: Mapping[int, float]
    ended: float | None = None


def waiting_trial(number: int, entry: Entry) -> FrozenTrial:
    """Return the Optuna trial of a candidate that has not started yet."""
    parameters, distributions = _parameters(entry.architecture)
    for scale, share in entry.crops.items():
        parameters[f"crop_{scale:g}"] = share
        distributions[f"crop_{scale:g}"] = FloatDistribution(0.0, 1.0)
    attributes = {
        "candidate": number,
        "hash": entry.architecture.content_hash,
        "flops": entry.flops,
        "params": entry.params,
        "file": entry.file,
    }
    with warnings.catch_warnings():
        # Some versions of Optuna mark `create_trial` as experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return create_trial(
            state=TrialState.WAITING,
            params=parameters,
            distributions=distributions,
            user_attrs=attributes,
            intermediate_values=dict(entry.curve),
        )


def parameters_of(architecture: Architecture) -> dict[str, Any]:
    """Return the architecture's free numbers and its kind of block by name."""
    return _parameters(architecture)[0]


def _parameters(architecture: Architecture) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values and distributions of the free numbers, named for a dashboard."""
    backbone, head = architecture.backbone, architecture.head
    depths = {f"depth_c{i}": depth for i, depth in enumerate(backbone.depths, start=2)}
    widths = {f"width_c{i}": width for i, width in enumerate(backbone.widths, start=2)}
    widths |= {"width_stem": backbone.stem_widths[-1], "width_neck": architecture.neck.width}
    widths |= {"width_head": head.width}
    depths |= {"convs_head": head.convs}
    parameters: dict[str, Any] = {"block": backbone.block, **widths, **depths}
    distributions: dict[str, Any] = {"block": CategoricalDistribution(BLOCKS)}
    distributions |= {name: IntDistribution(1, MAX_WIDTH) for name in widths}
    distributions |= {name: IntDistribution(1, MAX_DEPTH) for name in depths}
    return parameters, distributions


def state_of(outcome: Outcome) -> TrialState:
    """Return Optuna's state of a trial that has ended."""
    if isinstance(outcome, TrialStopped):
        return TrialState.PRUNED
    return TrialState.COMPLETE if isinstance(outcome, TrialResult) else TrialState.FAIL


def attributes_of(outcome: Outcome) -> dict[str, Any]:
    """Return the user attributes of a trial that has ended."""
    if isinstance(outcome, TrialStopped):
        return {"reason": outcome.reason, "epochs": outcome.epoch}
    if isinstance(outcome, TrialFailure):
        return {"reason": outcome.reason, "attempts": outcome.attempts}
    names = ("easy", "medium", "hard", "epochs", "duration_s")
    return {name: getattr(outcome, name) for name in names}


def candidate_of(trial: FrozenTrial) -> int:
    """Return the candidate's number; -1 if the trial is not one of ours."""
    return int(trial.user_attrs.get("candidate", -1))


def records_of(trials: Sequence[FrozenTrial]) -> list[StudyRecord]:
    """Return the records of Optuna trials in the order of the candidates."""
    return sorted(map(_record, trials), key=lambda record: record.candidate)


def _record(trial: FrozenTrial) -> StudyRecord:
    values = trial.values or [None]
    return StudyRecord(
        candidate=candidate_of(trial),
        state=_STATES[trial.state],
        hard=values[0],
        reason=str(trial.user_attrs.get("reason", "")),
        curve=dict(trial.intermediate_values),
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )
