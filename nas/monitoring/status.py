"""Status of a stage from its files alone, so that any terminal can ask for it."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nas.search.crop_search import crop_shares
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from nas.search.request import AnyRequest, RedistributionRequest
from nas.storage.driver_lock import Driver
from nas.study.study import read_study
from reports.leaderboard import Row
from reports.statistics.confirmation import confirmed
from trials.result import Outcome, TrialResult


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
        seconds_left: Estimate; None while there is nothing to estimate it from.
        active: Whether a driver is running the stage.
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

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return asdict(self)

    @property
    def done(self) -> int:
        """Part of `total` that is done."""
        return self.epochs_done

    @property
    def total(self) -> int:
        """Value at which a progress bar is full."""
        return self.epochs_total

    def describe(self) -> str:
        """Return one line of text."""
        counts = [f"{self.finished}/{self.candidates} finished", f"{self.running} running"]
        counts += [f"{self.stopped} stopped early"] if self.stopped else []
        counts += [f"{self.failed} failed"] if self.failed else []
        text = f"stage {self.stage}: {', '.join(counts)}"
        if self.best_hard is not None:
            text += f", best hard AP {self.best_hard:.4f} (candidate {self.best_candidate})"
        if self.seconds_left is not None and self.waiting + self.running:
            text += f", {describe_seconds(self.seconds_left)} left"
        return text


def best_of(outcomes: Mapping[int, Outcome]) -> tuple[int, float] | None:
    """Return the candidate with the highest hard AP and its AP; the lowest number among equals."""
    finished = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    if not finished:
        return None
    number = min(finished, key=lambda candidate: (-finished[candidate], candidate))
    return number, finished[number]


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
        running: Candidates in training.
        expected: Candidates that there will be, where not all are chosen yet.
        names_best: Whether the status names the candidate with the highest hard AP.
        total_done: Finished epochs of all candidates.
    """

    stage: int
    epochs: int
    done: dict[int, int]
    outcomes: dict[int, Outcome]
    running: set[int] = field(default_factory=set)
    expected: int = 0
    names_best: bool = True
    total_done: int = field(init=False)

    def __post_init__(self) -> None:
        self._sum_up()

    def _sum_up(self) -> None:
        self.total_done = sum(self.done.values())
        self._states: Counter[str] = Counter()
        self._epochs_cut = 0  # that trials which failed or were stopped leave out
        self._best: tuple[int, float] | None = None
        for number, outcome in self.outcomes.items():
            self._add_end(number, outcome)

    def _add_end(self, number: int, outcome: Outcome) -> None:
        self._states[outcome.state] += 1
        if not isinstance(outcome, TrialResult):
            self._epochs_cut += self.epochs - self.done.get(number, 0)
        elif self._best is None or (-outcome.hard, number) < (-self._best[1], self._best[0]):
            self._best = number, outcome.hard

    def forget(self, number: int) -> None:
        """Count a trial that had ended as waiting."""
        if self.outcomes.pop(number, None) is not None:
            self._sum_up()

    def add(self, event: TrialEvent, outcome: Outcome | None) -> None:
        """Count an event, with the outcome of a trial that has ended."""
        number = event.number
        before = self.done.get(number, 0)
        self.done[number] = max(before, event.epoch if event.is_running else 0)
        self.total_done += self.done[number] - before
        if event.is_running:
            self.running.add(number)
        elif event.leaves:
            self.running.discard(number)
        if outcome is not None:
            self.forget(number)
            self.outcomes[number] = outcome
            self._add_end(number, outcome)

    def status(self, *, pace: float | None, active: bool) -> StageStatus:
        """Return the status, with the time left at `pace` seconds an epoch of the stage."""
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
        )


def read_status(directory: SearchDir, stage: int) -> StageStatus:
    """Return the status of a stage now. Raises ConfigError if `search.yaml` is damaged."""
    request = directory.requests()[stage]
    numbers, outcomes = directory.numbers(stage), directory.outcomes(stage)
    driver = directory.driver()
    active = driver is not None and driver.stage == stage
    counts = StageCounts(
        stage=stage,
        epochs=request.epochs,
        done={number: directory.epochs_done(stage, number) for number in numbers},
        outcomes=outcomes,
        running=_running(directory, stage) - set(outcomes) if active else set(),
    )
    pace = _pace(driver, counts.total_done) if active else None
    return counts.status(pace=pace, active=active)


def stage_rows(directory: SearchDir, stage: int, *, is_over: bool = False) -> list[Row]:
    """Return the stage's candidates for a leaderboard.

    The study is not asked which trials are running if the stage's run `is_over`.
    """
    request = directory.requests().get(stage)
    outcomes = directory.outcomes(stage)
    driver = directory.driver()
    is_asked = not is_over and driver is not None and driver.stage == stage
    running = _running(directory, stage) if is_asked else set()
    rows = []
    for number, architecture in directory.candidates(stage).items():
        epochs = directory.epochs_done(stage, number)
        state = "running" if number in running else "interrupted" if epochs else "waiting"
        rows.append(
            Row(
                candidate=number,
                architecture=architecture,
                outcome=outcomes.get(number),
                state=state,
                epochs=epochs,
                select_on=request.select_on if request else "val",
                crops=_crops(request, number),
                hards=_hards(directory, stage, number, outcomes.get(number)),
            )
        )
    return rows


def _crops(request: AnyRequest | None, number: int) -> dict[float, float]:
    """Return the probability by crop scale, in the stage that searches them."""
    searched = isinstance(request, RedistributionRequest)
    return crop_shares(request.recipe_of(number)) if request and searched else {}


def confirmed_best(directory: SearchDir, stage: int) -> tuple[int, float] | None:
    """Return the candidate with the highest mean over seeds; None if none was confirmed."""
    outcomes = directory.outcomes(stage)
    hards = {n: _hards(directory, stage, n, outcome) for n, outcome in outcomes.items()}
    found = confirmed(hards)
    return next(((number, item.mean) for number, item in found.items()), None)


def _hards(
    directory: SearchDir, stage: int, number: int, outcome: Outcome | None
) -> tuple[float, ...]:
    """Return the hard APs of a finished candidate: of the search's seed, then of other seeds."""
    if not isinstance(outcome, TrialResult):
        return ()
    return (outcome.hard, *directory.hards_by_seed(stage, number).values())


def describe_seconds(seconds: float) -> str:
    """Return a duration as text: `45 s`, `12 min`, `3.5 h`, `2.1 d`."""
    for unit, size, limit in (("s", 1, 90), ("min", 60, 5400), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds / size:.{0 if size < 3600 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} d"


def _running(directory: SearchDir, stage: int) -> set[int]:
    records = read_study(directory.study_place(stage), stage)
    return {record.candidate for record in records if record.state == "running"}


def _pace(driver: Driver | None, done: int) -> float | None:
    """Return the driver's mean seconds an epoch; None before its first epoch."""
    if driver is None or done <= driver.epochs_before:
        return None
    passed_s = time.time() - driver.started  # below 0 if the clock was set back
    return passed_s / (done - driver.epochs_before) if passed_s > 0 else None
