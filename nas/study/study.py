"""The search's record as Optuna studies: the only file that knows Optuna's storage.

A stage is a study and a candidate an Optuna trial, in a journal file or a database
(`nas.storage.study_storage`). The trials' folders are the truth; the study is brought in line with
them whenever a search starts, so that neither a lost nor a damaged storage loses a result.
"""

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.early_stopping.schedule import HardCurve
from nas.storage.study_database import lasting
from nas.storage.study_storage import StudyPlace
from nas.study.journal import shorten
from search_spaces.architecture import BLOCKS, MAX_DEPTH, MAX_WIDTH, Architecture
from search_spaces.errors import ConfigError
from trials.result import Outcome, TrialFailure, TrialResult, TrialStopped

optuna.logging.set_verbosity(logging.ERROR)

_STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "stopped",
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A candidate that the study knows, and what is attached to it.

    Attributes:
        architecture: what is trained.
        file: the architecture's file, relative to the search directory.
        flops, params: of the architecture.
        crops: probability by crop scale, where these are searched.
        curve: hard AP by epoch, as far as it was evaluated before the study knew of it.
    """

    architecture: Architecture
    file: str
    flops: int
    params: int
    curve: HardCurve = field(default_factory=dict)
    crops: Mapping[float, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """One Optuna trial, for whoever must not know Optuna.

    Attributes:
        candidate: the candidate's number.
        state: waiting, running, finished, failed or stopped.
        hard: hard AP of a finished one, else None.
        reason: of a failed or stopped one, else empty.
        curve: hard AP by evaluated epoch.
        ended: seconds since 1970 when it finished or failed, None before.
    """

    candidate: int
    state: str
    hard: float | None
    reason: str
    curve: Mapping[int, float]
    ended: float | None = None


class Study:
    """One stage's study, open for writing by the one driver that holds the search.

    Args:
        place: of the studies; the path of a journal file stands for it. The file is created if
            absent, and repaired if its end was lost.
        stage: 1, 2 or 3.

    Raises:
        ConfigError: the database of `place` cannot be reached.
    """

    def __init__(self, place: StudyPlace | str | os.PathLike[str], stage: int) -> None:
        place = _place(place)
        if place.url:
            self._storage = lasting(place.database())
        else:
            self._storage = _open_for_writing(place.journal)
        self._name = place.study_name(stage)
        self._id = self._create()
        self._trial_ids: dict[int, int] = {}

    def synchronize(self, candidates: Mapping[int, Entry], outcomes: Mapping[int, Outcome]) -> None:
        """Make the study say what the folders say: every candidate once, outcomes in place.

        A study that contradicts them (an outcome that no folder has, or a second trial of
        a candidate) is written anew.
        """
        if not self._is_consistent(candidates, outcomes):
            self._storage.delete_study(self._id)
            self._id = self._create()
        self._trial_ids = {_candidate(trial): trial._trial_id for trial in self._trials()}
        for number in sorted(set(candidates) - set(self._trial_ids)):
            self.add(number, candidates[number])
        for trial in self._trials():
            if trial.state.is_finished():
                continue
            if outcome := outcomes.get(_candidate(trial)):
                self.finish(_candidate(trial), outcome)
        self.stop()  # trials of a driver that is gone

    def add(self, number: int, entry: Entry) -> None:
        """A new candidate, which waits to be started."""
        template = _waiting_trial(number, entry)
        self._trial_ids[number] = self._storage.create_new_trial(self._id, template)

    def start(self, number: int) -> None:
        """A candidate's trial is running."""
        self._storage.set_trial_state_values(self._trial_ids[number], TrialState.RUNNING)

    def report(self, number: int, epoch: int, hard: float) -> None:
        """An evaluated epoch of a running trial."""
        self._storage.set_trial_intermediate_value(self._trial_ids[number], epoch, hard)

    def finish(self, number: int, outcome: Outcome) -> None:
        """A trial has finished (its value is the hard AP), failed or was stopped (no value)."""
        trial_id = self._trial_ids[number]
        for key, value in _attributes(outcome).items():
            self._storage.set_trial_user_attr(trial_id, key, value)
        if isinstance(outcome, TrialResult):
            self._storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [outcome.hard])
        else:
            self._storage.set_trial_state_values(trial_id, _state_of(outcome))

    def wait(self, number: int) -> None:
        """A running trial has left its place and waits to be continued."""
        self._storage.set_trial_state_values(self._trial_ids[number], TrialState.WAITING)

    def stop(self) -> None:
        """No trial is running any more; those that were wait to be continued."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING:
                self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def records(self) -> list[StudyRecord]:
        """All trials in the order of the candidates."""
        return sorted(map(_record, self._trials()), key=lambda record: record.candidate)

    def _create(self) -> int:
        names = {study.study_name for study in self._storage.get_all_studies()}
        if self._name in names:
            return self._storage.get_study_id_from_name(self._name)
        return self._storage.create_new_study([StudyDirection.MAXIMIZE], self._name)

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._id)

    def _is_consistent(
        self, candidates: Mapping[int, Entry], outcomes: Mapping[int, Outcome]
    ) -> bool:
        trials = self._trials()
        numbers = [_candidate(trial) for trial in trials]
        if len(set(numbers)) != len(numbers):
            return False
        return all(_agrees(trial, candidates, outcomes) for trial in trials)


def read_study(place: StudyPlace | str | os.PathLike[str], stage: int) -> list[StudyRecord]:
    """The records of a stage, from any process, without writing; empty if there is no study.

    A journal that cannot be read counts as none: the next driver writes it anew.

    Raises:
        ConfigError: the database of `place` cannot be reached.
    """
    place = _place(place)
    if not place.exists():
        return []
    with place.guarded():
        return _records(place, stage)


def _records(place: StudyPlace, stage: int) -> list[StudyRecord]:
    try:
        storage = place.database() if place.url else _open_journal(place.journal)
        study_id = storage.get_study_id_from_name(place.study_name(stage))
        trials = storage.get_all_trials(study_id)
    except ConfigError:
        raise
    except (KeyError, ValueError):
        return []
    return sorted(map(_record, trials), key=lambda record: record.candidate)


def _place(place: StudyPlace | str | os.PathLike[str]) -> StudyPlace:
    return place if isinstance(place, StudyPlace) else StudyPlace(journal=Path(place))


def _open_journal(path: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _agrees(
    trial: FrozenTrial, candidates: Mapping[int, Entry], outcomes: Mapping[int, Outcome]
) -> bool:
    """Whether one trial says what its candidate's folder says, or nothing yet."""
    number = _candidate(trial)
    known = candidates.get(number)
    if known is None or trial.user_attrs.get("hash") != known.architecture.content_hash:
        return False
    if not trial.state.is_finished():
        return True
    outcome = outcomes.get(number)
    if outcome is None or trial.state != _state_of(outcome):
        return False
    return not isinstance(outcome, TrialResult) or trial.values == [outcome.hard]


