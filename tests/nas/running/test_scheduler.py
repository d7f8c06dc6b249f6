"""Tune's view of the rule for early stopping; the rule itself: tests/nas/early_stopping."""

import pickle
from types import SimpleNamespace

from nas.early_stopping.asha import RungRecords
from nas.early_stopping.schedule import Schedule
from nas.running.scheduler import RungScheduler


def report(scheduler: RungScheduler, number: int, **curve: float) -> str:
    pairs = [(int(epoch[1:]), hard) for epoch, hard in curve.items()]
    trial = SimpleNamespace(config={"number": number})
    return scheduler.on_trial_result(None, trial, {"curve": pairs})


def test_a_trial_stops_where_the_rule_says() -> None:
    schedule = Schedule(epochs=9, scheduler="asha")  # rungs 1 and 3
    scheduler = RungScheduler(RungRecords(schedule=schedule, curves={1: {1: 0.5, 3: 0.6}}))
    assert report(scheduler, 2) == "CONTINUE"
    assert report(scheduler, 2, e1=0.5) == "CONTINUE"
    assert report(scheduler, 2, e1=0.5, e3=0.4) == "STOP"
    taken = [(found.rung, found.continues) for found in scheduler.take_decisions()]
    assert taken == [(1, True), (3, False)]
    assert scheduler.take_decisions() == []


def test_tune_can_pickle_it() -> None:
    pickle.dumps(RungScheduler(RungRecords(schedule=Schedule(epochs=9, scheduler="asha"))))
