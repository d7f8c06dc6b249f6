import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_trials import ENTRY, FakeCluster, make_data, propose
from tiny import make_result

from nas import stage_trials
from nas.search.budget import (
    SAVE_EVERY_S,
    Budget,
    LimitReached,
    devices_of,
    read_hours,
    recorded_hours,
)
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from nas.stage import RunOptions, Summary, run_stage
from search_spaces.errors import ConfigError
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


def test_waiting_costs_nothing(path: Path, clock: Clock) -> None:
    budget = Budget(path, 1, 1.0, clock=clock)
    clock.pass_hours(5)
    budget.started(1)
    budget.ended(1)
    budget.ended(2)  # never ran
    clock.pass_hours(5)
    assert budget.hours == 0.0


def test_a_trial_that_is_heard_of_twice_is_counted_once(path: Path, clock: Clock) -> None:
    budget = Budget(path, 1, 1.0, clock=clock)
    budget.started(1)
    clock.pass_hours(1)
    budget.started(1)
    clock.pass_hours(1)
    assert budget.hours == 2.0


def test_a_trial_without_gpus_counts_its_own_hours() -> None:
    assert (devices_of(0.0), devices_of(0.25), devices_of(2.0)) == (1.0, 0.25, 2.0)


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


def test_a_killed_driver_forgets_seconds(path: Path, clock: Clock) -> None:
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
    outcomes = {
        1: make_result(0.5, duration_s=3600.0),
        2: make_result(0.5, duration_s=1800.0),
        3: TrialFailure(reason="killed"),
    }
    recorded = recorded_hours(outcomes, devices=0.5)
    assert recorded == 0.75
    assert Budget(path, 1, 0.5, recorded=recorded, clock=clock).hours == 0.75
    path.write_text('{"stage1": 1.25}')  # knows of the failed one too
    assert Budget(path, 1, 0.5, recorded=recorded, clock=clock).hours == 1.25


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "3",
        '{"x": 1}',
        '{"stage1": "x"}',
        '{"stage1": -1}',
        '{"stage1": NaN}',
        "null",
    ],
)
def test_a_damaged_file_counts_as_none(path: Path, clock: Clock, content: str) -> None:
    path.write_text(content)
    assert read_hours(path) == {}
    budget = Budget(path, 1, 1.0, recorded=0.5, clock=clock)
    assert budget.hours == 0.5
    budget.close()
    assert read_hours(path) == {1: 0.5}


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), True, "2"])
def test_a_limit_is_a_number_above_0(path: Path, limit: float) -> None:
    with pytest.raises(ConfigError, match="max_gpu_hours must be"):
        Budget(path, 1, 1.0, limit=limit)


def test_a_clock_that_is_set_back_takes_nothing_away(path: Path, clock: Clock) -> None:
    budget = Budget(path, 1, 1.0, clock=clock)
    budget.started(1)
    clock.pass_hours(-1)
    assert budget.hours == 0.0
    budget.ended(1)
    assert budget.hours == 0.0


class Search:
    """A search of fake trials whose every epoch takes an hour."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.directory, self.clock = SearchDir(root / "search"), clock
        self.data = make_data(root / "data")
        self.cluster = FakeCluster()

    def run(self, **options: Any) -> Summary:
        self.cluster = FakeCluster()
        run = RunOptions(
            entry=ENTRY, propose=propose, connect=self.cluster.connect, watch=self.take_an_hour
        )
        shared = {"flops": 10**9, "data": str(self.data), "epochs": 3, "image_size": 64}
        options = {"num_candidates": 4, **shared, **options}
        return run_stage(
            self.directory, 1, options, run, update=lambda *_: None, note=lambda _: None
        )

    def take_an_hour(self, event: TrialEvent) -> None:
        if event.kind == "epoch":
            self.clock.pass_hours(1)

    @property
    def hours(self) -> dict[int, float]:
        return read_hours(self.directory.root / "hours.json")


@pytest.fixture
def search(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setattr(stage_trials, "Budget", partial(Budget, clock=clock))
    return Search(tmp_path, clock)


def test_a_search_stops_at_its_limit_and_a_larger_one_continues_it(search: Search) -> None:
    with pytest.raises(LimitReached, match=r"the limit of 4 GPU-hours is reached \(4 spent\)"):
        search.run(max_gpu_hours=4)
    assert search.cluster.asked == [1, 2]
    assert set(search.directory.outcomes(1)) == {1}
    assert search.directory.epochs_done(1, 2) == 1  # it keeps what it has
    assert search.hours == {1: 4.0}
    assert search.directory.leaderboard_file(1).is_file()

    with pytest.raises(LimitReached):
        search.run()  # the limit is that of the run before
    assert search.cluster.asked == []

    summary = search.run(max_gpu_hours=100)
    assert search.cluster.asked == [2, 3, 4]
    assert summary.num_finished == 4
    assert search.hours == {1: 4 * 3.0}


def test_a_search_without_a_limit_counts_its_hours_too(search: Search) -> None:
    search.run(num_candidates=2)
    assert search.hours == {1: 6.0}
    search.run(num_candidates=3)
    assert search.hours == {1: 9.0}


def test_a_limit_of_nothing_is_refused_before_anything_is_made(search: Search) -> None:
    with pytest.raises(ConfigError, match="max_gpu_hours must be above 0"):
        search.run(max_gpu_hours=0)
    assert not search.directory.root.exists()
