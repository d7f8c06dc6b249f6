"""Optuna studies as the record of a search. Only this module knows Optuna's storages.

A stage is a study and a candidate is an Optuna trial, in a journal file or a database
(`nas.storage.study_storage`). The trials' folders are the source of truth: `Study.synchronize`
brings the study in line with them whenever a search starts, so that a lost, damaged or
unreachable storage loses no result.
"""

import logging
import os
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec

import optuna
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from nas.storage.study_database import database_error
from nas.storage.study_storage import StudyPlace
from nas.study.trials import (
    Entry,
    StudyRecord,
    attributes_of,
    candidate_of,
    records_of,
    state_of,
    waiting_trial,
)
from search_spaces.errors import ConfigError, first_line
from trials.result import Outcome, TrialResult

optuna.logging.set_verbosity(logging.ERROR)

P = ParamSpec("P")


def _tolerates_outage(
    write: Callable[Concatenate["Study", P], None],
) -> Callable[Concatenate["Study", P], None]:
    """Let a search go on without the study after its database has failed, with one warning."""

    @wraps(write)
    def attempt(self: "Study", /, *args: P.args, **kwargs: P.kwargs) -> None:
        if self.is_lost:
            return
        try:
            write(self, *args, **kwargs)
        except Exception as error:
            cause = database_error(error)
            if cause is None:
                raise
            self.lose(first_line(cause))

    return attempt


def _ignore(text: str) -> None:
    """Ignore a message."""


class Study:
    """One stage's study, open for writing by the process that holds the search.

    Once the database of `place` fails, nothing more is written until the next start.

    Args:
        place: location of the studies, or the path of a journal file. The file is created if
            absent; a damaged one is renamed to `NAME.damaged` and replaced.
        stage: 1, 2 or 3.
        warn: called with a message when the database fails.

    Attributes:
        is_lost: whether the database has failed.

    Raises:
        ConfigError: the database of `place` cannot be reached.
    """

    def __init__(
        self,
        place: StudyPlace | str | os.PathLike[str],
        stage: int,
        warn: Callable[[str], None] = _ignore,
    ) -> None:
        self._place, self._warn, self.is_lost = _place(place), warn, False
        self._name = self._place.study_name(stage)
        self._trial_ids: dict[int, int] = {}
        with self._place.guarded():
            self._storage = (
                self._place.database()
                if self._place.url
                else _open_for_writing(self._place.journal)
            )
            self._id = self._create()

    def lose(self, reason: str) -> None:
        """Write nothing more to the database, and warn once."""
        if self.is_lost:
            return
        self.is_lost = True
        self._warn(
            f"--storage {self._place.url}: {reason}; the search continues without its study, and "
            "the same command brings the study up to date from the trials' folders later"
        )

    @_tolerates_outage
    def synchronize(self, candidates: Mapping[int, Entry], outcomes: Mapping[int, Outcome]) -> None:
        """Make the study agree with the folders: one trial per candidate, with its outcome.

        A study that contradicts them (an outcome that no folder has, or a second trial of
        a candidate) is deleted and rebuilt.
        """
        if not self._is_consistent(candidates, outcomes):
            self._storage.delete_study(self._id)
            self._id = self._create()
        self._trial_ids = {candidate_of(trial): trial._trial_id for trial in self._trials()}
        for number in sorted(set(candidates) - set(self._trial_ids)):
            self.add(number, candidates[number])
        for trial in self._trials():
            if trial.state.is_finished():
                continue
            if outcome := outcomes.get(candidate_of(trial)):
                self.finish(candidate_of(trial), outcome)
        self.stop()  # trials of a process that is gone

    @_tolerates_outage
    def add(self, number: int, entry: Entry) -> None:
        """Add a candidate that waits to be started."""
        template = waiting_trial(number, entry)
        self._trial_ids[number] = self._storage.create_new_trial(self._id, template)

    @_tolerates_outage
    def start(self, number: int) -> None:
        """Record that a candidate's trial is running."""
        self._set_state(number, TrialState.RUNNING)

    @_tolerates_outage
    def report(self, number: int, epoch: int, hard: float) -> None:
        """Record the hard AP of an evaluated epoch of a running trial."""
        self._storage.set_trial_intermediate_value(self._trial_ids[number], epoch, hard)

    @_tolerates_outage
    def finish(self, number: int, outcome: Outcome) -> None:
        """Record that a trial has finished (its value is the hard AP), failed or was stopped."""
        for key, value in attributes_of(outcome).items():
            self._storage.set_trial_user_attr(self._trial_ids[number], key, value)
        values = [outcome.hard] if isinstance(outcome, TrialResult) else None
        self._set_state(number, state_of(outcome), values)

    @_tolerates_outage
    def wait(self, number: int) -> None:
        """Record that a running trial was paused and waits to be continued."""
        self._set_state(number, TrialState.WAITING)

    @_tolerates_outage
    def stop(self) -> None:
        """Record that no trial is running any more; those that were wait to be continued."""
        for trial in self._trials():
            if trial.state == TrialState.RUNNING:
                self._set_state(candidate_of(trial), TrialState.WAITING)

    def records(self) -> list[StudyRecord]:
        """Return all trials in the order of the candidates."""
        return records_of(self._trials())

    def _set_state(self, number: int, state: TrialState, values: list[float] | None = None) -> None:
        self._storage.set_trial_state_values(self._trial_ids[number], state, values)

    def _create(self) -> int:
        names = {study.study_name for study in self._storage.get_all_studies()}
        if self._name in names:
            return self._storage.get_study_id_from_name(self._name)
        return self._storage.create_new_study([StudyDirection.MAXIMIZE], self._name)

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._id, deepcopy=False)  # they are only read

    def _is_consistent(
        self, candidates: Mapping[int, Entry], outcomes: Mapping[int, Outcome]
    ) -> bool:
        trials = self._trials()
        numbers = [candidate_of(trial) for trial in trials]
        if len(set(numbers)) != len(numbers):
            return False
        return all(_agrees(trial, candidates, outcomes) for trial in trials)


