"""Tune's schedulers behind a judge, on curves made by hand; Ray itself does not run."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.tune.experiment import Trial

from nas.early_stopping.schedule import Schedule, tune_scheduler
from nas.running.scheduler import Judge

EPOCHS = 9


@dataclass(eq=False)
class TuneTrial:
    number: int
    status: str = Trial.PENDING
    is_saving: bool = False

    @property
    def trial_id(self) -> str:
        return str(self.number)

    @property
    def config(self) -> dict[str, int]:
        return {"number": self.number}


@dataclass
class Tune:
    """Tune's controller and the trials' workers, one trial at a time."""

    judge: Judge
    trials: list[TuneTrial] = field(default_factory=list)
    trained: list[tuple[int, int]] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    at: dict[int, int] = field(default_factory=dict)

    def get_trials(self) -> list[TuneTrial]:
        return self.trials

    def get_live_trials(self) -> list[TuneTrial]:
        return [trial for trial in self.trials if trial.status != Trial.TERMINATED]

    def stop_trial(self, trial: TuneTrial) -> None:
        self.judge.on_trial_remove(self, trial)
        trial.status = Trial.TERMINATED

    def has_resources_for_trial(self, trial: TuneTrial) -> bool:
        return True

    def run(self, curves: dict[int, list[float]], told: dict[int, int] | None = None) -> None:
        """Run the trials of `curves` (hard AP by epoch), each from the epoch in `told` on."""
        self.at = dict(told or {})
        for number in sorted(curves):
            self.trials.append(TuneTrial(number))
            self.judge.on_trial_add(self, self.trials[-1])
        while trial := self.judge.choose_trial_to_run(self):
            trial.status = Trial.RUNNING
            self._train(trial, curves[trial.number])

    def _train(self, trial: TuneTrial, curve: list[float]) -> None:
        start = self.at.get(trial.number, 0)
        for epoch in range(1, EPOCHS + 1):  # up to `start` it is told again, as a worker does
            if epoch > start:
                self.trained.append((trial.number, epoch))
                self.at[trial.number] = epoch
            hard = curve[min(epoch, len(curve)) - 1]
            result = {"epoch": epoch, "hard": hard}
            action = self.judge.on_trial_result(self, trial, result)
            if action == "PAUSE":
                trial.status = Trial.PAUSED
                return
            if action == "STOP":
                break
        else:
            self.finished.append(trial.number)
        self.judge.on_trial_complete(self, trial, result)
        trial.status = Trial.TERMINATED

    def stopped(self) -> dict[int, int]:
        """The epoch at which each stopped trial was stopped."""
        taken = self.judge.take_decisions()
        return {event.number: event.epoch for event in taken if event.kind == "stopped"}


def tune(scheduler: str, ended: dict[int, dict[int, float]] | None = None, **options: Any) -> Tune:
    schedule = Schedule(epochs=EPOCHS, scheduler=scheduler, **options)
    judge = Judge(
        tune_scheduler(schedule),
        epochs=EPOCHS,
        milestones=schedule.milestones,
        ended=ended or {},
    )
    return Tune(judge)


def flat(*hards: float) -> dict[int, list[float]]:
    return {number: [hard] for number, hard in enumerate(hards, start=1)}


def as_curve(hard: float, *epochs: int) -> dict[int, float]:
    return dict.fromkeys(epochs, hard)


def test_fifo_trains_all_to_the_end() -> None:
    run = tune("fifo")
    run.run(flat(0.1, 0.9, 0.5))
    assert (run.finished, run.stopped()) == ([1, 2, 3], {})


def test_asha_stops_what_is_below_the_best_third_so_far() -> None:
    run = tune("asha")  # rungs 1 and 3
    # 1 is alone, 2 is better: both go on. 3 is below the 2/3 quantile of (0.5, 0.6); 4 is best.
    run.run(flat(0.5, 0.6, 0.4, 0.7))
    assert (run.finished, run.stopped()) == ([1, 2, 4], {3: 1})


def test_asha_judges_a_trial_at_each_of_its_rungs() -> None:
    run = tune("asha")
    run.run({1: [0.5, 0.5, 0.9], 2: [0.6, 0.6, 0.6]})  # 2 leads at rung 1 and not at rung 3
    assert (run.finished, run.stopped()) == ([1], {2: 3})


def test_a_promotion_is_a_decision_too() -> None:
    run = tune("asha")
    run.run(flat(0.5))
    taken = run.judge.take_decisions()
    assert [(event.kind, event.epoch, event.hard) for event in taken] == [
        ("promoted", 1, 0.5),
        ("promoted", 3, 0.5),
    ]
    assert run.judge.take_decisions() == []


def test_asha_remembers_the_rungs_of_the_run_before() -> None:
    before = {1: as_curve(0.5, 1, 3, 9), 2: as_curve(0.6, 1, 3, 9), 4: as_curve(0.1, 1)}
    run = tune("asha", before)
    run.run({3: [0.4], 5: [0.7]})
    assert (run.finished, run.stopped()) == ([5], {3: 1})
    forgetful = tune("asha")
    forgetful.run({3: [0.4], 5: [0.7]})
    assert forgetful.finished == [3, 5]


def test_a_continued_trial_is_judged_by_what_it_tells_again() -> None:
    # It was trained to epoch 1 and the driver died before the scheduler could stop it.
    run = tune("asha", {1: as_curve(0.5, 1, 3, 9), 2: as_curve(0.6, 1, 3, 9)})
    run.run({3: [0.4]}, told={3: 1})
    assert (run.trained, run.stopped()) == ([], {3: 1})


def test_median_stops_what_is_below_the_median_of_the_running_means() -> None:
    run = tune("median", grace_epochs=2)
    run.run(flat(0.5, 0.6, 0.7, 0.55, 0.65))  # three are let through; the median of them is 0.6
    assert (run.finished, run.stopped()) == ([1, 2, 3, 5], {4: 2})


def test_median_remembers_the_curves_of_the_run_before() -> None:
    before = {n: as_curve(hard, *range(2, 10)) for n, hard in ((1, 0.5), (2, 0.6), (3, 0.7))}
    run = tune("median", before, grace_epochs=2)
    run.run({4: [0.55], 5: [0.65]})
    assert (run.finished, run.stopped()) == ([5], {4: 2})


# HyperBand with 9 epochs and factor 3: brackets of 3 trials without a rung, then 5 with one
# after epoch 3 (2 go on), then 9 with rungs after 1 and 3.
HARDS = {n: [n / 100] for n in range(1, 18)}


def test_hyperband_halves_its_brackets() -> None:
    run = tune("hyperband")
    run.run(HARDS)
    second = {4: 3, 5: 3, 6: 3}  # of 4 to 8, 7 and 8 go on
    third = {**dict.fromkeys(range(9, 15), 1), 15: 3, 16: 3}  # of 9 to 17; then of 15 to 17
    assert run.stopped() == second | third
    assert sorted(run.finished) == [1, 2, 3, 7, 8, 17]


@pytest.mark.parametrize("killed_after", [1, 5, 20, 45, 60, 70])
def test_hyperband_goes_on_where_it_was_killed(killed_after: int) -> None:
    undisturbed = tune("hyperband")
    undisturbed.run(HARDS)
    first = tune("hyperband")
    with pytest.raises(InterruptedError):
        interrupt(first, HARDS, killed_after)
    ended = {n: as_curve(n / 100, *range(1, 10)) for n in first.finished}
    ended |= {n: as_curve(n / 100, *range(1, e + 1)) for n, e in first.stopped().items()}
    second = tune("hyperband", ended)
    told = {n: e for n, e in first.at.items() if n not in ended}
    second.run({n: curve for n, curve in HARDS.items() if n not in ended}, told)
    assert sorted(first.finished + second.finished) == sorted(undisturbed.finished)
    assert len(first.trained) + len(second.trained) == len(undisturbed.trained)


def interrupt(run: Tune, curves: dict[int, list[float]], after: int) -> None:
    judged = run.judge.on_trial_result

    def until(*arguments: Any) -> str:
        if len(run.trained) == after:
            raise InterruptedError
        return judged(*arguments)

    run.judge.on_trial_result = until  # type: ignore[method-assign]
    run.run(curves)


def test_a_bracket_goes_on_when_its_last_running_trial_fails() -> None:
    run = tune("hyperband")
    train = run._train

    def failing(trial: TuneTrial, curve: list[float]) -> None:
        if trial.number == 16 and run.at.get(16, 0) >= 1:  # after the first halving
            trial.status = Trial.ERROR
            run.judge.on_trial_error(run, trial)
            return
        train(trial, curve)

    run._train = failing  # type: ignore[method-assign]
    run.run(HARDS)
    assert all(trial.status in (Trial.TERMINATED, Trial.ERROR) for trial in run.trials)
    assert 17 in run.finished
