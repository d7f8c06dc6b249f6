"""Asynchronous successive halving: by hand, and against Ray Tune's own scheduler."""

from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import ASHAScheduler

from nas.early_stopping.asha import RungRecords, continues
from nas.early_stopping.schedule import Schedule

NINE = Schedule(epochs=9, scheduler="asha")  # rungs 1 and 3


def test_a_candidate_continues_from_the_quantile_of_the_others_up() -> None:
    curves = {1: {1: 0.2}, 2: {1: 0.5}, 3: {}, 4: {1: 0.39}, 5: {1: 0.4}, 6: {1: 0.41}}
    assert continues(NINE, {1: curves[1], 3: {}}, 1, 1)  # the first one at the rung
    for number, passes in ((4, False), (5, True), (6, True)):
        # The 2/3 quantile of 0.2 and 0.5 is 0.4.
        known = {n: curves[n] for n in (1, 2, 3, number)}
        assert continues(NINE, known, number, 1) == passes


def decided(records: RungRecords, number: int, curve: dict[int, float]) -> list[tuple[int, bool]]:
    return [(found.rung, found.continues) for found in records.record(number, curve)]


def test_a_candidate_is_decided_once_at_each_rung() -> None:
    records = RungRecords(schedule=NINE)
    assert decided(records, 1, {1: 0.5}) == [(1, True)]
    assert decided(records, 2, {1: 0.6}) == [(1, True)]
    assert decided(records, 1, {1: 0.5, 2: 0.5}) == []
    assert decided(records, 1, {1: 0.5, 3: 0.9, 9: 0.9}) == [(3, True)]
    assert decided(records, 2, {1: 0.6, 3: 0.6}) == [(3, False)]


def test_a_report_that_was_lost_is_decided_with_the_next_one() -> None:
    records = RungRecords(schedule=NINE, curves={1: {1: 0.5, 3: 0.6}})
    assert decided(records, 2, {1: 0.5, 2: 0.1, 3: 0.1}) == [(1, True), (3, False)]
    assert decided(records, 3, {1: 0.4, 2: 0.9, 3: 0.9}) == [(1, False)]


def test_decisions_of_an_earlier_run_stay() -> None:
    better = {1: {1: 0.9}, 2: {1: 0.8}}
    records = RungRecords(schedule=NINE, curves=dict(better), decided={(3, 1): True, (4, 1): False})
    assert decided(records, 3, {1: 0.1}) == []
    assert decided(records, 4, {1: 0.99}) == [(1, False)]


@pytest.mark.parametrize("digits", [6, 1])  # one digit: many equal values
@pytest.mark.parametrize(
    ("epochs", "reduction_factor", "grace_epochs"),
    [(9, 3, None), (27, 3, 1), (80, 3, None), (20, 2, 3), (100, 4, 2)],
)
def test_decisions_are_those_of_ray_tune_also_after_interruptions(
    epochs: int, reduction_factor: int, grace_epochs: int | None, digits: int
) -> None:
    schedule = Schedule(
        epochs=epochs,
        scheduler="asha",
        reduction_factor=reduction_factor,
        grace_epochs=grace_epochs,
    )
    ray = ASHAScheduler(
        time_attr="epoch",
        metric="hard",
        mode="max",
        max_t=epochs,
        grace_period=schedule.grace,
        reduction_factor=reduction_factor,
    )
    rungs = [rung for rung, _ in ray._brackets[0]._rungs]
    assert schedule.milestones == tuple(sorted(rung for rung in rungs if rung < epochs))
    rng = np.random.default_rng(epochs + digits)
    trials = {number: SimpleNamespace(trial_id=str(number)) for number in range(1, 41)}
    for trial in trials.values():
        ray.on_trial_add(None, trial)  # type: ignore[arg-type]
    records = RungRecords(schedule=schedule)
    curves: dict[int, dict[int, float]] = {number: {} for number in trials}
    running, num_stopped = list(trials), 0
    while running:
        if rng.random() < 0.1:  # a new driver has the curves and the decisions
            records = RungRecords(
                schedule=schedule, curves=dict(records.curves), decided=dict(records.decided)
            )
        number = int(rng.choice(running))
        epoch = len(curves[number]) + 1
        curves[number] = curves[number] | {epoch: round(float(rng.random()), digits)}
        result = {"epoch": epoch, "hard": curves[number][epoch]}
        theirs = ray.on_trial_result(None, trials[number], result)  # type: ignore[arg-type]
        ours = records.record(number, curves[number])
        if epoch == epochs:
            assert ours == []
            running.remove(number)
            continue
        assert [found.rung for found in ours] == [epoch] * (epoch in schedule.milestones)
        assert (theirs == "STOP") == any(not found.continues for found in ours)
        if theirs == "STOP":
            running.remove(number)
            num_stopped += 1
    assert 0 < num_stopped < len(trials)
