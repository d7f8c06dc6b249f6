"""What a search would have found: recorded learning curves replayed under Tune's schedulers.

The scheduler is the one of a search: Ray Tune's own object behind `nas.running.scheduler.Judge`.
Trials and Tune's controller are stand-ins on a virtual clock, so that a search takes
milliseconds and no cluster. Every epoch takes one unit of
time; of epochs that end at the same time, the one whose trial started first comes first.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nas.early_stopping.rounds import next_round
from nas.early_stopping.schedule import METRIC, TIME, Schedule
from reports.curves import Curve
from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError, DataError

# The states of `ray.tune.experiment.Trial`, whose import takes seconds.
PENDING, RUNNING, PAUSED, TERMINATED = "PENDING", "RUNNING", "PAUSED", "TERMINATED"
_CONTINUE, _PAUSE = "CONTINUE", "PAUSE"

Choose = Callable[[Mapping[int, float], Sequence[int]], int]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """The candidates of a finished search as a table.

    Attributes:
        epochs: of a complete training.
        architectures: by candidate.
        hard: hard AP by candidate and evaluated epoch, the last one always among them.
    """

    epochs: int
    architectures: Mapping[int, Architecture]
    hard: Mapping[int, Mapping[int, float]]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The candidates, ascending."""
        return tuple(sorted(self.hard))

    @property
    def total_epochs(self) -> int:
        """Epochs of training every candidate to the end."""
        return self.epochs * len(self.hard)

    @property
    def best(self) -> float:
        """The highest final hard AP of all candidates."""
        return max(map(self.final, self.hard))

    def final(self, number: int) -> float:
        """Hard AP of a candidate at the last epoch."""
        return self.hard[number][self.epochs]

    def evaluated(self) -> tuple[int, ...]:
        """The epochs at which every candidate was evaluated, ascending."""
        return tuple(sorted(set.intersection(*(set(values) for values in self.hard.values()))))

    def with_rungs(self, short: Mapping[int, "Recording"]) -> "Recording":
        """This recording with `short`'s values, by their epochs, in place of its own.

        Epoch e has the value of the shortest schedule of at least e epochs, as a trial has
        that continues from one complete schedule into a longer one.

        Raises:
            DataError: a schedule is not shorter, or lacks a candidate.
        """
        for epochs, other in short.items():
            missing = sorted(set(self.hard) - set(other.hard))
            if epochs >= self.epochs or missing:
                what = f"lacks the candidates {missing}" if missing else "is not shorter"
                raise DataError(f"the schedule of {epochs} epochs {what}")
        spliced: dict[int, dict[int, float]] = {number: {} for number in self.hard}
        start = 0
        for end in (*sorted(short), self.epochs):
            source = short.get(end, self)
            for number, values in spliced.items():
                part = source.hard[number]
                values |= {epoch: hard for epoch, hard in part.items() if start < epoch <= end}
            start = end
        return Recording(epochs=self.epochs, architectures=self.architectures, hard=spliced)