def read_study(place: StudyPlace | str | os.PathLike[str], stage: int) -> list[StudyRecord]:
    """Return the records of a stage without writing, from any process; empty without a study.

    A journal that cannot be read counts as none: the next run of the stage rebuilds it.

    Raises:
        ConfigError: the database of `place` cannot be reached.
    """
    place = _place(place)
    if not place.exists():
        return []
    try:
        with place.guarded():
            storage = place.database() if place.url else _open_journal(place.journal)
            study_id = storage.get_study_id_from_name(place.study_name(stage))
            return records_of(storage.get_all_trials(study_id))
    except ConfigError:
        raise
    except (KeyError, ValueError):
        return []


def _place(place: StudyPlace | str | os.PathLike[str]) -> StudyPlace:
    return place if isinstance(place, StudyPlace) else StudyPlace(journal=Path(place))


def _open_journal(path: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _open_for_writing(path: Path) -> BaseStorage:
    """Open the journal after a crash, too. The caller is the only process that may write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # Optuna would wait for 30 s
    try:
        if path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            raise ValueError("the last line is incomplete")  # Optuna would append to it
        return _open_journal(path)
    except (ValueError, KeyError):
        path.replace(path.with_name(f"{path.name}.damaged"))
        return _open_journal(path)


def _agrees(
    trial: FrozenTrial, candidates: Mapping[int, Entry], outcomes: Mapping[int, Outcome]
) -> bool:
    """Return whether a trial says what its candidate's folder says, or nothing yet."""
    number = candidate_of(trial)
    known = candidates.get(number)
    if known is None or trial.user_attrs.get("hash") != known.architecture.content_hash:
        return False
    if not trial.state.is_finished():
        return True
    outcome = outcomes.get(number)
    if outcome is None or trial.state != state_of(outcome):
        return False
    return not isinstance(outcome, TrialResult) or trial.values == [outcome.hard]
