"""GPU-hours of a search and their limit."""

import json
from functools import partial
from pathlib import Path

import pytest
from fake_search import FakeSearch
from tiny import make_result

from nas import stage
from nas.search.budget import SAVE_EVERY_S, Budget, LimitReached, read_hours
from nas.search.events import TrialEvent
from trials.result import TrialFailure


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_hours(self, hours: float) -> None:
        self.now += 3600 * hours


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hours.json"


def test_the_time_of_running_trials_is_counted_times_their_devices(
    path: Path, clock: Clock
) -> None:
    budget = Budget(path, 1, 0.5, clock=clock)
    budget.started(1)
    clock.pass_hours(2)
    assert budget.hours == 1.0  # half a GPU for two hours
    budget.started(2)
    clock.pass_hours(1)
    assert budget.hours == 2.0
    budget.ended(1)
    clock.pass_hours(4)  # 2 alone
    assert budget.hours == 4.0


def test_only_time_between_start_and_end_counts_and_only_once(path: Path, clock: Clock) -> None:
    budget = Budget(path, 1, 1.0, clock=clock)
    clock.pass_hours(5)
    budget.started(1)
    budget.ended(1)
    budget.ended(2)  # never ran
    clock.pass_hours(5)
    assert budget.hours == 0.0
    budget.started(3)
    clock.pass_hours(-1)  # the clock was set back
    assert budget.hours == 0.0
    budget.ended(3)
    budget.started(4)
    clock.pass_hours(1)
    budget.started(4)  # as after a lost event
    clock.pass_hours(1)
    assert budget.hours == 2.0


@pytest.mark.parametrize(("gpus", "hours"), [(0.0, 1.0), (0.25, 0.25), (2.0, 2.0)])
def test_a_trial_without_gpus_counts_its_own_hours(
    path: Path, clock: Clock, gpus: float, hours: float
) -> None:
    budget = Budget(path, 1, gpus, clock=clock)
    budget.started(1)
    clock.pass_hours(1)
    assert budget.hours == hours


def test_the_limit_is_reached_when_the_hours_are_not_before(path: Path, clock: Clock) -> None:
    budget = Budget(path, 1, 1.0, limit=3.0, clock=clock)
    budget.started(1)
    budget.started(2)
    clock.pass_hours(1.4999)
    budget.check()
    clock.pass_hours(0.0001)
    with pytest.raises(LimitReached) as reached:
        budget.check()
    assert str(reached.value) == (
        "the limit of 3 GPU-hours is reached (3 spent); the same command with a larger "
        "--max-gpu-hours continues"
    )


def test_what_was_spent_before_a_restart_counts(path: Path, clock: Clock) -> None:
    first = Budget(path, 1, 1.0, limit=3.0, clock=clock)
    first.started(1)
    clock.pass_hours(2)
    first.close()
    clock.pass_hours(100)
    second = Budget(path, 1, 1.0, limit=3.0, clock=clock)
    assert second.hours == 2.0
    second.started(1)
    clock.pass_hours(1)
    with pytest.raises(LimitReached):
        second.check()
    Budget(path, 1, 1.0, limit=4.0, clock=clock).check()  # a larger limit continues


def test_both_stages_count_towards_the_limit(path: Path, clock: Clock) -> None:
    first = Budget(path, 1, 1.0, clock=clock)
    first.started(1)
    clock.pass_hours(2)
    first.close()
    second = Budget(path, 2, 1.0, limit=3.0, clock=clock)
    second.started(1)
    clock.pass_hours(1)
    assert second.hours == 3.0
    second.close()
    assert json.loads(path.read_text()) == {"stage1": 2.0, "stage2": 1.0}
    with pytest.raises(LimitReached):
        Budget(path, 1, 1.0, limit=3.0, clock=clock).check()


def test_a_killed_driver_loses_seconds(path: Path, clock: Clock) -> None:
    budget = Budget(path, 1, 1.0, clock=clock)
    budget.started(1)
    clock.pass_hours(1)
    budget.check()
    clock.now += SAVE_EVERY_S - 1
    budget.check()
    assert read_hours(path) == {1: 1.0}
    clock.now += 1
    budget.check()
    assert read_hours(path)[1] == pytest.approx(1 + SAVE_EVERY_S / 3600)


def test_without_a_file_the_trials_own_records_count(path: Path, clock: Clock) -> None:
    times = [make_result(0.5, duration_s=seconds) for seconds in (3600.0, 1800.0)]
    outcomes = [*times, TrialFailure(reason="killed")]
    assert Budget(path, 1, 0.5, outcomes=outcomes, clock=clock).hours == 0.75
    path.write_text('{"stage1": 1.25}')  # it counts the failed one too
    assert Budget(path, 1, 0.5, outcomes=outcomes, clock=clock).hours == 1.25


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "null", '{"x": 1}']
    + [f'{{"stage1": {value}}}' for value in ('"x"', "-1", "NaN")],
)
def test_a_damaged_file_counts_as_none(path: Path, clock: Clock, content: str) -> None:
    path.write_text(content)
    assert read_hours(path) == {}
    outcomes = [make_result(0.5, duration_s=1800.0)]
    budget = Budget(path, 1, 1.0, outcomes=outcomes, clock=clock)
    assert budget.hours == 0.5
    budget.close()
    assert read_hours(path) == {1: 0.5}


def test_a_search_stops_at_its_limit_and_a_larger_one_continues_it(
    search: FakeSearch, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_an_hour(event: TrialEvent) -> None:
        if event.kind == "epoch":
            clock.pass_hours(1)

    def hours() -> dict[int, float]:
        return read_hours(search.directory.root / "hours.json")

    monkeypatch.setattr(stage, "Budget", partial(Budget, clock=clock))
    search.options = {"subscribers": [take_an_hour]}
    search.begin(1)
    assert hours() == {1: 3.0}
    with pytest.raises(LimitReached, match=r"the limit of 4 GPU-hours is reached \(4 spent\)"):
        search.begin(max_gpu_hours=4)
    assert search.cluster.asked == [2]
    assert set(search.directory.outcomes(1)) == {1}
    assert search.directory.epochs_done(1, 2) == 1  # its first epoch is not lost
    assert hours() == {1: 4.0}
    assert search.directory.leaderboard_file(1).is_file()

    with pytest.raises(LimitReached):
        search.begin()  # the limit is that of the run before
    assert search.cluster.asked == []

    summary = search.begin(max_gpu_hours=100)
    assert search.cluster.asked == [2, 3, 4]
    assert summary.num_finished == 4
    assert hours() == {1: 4 * 3.0}
