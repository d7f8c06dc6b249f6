"""What the executor tells becomes files, the study and the display."""

from collections.abc import Callable
from dataclasses import dataclass, field

from nas.monitoring.progress import SearchProgress, Update
from nas.running.node_requirements import Misplacements
from nas.running.remote_trial_folder import fetch_trial
from nas.search.decisions import KINDS, Decisions
from nas.search.directory import SearchDir
from nas.search.disk import stop_if_disk_full
from nas.search.events import TrialEvent
from nas.study.study import Study
from trials.result import Outcome, TrialFailure, TrialResult, TrialStopped, save_outcome

Watch = Callable[[TrialEvent], None]


def watch_nothing(event: TrialEvent) -> None:
    """Watches nothing."""


@dataclass(frozen=True)
class Recorder:
    """Hears what the executor tells of a stage (see `note`).

    Attributes:
        watch: hears of every event when it is recorded; what it raises ends the search,
            which can be continued.
    """

    directory: SearchDir
    stage: int
    study: Study
    progress: SearchProgress
    decisions: Decisions
    update: Update
    watch: Watch = watch_nothing
    misplacements: Misplacements = field(default_factory=Misplacements)

    def note(self, event: TrialEvent) -> None:
        """Record one event; what must not be lost goes first.

        Raises:
            OSError: it cannot be written, or says that a trial found no space on the disk.
            DataError: trials find no machine that has what they need.
            StoreError: see `nas.running.remote_trial_folder.fetch_trial`.
        """
        stop_if_disk_full(event)
        self.misplacements.note(event)
        fetch_trial(self.directory, self.directory.trial_folder(self.stage, event.number), event)
        outcome, text = None, ""
        if event.kind in KINDS:
            self.decisions.note(event)
        if event.kind == "started":
            self.study.start(event.number)
        elif event.kind == "epoch" and event.hard is not None:
            self.study.report(event.number, event.epoch, event.hard)
        elif event.kind == "reached":
            self.study.wait(event.number)
        elif event.kind == "retried" and event.failure:
            text = f"candidate {event.number}: {event.failure.reason}; it is tried again"
        elif event.kind in ("finished", "failed", "stopped"):
            outcome, text = self._outcome(event)
            self.study.finish(event.number, outcome)
        self.progress.note(event, outcome)
        self.update(self.progress.status(), text)
        self.watch(event)

    def _outcome(self, event: TrialEvent) -> tuple[Outcome, str]:
        """What the trial's folder says, or what the event says, which is put there."""
        result = self.directory.outcome(self.stage, event.number)
        if isinstance(result, TrialResult):
            return result, f"candidate {event.number}: hard AP {result.hard:.4f}"
        outcome = _stopped(event) if event.kind == "stopped" else _failed(event)
        save_outcome(outcome, self.directory.trial_folder(self.stage, event.number))
        if event.kind == "stopped":
            return outcome, f"candidate {event.number} stopped: {outcome.reason}"
        return outcome, f"candidate {event.number} failed: {outcome.reason}"


def _failed(event: TrialEvent) -> TrialFailure:
    return event.failure or TrialFailure(reason="it ended without a result")


def _stopped(event: TrialEvent) -> TrialStopped:
    at = "" if event.hard is None else f", hard AP {event.hard:.4f} there"
    reason = f"by the scheduler after epoch {event.epoch} of {event.epochs}{at}"
    return TrialStopped(epoch=event.epoch, epochs=event.epochs, hard=event.hard, reason=reason)
