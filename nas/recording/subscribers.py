"""Subscribers that record a trial's events in its folder and in the stage's study."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas.search.directory import SearchDir, outcome_in
from nas.search.events import TrialEvent
from nas.storage.object_store import StoreError
from nas.study.study import Study
from trials.result import Outcome, TrialFailure, TrialStopped, save_outcome

_STORE_FAULT = f"{StoreError.__name__}: "


@dataclass(frozen=True)
class FolderRecorder:
    """Keep the driver's copy of each trial's folder complete.

    Attributes:
        directory: Directory of the search.
        folder_of: Folder of a trial by its task's number.
    """

    directory: SearchDir
    folder_of: Callable[[int], Path]

    def __call__(self, event: TrialEvent) -> None:
        """Fetch the trial's files, and write the outcome of a trial that recorded no result.

        Raises:
            StoreError: The store does not answer the driver, or did not answer the trial, which
                then stays unfinished instead of failed.
        """
        folder, failure = self.folder_of(event.number), event.failure
        self.directory.storage.fetch(folder, later=event.is_running)
        if event.kind == "failed" and failure and failure.reason.startswith(_STORE_FAULT):
            reason = failure.reason.removeprefix(_STORE_FAULT)
            raise StoreError(f"candidate {event.number}: {reason}")
        if event.is_end:
            found = outcome_in(folder)
            if found is None or found.state != "finished":
                save_outcome(_outcome_of(event), folder)


def _outcome_of(event: TrialEvent) -> Outcome:
    if event.kind != "stopped":
        return event.failure or TrialFailure(reason="it ended without a result")
    at = "" if event.hard is None else f", hard AP {event.hard:.4f} there"
    reason = f"by the scheduler after epoch {event.epoch} of {event.epochs}{at}"
    return TrialStopped(epoch=event.epoch, epochs=event.epochs, hard=event.hard, reason=reason)


@dataclass(frozen=True)
class StudyRecorder:
    """Keep a stage's study in line with the events.

    Attributes:
        study: Study, opened for writing.
        outcome_of: Recorded outcome of a candidate.
    """

    study: Study
    outcome_of: Callable[[int], Outcome | None]

    def __call__(self, event: TrialEvent) -> None:
        """Record one event."""
        if event.kind == "started":
            self.study.start(event.number)
        elif event.kind == "epoch" and event.hard is not None:
            self.study.report(event.number, event.epoch, event.hard)
        elif event.kind == "reached":
            self.study.wait(event.number)
        elif event.is_end and (outcome := self.outcome_of(event.number)):
            self.study.finish(event.number, outcome)