def recorded(curves: Iterable[Curve], epochs: int | None = None) -> tuple[Recording, list[int]]:
    """A recording of the curves that reach the last epoch, and the numbers of those that do not.

    Args:
        curves: in any order.
        epochs: of a complete training; None: the last epoch that any curve was evaluated at.

    Raises:
        DataError: fewer than two curves are complete, or a candidate stands twice.
    """
    by_number: dict[int, Curve] = {}
    for curve in curves:
        if curve.candidate in by_number:
            raise DataError(f"candidate {curve.candidate} has two curves")
        by_number[curve.candidate] = curve
    last = epochs or max((epoch for c in by_number.values() for epoch in c.hard), default=0)
    complete = {number: curve for number, curve in by_number.items() if last in curve.hard}
    if len(complete) < 2:
        raise DataError(
            f"a replay needs two candidates or more that were evaluated after epoch {last}, the "
            f"last one; {len(complete)} of {len(by_number)} were"
        )
    recording = Recording(
        epochs=last,
        architectures={number: curve.architecture for number, curve in complete.items()},
        hard={number: dict(curve.hard) for number, curve in complete.items()},
    )
    return recording, sorted(set(by_number) - set(complete))


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What one replayed search came to.

    Attributes:
        spent: epochs trained in all, those of stopped trials included.
        finished: (epochs spent by then, candidate) of those trained to the end, in order.
        stopped: the epoch after which the others ended.
    """

    spent: int
    finished: tuple[tuple[int, int], ...]
    stopped: Mapping[int, int]

    def best_at(self, budget: float, recording: Recording) -> float:
        """Highest final hard AP among those finished within `budget` epochs; -inf for none."""
        finals = [recording.final(number) for spent, number in self.finished if spent <= budget]
        return max(finals, default=-np.inf)

    def spent_until(self, hard: float, recording: Recording) -> float:
        """Epochs spent when a final hard AP of at least `hard` was found; inf for never."""
        return min(
            (spent for spent, n in self.finished if recording.final(n) >= hard), default=np.inf
        )


def replay(
    recording: Recording,
    scheduler: Any,
    order: Sequence[int],
    *,
    choose: Choose | None = None,
    slots: int = 1,
) -> Replay:
    """Run one search over the recorded candidates until all have ended.

    Args:
        recording: the curves.
        scheduler: a new one, as a search hands it to Tune (see `nas.running.scheduler.Judge`).
        order: the candidates as they are proposed. All of them are handed to the scheduler
            at the start, as a search with random candidates does.
        choose: names one of the candidates left (in `order`), given the final hard AP of
            those finished; asked whenever a slot would be idle otherwise.
        slots: trials that run at the same time.

    Raises:
        ConfigError: `slots` is below 1.
    """
    require_integer(slots, "slots", 1)
    controller = _Controller(recording, scheduler, slots)
    if choose is None:
        for number in order:
            controller.add(number)
        return controller.run(lambda finished: None)
    left = list(order)

    def next_candidate(finished: Mapping[int, float]) -> int | None:
        if not left:
            return None
        number = choose(finished, tuple(left))
        left.remove(number)
        return number

    return controller.run(next_candidate)


def replay_rounds(
    recording: Recording, schedule: Schedule, order: Sequence[int], *, slots: int = 1
) -> Replay:
    """One search over the recorded candidates in rounds (`nas.early_stopping.rounds`).

    Args:
        recording: the curves, with values at the schedule's rungs.
        schedule: with complete rungs.
        order: the candidates in the order in which each round trains them.
        slots: trials that run at the same time.

    Raises:
        ConfigError: `slots` is below 1.
    """
    require_integer(slots, "slots", 1)
    curves: dict[int, dict[int, float]] = {number: {} for number in order}
    reached = dict.fromkeys(order, 0)
    spent, finished = 0, []
    while (now := next_round(schedule, curves, ())).numbers:
        jobs = [(n, now.until - reached[n]) for n in order if n in set(now.numbers)]
        for number, ended in _ends(jobs, slots):
            reached[number] = now.until
            curves[number][now.until] = recording.hard[number][now.until]
            if now.until == recording.epochs:
                finished.append((spent + ended, number))
        spent += sum(length for _, length in jobs)
    stopped = {number: epoch for number, epoch in reached.items() if epoch < recording.epochs}
    return Replay(spent=spent, finished=tuple(finished), stopped=stopped)


def _ends(jobs: Sequence[tuple[int, int]], slots: int) -> list[tuple[int, int]]:
    """(number, epochs that all jobs have had by then) as jobs of some epochs end side by side."""
    waiting = list(reversed(jobs))
    running: list[list[int]] = []  # number and epochs left, in the order of their starts
    ends, spent = [], 0
    while waiting or running:
        while waiting and len(running) < slots:
            running.append(list(waiting.pop()))
        for job in running:
            spent += 1
            job[1] -= 1
            if not job[1]:
                ends.append((job[0], spent))
        running = [job for job in running if job[1]]
    return ends


@dataclass(eq=False)
class _Trial:
    """As much of `ray.tune.experiment.Trial` as its schedulers look at."""

    number: int
    status: str = PENDING
    epoch: int = 0
    last_result: dict[str, Any] = field(default_factory=dict)
    is_saving: bool = False

    @property
    def trial_id(self) -> str:
        return f"{self.number:04d}"

    @property
    def config(self) -> dict[str, int]:
        return {"number": self.number}


class _Controller:
    """As much of Tune's controller as its schedulers call, and the virtual clock."""

    def __init__(self, recording: Recording, scheduler: Any, slots: int) -> None:
        self._recording, self._scheduler, self._slots = recording, scheduler, slots
        self._trials: list[_Trial] = []
        self._running: list[tuple[int, int, _Trial]] = []  # (end of the epoch, start order)
        self._now = self._starts = self._spent = 0
        self._finished: list[tuple[int, int]] = []

    def get_trials(self) -> list[_Trial]:
        return list(self._trials)

    def get_live_trials(self) -> set[_Trial]:
        return {trial for trial in self._trials if trial.status != TERMINATED}

    def pause_trial(self, trial: _Trial, should_checkpoint: bool = True) -> None:
        trial.status = PAUSED

    def stop_trial(self, trial: _Trial) -> None:
        if trial.status == TERMINATED:
            return
        if trial.status == RUNNING:
            self._scheduler.on_trial_complete(self, trial, trial.last_result)
        else:
            self._scheduler.on_trial_remove(self, trial)
        trial.status = TERMINATED

    def add(self, number: int) -> None:
        """Hand a candidate to the scheduler."""
        trial = _Trial(number)
        self._trials.append(trial)
        self._scheduler.on_trial_add(self, trial)

    def run(self, next_candidate: Callable[[Mapping[int, float]], int | None]) -> Replay:
        """Until nothing runs and nothing can be started."""
        while self._fill(next_candidate):
            self._now, start, trial = heapq.heappop(self._running)
            decision = self._train_epoch(trial)
            if trial.status == RUNNING and decision == _CONTINUE:
                heapq.heappush(self._running, (self._now + 1, start, trial))
        ended = {number for _, number in self._finished}
        stopped = {t.number: t.epoch for t in self._trials if t.number not in ended}
        return Replay(spent=self._spent, finished=tuple(self._finished), stopped=stopped)

    def _fill(self, next_candidate: Callable[[Mapping[int, float]], int | None]) -> bool:
        """Start trials in the free slots; False if none runs then."""
        while len(self._running) < self._slots:
            trial = self._scheduler.choose_trial_to_run(self)
            if trial is None:
                # As Tune is limited: paused trials count as running where it must ask.
                if len(self.get_live_trials()) >= self._slots:
                    break
                number = next_candidate(self._finals())
                if number is None:
                    break
                self.add(number)
                continue
            trial.status = RUNNING
            if trial.epoch == self._recording.epochs:  # was paused with nothing left to train
                self.stop_trial(trial)
                continue
            self._starts += 1
            heapq.heappush(self._running, (self._now + 1, self._starts, trial))
        return bool(self._running)

    def _finals(self) -> dict[int, float]:
        return {number: self._recording.final(number) for _, number in self._finished}

    def _train_epoch(self, trial: _Trial) -> str:
        """One epoch and the scheduler's decision, in the order in which Tune does it."""
        trial.epoch += 1
        self._spent += 1
        is_last = trial.epoch == self._recording.epochs
        if is_last:  # whatever is decided now, it is trained
            self._finished.append((self._spent, trial.number))
        hard = self._recording.hard[trial.number].get(trial.epoch)
        result = {TIME: trial.epoch, METRIC: hard}
        decision = str(self._scheduler.on_trial_result(self, trial, result))
        trial.last_result = result
        if decision == _PAUSE:
            self.pause_trial(trial)
        elif decision != _CONTINUE or is_last:
            self.stop_trial(trial)
        return decision


def check_rungs(recording: Recording, rungs: Iterable[int], what: str) -> None:
    """Refuse a scheduler that decides at epochs where some candidate has no value.

    Raises:
        ConfigError: names the epochs.
    """
    missing = sorted(set(rungs) - set(recording.evaluated()))
    if missing:
        raise ConfigError(
            f"{what} decides after epochs {missing}, at which not every candidate was evaluated; "
            "record the curves of a search with --eval-every 1"
        )
