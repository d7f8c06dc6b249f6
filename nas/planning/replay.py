"""Replay of a search from recorded curves, with the rules of a real one and a virtual clock.

Every epoch takes one unit of time. Of epochs that end at the same time, the one whose trial
started first comes first.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nas.early_stopping.asha import continues
from nas.early_stopping.rounds import next_round
from nas.early_stopping.schedule import Schedule
from nas.planning.recording import Recording
from search_spaces.randomness import seeded_generator, shuffled

# Returns one of the candidates left, given the final hard AP of those that are finished.
Choose = Callable[[Mapping[int, float], Sequence[int]], int]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Result of one replayed search.

    Attributes:
        spent: epochs trained, those of stopped trials included.
        finished: (epochs spent by then, candidate) of those trained to the end, in order.
        stopped: the epoch after which the others stopped, by candidate.
    """

    spent: int
    finished: tuple[tuple[int, int], ...]
    stopped: Mapping[int, int]

    def best_at(self, budget: float, recording: Recording) -> float:
        """Return the highest final hard AP found within `budget` epochs; -inf for none."""
        finals = [recording.final(number) for spent, number in self.finished if spent <= budget]
        return max(finals, default=-np.inf)

    def spent_until(self, hard: float, recording: Recording) -> float:
        """Return the epochs spent until a final hard AP of `hard` was found; inf for never."""
        return min(
            (spent for spent, n in self.finished if recording.final(n) >= hard), default=np.inf
        )


def replay(
    recording: Recording,
    schedule: Schedule,
    order: Sequence[int],
    *,
    choose: Choose | None = None,
    slots: int = 1,
) -> Replay:
    """Replay one search until every candidate is finished or stopped.

    Args:
        recording: curves, with values at the schedule's rungs.
        schedule: rule by which trials end early.
        order: the candidates in the order in which they start.
        choose: chooses the next candidate instead, whenever a slot is free; not for complete
            rungs.
        slots: trials that run at the same time, at least 1.
    """
    search = _Search(recording, schedule)
    if schedule.is_complete:
        _replay_rounds(search, order, slots)
    else:
        _replay_asynchronous(search, order, choose, slots)
    finished = {number for _, number in search.finished}
    return Replay(
        spent=search.spent,
        finished=tuple(search.finished),
        stopped={n: epoch for n, epoch in search.trained.items() if n not in finished},
    )


def random_order(recording: Recording, seed: int, repeat: int) -> tuple[int, ...]:
    """Return the candidates in the order of replay `repeat`."""
    generator = seeded_generator(seed, purpose=1000 + repeat)
    return tuple(recording.numbers[i] for i in shuffled(generator, len(recording.numbers)))


@dataclass
class _Search:
    """State of a replayed search: epochs trained and curves up to there, by candidate."""

    recording: Recording
    schedule: Schedule
    trained: dict[int, int] = field(default_factory=dict)
    curves: dict[int, dict[int, float]] = field(default_factory=dict)
    finished: list[tuple[int, int]] = field(default_factory=list)

    @property
    def spent(self) -> int:
        return sum(self.trained.values())

    def train_epoch(self, number: int) -> int:
        """Train a candidate for one epoch; return which one it was."""
        epoch = self.trained[number] = self.trained.get(number, 0) + 1
        if epoch in self.schedule.milestones:
            self.curves.setdefault(number, {})[epoch] = self.recording.hard[number][epoch]
        if epoch == self.recording.epochs:
            self.curves.setdefault(number, {})[epoch] = self.recording.final(number)
            self.finished.append((self.spent, number))
        return epoch


def _replay_asynchronous(
    search: _Search, order: Sequence[int], choose: Choose | None, slots: int
) -> None:
    left, milestones = list(order), search.schedule.milestones

    def next_trial() -> int | None:
        if not left:
            return None
        number = left[0]
        if choose is not None:
            finals = {n: search.recording.final(n) for _, n in search.finished}
            number = choose(finals, tuple(left))
        left.remove(number)
        return number

    def train_epoch(number: int) -> bool:
        epoch = search.train_epoch(number)
        if epoch in milestones:
            return continues(search.schedule, search.curves, number, epoch)
        return epoch < search.recording.epochs

    _run_in_slots(next_trial, train_epoch, slots)


def _replay_rounds(search: _Search, order: Sequence[int], slots: int) -> None:
    search.curves.update((number, {}) for number in order)
    while (now := next_round(search.schedule, search.curves, ())).numbers:
        _replay_round(search, [n for n in order if n in now.numbers], now.until, slots)


def _replay_round(search: _Search, numbers: Sequence[int], until: int, slots: int) -> None:
    waiting = iter(numbers)
    _run_in_slots(
        lambda: next(waiting, None), lambda number: search.train_epoch(number) < until, slots
    )


def _run_in_slots(
    next_trial: Callable[[], int | None], train_epoch: Callable[[int], bool], slots: int
) -> None:
    """Train trials side by side, `slots` at a time, one epoch of each in turn.

    Args:
        next_trial: returns the trial to start, None for none.
        train_epoch: trains a trial for one epoch and returns whether it continues.
        slots: trials that run at the same time.
    """
    running: list[int] = []  # in the order of their starts

    def fill() -> None:
        while len(running) < slots and (number := next_trial()) is not None:
            running.append(number)

    fill()
    while running:
        for number in tuple(running):
            if not train_epoch(number):
                running.remove(number)
                fill()