def _open_for_writing(path: Path) -> BaseStorage:
    path.parent.mkdir(parents=True, exist_ok=True)
    _repair(path)
    try:
        shorten(path)
        return _open_journal(path)
    except (ValueError, KeyError):  # damaged in the middle: keep it aside, start anew
        path.replace(path.with_name(f"{path.name}.damaged"))
        return _open_journal(path)


def _repair(path: Path) -> None:
    """Cut a last line that a crash left unfinished, and drop the lock of a writer that died.

    The caller holds the search directory, so that no other writer can be alive.
    """
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        end = content.rfind(b"\n") + 1
        if end < len(content):
            file.truncate(end)


def _waiting_trial(number: int, entry: Entry) -> FrozenTrial:
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
        # Whichever version marks creating trials as experimental: it is what we need.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return create_trial(
            state=TrialState.WAITING,
            params=parameters,
            distributions=distributions,
            user_attrs=attributes,
            intermediate_values=dict(entry.curve),
        )


def parameters_of(architecture: Architecture) -> dict[str, Any]:
    """The architecture's free numbers, and its kind of block, by name."""
    return _parameters(architecture)[0]


def _parameters(architecture: Architecture) -> tuple[dict[str, Any], dict[str, Any]]:
    """The architecture's free numbers under names that a dashboard can plot."""
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


def _state_of(outcome: Outcome) -> TrialState:
    if isinstance(outcome, TrialStopped):
        return TrialState.PRUNED
    return TrialState.COMPLETE if isinstance(outcome, TrialResult) else TrialState.FAIL


def _attributes(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, TrialStopped):
        return {"reason": outcome.reason, "epochs": outcome.epoch}
    if isinstance(outcome, TrialFailure):
        return {"reason": outcome.reason, "attempts": outcome.attempts}
    names = ("easy", "medium", "hard", "epochs", "duration_s")
    return {name: getattr(outcome, name) for name in names}


def _candidate(trial: FrozenTrial) -> int:
    return int(trial.user_attrs.get("candidate", -1))


def _record(trial: FrozenTrial) -> StudyRecord:
    values = trial.values or [None]
    return StudyRecord(
        candidate=_candidate(trial),
        state=_STATES[trial.state],
        hard=values[0],
        reason=str(trial.user_attrs.get("reason", "")),
        curve=dict(trial.intermediate_values),
        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
    )
