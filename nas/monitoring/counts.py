"""Counts of a stage's trials, kept by a driver from events or read from the files."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from nas.monitoring.status import StageStatus, TrialStatus
from nas.search.events import TrialEvent
from trials.result import Outcome, TrialResult

_SHOWN = ("loss", "hard", "images_per_second")


@dataclass(kw_only=True)
class _Attempt:
    """Attempt at a trial: when it began, after how many epochs, and when it last reported."""

    began: float
    epochs_before: int
    reported: float


@dataclass(kw_only=True)
class StageCounts:
    """Trials of a stage, as counted by a running driver or read from the files.

    Sums over the candidates are kept, so that an event costs the same with 10,000 of them: change
    the attributes by the methods only.

    Attributes:
        stage: 1, 2 or 3.
        epochs: Epochs of a whole trial.
        done: Finished epochs of every candidate so far, by number.
        outcomes: Outcomes of the candidates that have ended.
        expected: Candidates that there will be, where not all are chosen yet.
        names_best: Whether the status names the candidate with the highest hard AP.
        name_of: Name of a trial in the status.
        running: Attempts in progress, by number.
        latest: Last loss, hard AP and images per second of each trial.
        begun: Candidates that have begun and have no outcome.
        total_done: Finished epochs of all candidates.
    """

    stage: int
    epochs: int
    done: dict[int, int]
    outcomes: dict[int, Outcome]
    expected: int = 0
    names_best: bool = True
    name_of: Callable[[int], str] = str
    running: dict[int, _Attempt] = field(default_factory=dict)
    latest: dict[int, dict[str, float]] = field(default_factory=dict)
    begun: set[int] = field(init=False)

    total_done: int = field(init=False)

    def __post_init__(self) -> None:
        self._sum_up()

    def _sum_up(self) -> None:
        self.total_done = sum(self.done.values())
        self.begun = {number for number, epochs in self.done.items() if epochs} - set(self.outcomes)
        self._epochs_held = self.total_done
        self._states: Counter[str] = Counter()
        self._epochs_cut = 0  # that trials which failed or were stopped leave out
        self._best: tuple[int, float] | None = None
        for number, outcome in self.outcomes.items():
            self._add_end(number, outcome)

    def _add_end(self, number: int, outcome: Outcome) -> None:
        self.begun.discard(number)
        self._epochs_held -= self.done.get(number, 0)
        self._states[outcome.state] += 1
        if not isinstance(outcome, TrialResult):
            self._epochs_cut += self.epochs - self.done.get(number, 0)
        elif self._best is None or (-outcome.hard, number) < (-self._best[1], self._best[0]):
            self._best = number, outcome.hard

    def forget(self, number: int) -> None:
        """Count a trial that had ended as waiting."""
        if self.outcomes.pop(number, None) is not None:
            self._sum_up()

    def add(self, event: TrialEvent, outcome: Outcome | None, now: float) -> None:
        """Count an event, with the outcome of a trial that has ended."""
        number = event.number
        before = self.done.setdefault(number, 0)
        if event.is_running:
            attempt = _Attempt(began=now, epochs_before=before, reported=now)
            self.running.setdefault(number, attempt).reported = now
            self.begun.add(number)
        elif event.leaves:
            self.running.pop(number, None)
        if event.kind == "epoch":
            more = max(0, event.epoch - before)
            self.done[number] += more
            self.total_done += more
            self._epochs_held += more
            self.report(number, **{**event.metrics, "hard": event.hard})
        if outcome is not None:
            self.forget(number)
            self.outcomes[number] = outcome
            self._add_end(number, outcome)

    def report(self, number: int, **values: float | None) -> None:
        """Keep those values of an epoch that a status shows; None keeps the one before."""
        given = {k: v for k in _SHOWN if (v := values.get(k)) is not None and math.isfinite(v)}
        self.latest.setdefault(number, {}).update(given)

    def status(self, *, pace: float | None, active: bool, now: float) -> StageStatus:
        """Return the status at time `now`; the stage needs `pace` seconds for an epoch."""
        candidates = max(self.expected, len(self.done))
        states, total = self._states, self.epochs * candidates - self._epochs_cut
        best = self._best if self.names_best else None
        return StageStatus(
            stage=self.stage,
            candidates=candidates,
            finished=states["finished"],
            stopped=states["stopped"],
            failed=states["failed"],
            running=len(self.running),
            waiting=candidates - len(self.outcomes) - len(self.running),
            best_hard=best[1] if best else None,
            best_candidate=best[0] if best else None,
            epochs_done=self.total_done,
            epochs_total=total,
            seconds_left=None if pace is None else max(0.0, pace * (total - self.total_done)),
            active=active,
            begun=len(self.begun),
            epochs_held=self._epochs_held,
            trials=tuple(map(self._trial, sorted(self.running if active else self.begun))),
            updated=now,
        )

    def _trial(self, number: int) -> TrialStatus:
        attempt, done = self.running.get(number), self.done.get(number, 0)
        left = None
        if attempt and done > attempt.epochs_before:
            epoch_s = (attempt.reported - attempt.began) / (done - attempt.epochs_before)
            left = max(0.0, epoch_s * (self.epochs - done))
        return TrialStatus(
            name=self.name_of(number),
            epoch=done,
            epochs=self.epochs,
            is_running=attempt is not None,
            reported=attempt.reported if attempt else None,
            seconds_left=left,
            **self.latest.get(number, {}),
        )
