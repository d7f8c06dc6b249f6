"""Keeping a journal short: Optuna only ever adds to it, also whenever a search is continued.

A journal that has become far longer than its studies need is written anew with one line a
trial. Times, curves and attributes of the trials stay as they are.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from search_spaces.files import write_text

FEW_LINES = 2000  # that a journal may have in any case
MOST_A_TRIAL = 20  # of lines, besides one for each value of its curve

Trials = dict[str, list[FrozenTrial]]


def shorten(path: Path) -> None:
    """Write the journal anew if it is too long; nobody else may have it open.

    Raises:
        ValueError, KeyError: it is damaged.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
    if lines <= FEW_LINES:
        return
    trials = _trials(path)
    every = [trial for of_study in trials.values() for trial in of_study]
    needed = sum(MOST_A_TRIAL + len(trial.intermediate_values) for trial in every)
    if lines > FEW_LINES + needed:
        write_text(path, "".join(f"{json.dumps(log)}\n" for log in _logs(trials)))


def _trials(path: Path) -> Trials:
    """The trials of every study, by its name."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    studies = storage.get_all_studies()
    return {study.study_name: storage.get_all_trials(study._study_id) for study in studies}


def _logs(trials: Trials) -> Sequence[dict[str, Any]]:
    """What a journal holds that says no more than this."""
    lines = _Lines()
    storage = JournalStorage(lines)
    for name, of_study in trials.items():
        study = storage.create_new_study([StudyDirection.MAXIMIZE], name)
        for trial in of_study:
            storage.create_new_trial(study, trial)
    return lines.logs


class _Lines(BaseJournalBackend):
    """A journal in memory."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """What was added from that place on."""
        return self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add them, as they would be read from a file."""
        self.logs += json.loads(json.dumps(logs))
