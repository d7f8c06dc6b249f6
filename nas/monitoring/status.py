"""Status of a stage and of its trials, as displays, files and events show it."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search_spaces.errors import counted
from trials.result import Outcome, TrialResult


@dataclass(frozen=True, kw_only=True)
class TrialStatus:
    """A trial that has begun and has not ended.

    Attributes:
        name: number of the candidate; with the seed in a training with another one.
        epoch, epochs: finished epochs, and epochs of the whole trial.
        is_running: whether it is training; otherwise it was interrupted.
        loss, images_per_second: of the last finished epoch; None before the first.
        hard: hard AP of the last evaluated epoch.
        reported: when the last epoch ended, or the attempt began, in seconds since 1970.
        seconds_left: estimate at the time `reported`.
    """

    name: str
    epoch: int
    epochs: int
    is_running: bool
    loss: float | None = None
    hard: float | None = None
    images_per_second: float | None = None
    reported: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class StageStatus:
    """Status of one stage.

    Attributes:
        stage: 1, 2 or 3.
        candidates: Number of candidates, the sum of the five counts below.
        finished, stopped, failed, running, waiting: Trials by state; interrupted ones wait.
        best_hard, best_candidate: Highest hard AP so far and its candidate.
        epochs_done, epochs_total: Epochs of all trials. A failed or stopped trial has no epochs
            to come; stops in the future are not predicted.
        seconds_left: Estimate at the time `updated`; None without an epoch to estimate it from.
        active: Whether a driver is running the stage.
        begun, epochs_held: Trials that have begun and not ended, and their finished epochs.
        trials: The running ones of them; without a driver all of them, which were interrupted.
        updated: Time of this status, in seconds since 1970.
    """

    stage: int
    candidates: int
    finished: int
    stopped: int
    failed: int
    running: int
    waiting: int
    best_hard: float | None
    best_candidate: int | None
    epochs_done: int
    epochs_total: int
    seconds_left: float | None
    active: bool
    begun: int = 0
    epochs_held: int = 0
    trials: tuple[TrialStatus, ...] = ()
    updated: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @property
    def is_done(self) -> bool:
        """Whether every candidate has ended."""
        return not self.waiting + self.running

    def counts(self) -> list[str]:
        """Return the numbers of trials by state, the more important ones first."""
        named = {
            "running": self.running,
            "failed": self.failed,
            "stopped early": self.stopped,
            "waiting": self.waiting,
        }
        others = [f"{count} {name}" for name, count in named.items() if count]
        return [f"{self.finished}/{self.candidates} finished", *others]

    def best(self) -> str:
        """Return the highest hard AP and its candidate as text; empty without one."""
        if self.best_hard is None:
            return ""
        return f"best hard AP {self.best_hard:.4f} (candidate {self.best_candidate})"

    def held(self) -> str:
        """Return what an interrupted stage holds: the finished trials and the epochs of others."""
        text = f"{self.finished} of {self.candidates} finished"
        begun = f", {self.begun} begun with {counted(self.epochs_held, 'epoch')}"
        return text + begun if self.begun else text

    def left(self, now: float) -> str:
        """Return the time left as text; empty if it is unknown or nothing is left."""
        if self.seconds_left is None or self.is_done:
            return ""
        return f"{describe_seconds(max(0.0, self.seconds_left + self.updated - now))} left"

    def describe(self) -> str:
        """Return one line of text."""
        parts = [*self.counts(), self.best(), self.left(time.time())]
        return f"stage {self.stage}: {', '.join(filter(None, parts))}"


def best_of(outcomes: Mapping[int, Outcome]) -> tuple[int, float] | None:
    """Return the candidate with the highest hard AP and its AP; the lowest number among equals."""
    finished = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    if not finished:
        return None
    number = min(finished, key=lambda candidate: (-finished[candidate], candidate))
    return number, finished[number]


def describe_seconds(seconds: float) -> str:
    """Return a duration as text: `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for unit, size, limit in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds / size:.{0 if size < 3600 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} d"
