"""Ray Tune scheduler that stops trials by the rule in `nas.early_stopping.asha`."""

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from nas.early_stopping.asha import RungDecision, RungRecords

CURVE = "curve"  # key of the hard AP by epoch in a trial's reports


class RungScheduler(FIFOScheduler):
    """Starts trials in order and stops those that a rung ends.

    Every report of a trial carries its whole curve: a report that is lost with a worker is made
    up for by the next one.

    Args:
        records: curves and decisions so far; updated with each report.
    """

    def __init__(self, records: RungRecords) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._records = records
        self._decisions: list[RungDecision] = []

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return STOP for a trial that ends at a rung, otherwise CONTINUE."""
        due = self._records.record(trial.config["number"], dict(result[CURVE]))
        self._decisions += due
        stops = any(not decision.continues for decision in due)
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE

    def take_decisions(self) -> list[RungDecision]:
        """Return the decisions since the last call."""
        taken, self._decisions = self._decisions, []
        return taken
