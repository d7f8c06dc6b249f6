"""What the executor tells becomes files, the study and the display."""

from dataclasses import dataclass

from nas.progress import SearchProgress, Update
from nas.search_dir import SearchDir
from nas.study import Study
from nas.tasks import TrialEvent
from trials.result import Outcome, TrialFailure, TrialResult, save_outcome


@dataclass(frozen=True)
class Recorder:
    """Hears what the executor tells of a stage (see `note`)."""

    directory: SearchDir
    stage: int
    study: Study
    progress: SearchProgress
    update: Update

    def note(self, event: TrialEvent) -> None:
        """Record one event; what must not be lost goes first."""
        outcome, text = None, ""
        if event.kind == "started":
            self.study.start(event.number)
        elif event.kind == "epoch" and event.hard is not None:
            self.study.report(event.number, event.epoch, event.hard)
        elif event.kind == "retried" and event.failure:
            text = f"candidate {event.number}: {event.failure.reason}; it is tried again"
        elif event.kind in ("finished", "failed"):
            outcome, text = self._outcome(event)
            self.study.finish(event.number, outcome)
        self.progress.note(event, outcome)
        self.update(self.progress.status(), text)

    def _outcome(self, event: TrialEvent) -> tuple[Outcome, str]:
        """What the trial's folder says, or the failure, which is put there."""
        folder = self.directory.trial_folder(self.stage, event.number)
        result = self.directory.outcome(self.stage, event.number)
        if isinstance(result, TrialResult):
            return result, f"candidate {event.number}: hard AP {result.hard:.4f}"
        failure = event.failure or TrialFailure(reason="it ended without a result")
        save_outcome(failure, folder)
        return failure, f"candidate {event.number} failed: {failure.reason}"
