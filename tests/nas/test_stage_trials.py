"""Complete rungs, candidates on demand, stopped trials and limits, without Ray or training."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from fake_search import FakeSearch
from fake_trials import FakeCluster, make_architecture, make_data, set_faults

from nas.monitoring.status import read_status
from nas.running.tasks import TrialTask
from nas.search.budget import LimitReached
from nas.search.events import TrialEvent
from nas.stage import Summary
from nas.study.study import read_study
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, IncomparableError, InfeasibleError
from trials.result import Outcome, TrialResult, TrialStopped

EPOCHS = 9
# Hard AP after epochs 1, 2, 3 and 4 (and all after). Rungs are 1 and 3.
CURVES = {
    1: [0.1, 0.1, 0.1, 0.1],
    2: [0.2, 0.2, 0.2, 0.2],
    3: [0.3, 0.3, 0.3, 0.3],
    4: [0.4, 0.4, 0.9, 0.9],
    5: [0.5, 0.5, 0.5, 0.5],
    6: [0.05, 0.05, 0.05, 0.95],
}
COMPLETE = {"scheduler": "asha", "rungs": "complete"}


@dataclass
class StoppingCluster(FakeCluster):
    """Stops the candidates in `stop` after epoch 1, as a scheduler would."""

    stop: tuple[int, ...] = ()

    def _attempt(self, task: TrialTask, on_event: Any, attempt: int, is_last: bool) -> bool:
        if task.number not in self.stop:
            return super()._attempt(task, on_event, attempt, is_last)
        super()._attempt(replace(task, until=1), lambda event: None, attempt, is_last)
        for kind in ("started", "epoch", "stopped"):
            known = {} if kind == "started" else {"epoch": 1, "epochs": EPOCHS, "hard": 0.25}
            on_event(TrialEvent(kind=kind, number=task.number, **known))  # type: ignore[arg-type]
        return True


def decisions(search: FakeSearch) -> list[tuple[int, int, str]]:
    with (search.directory.stage_folder(1) / "decisions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["scheduler"] for row in rows} <= {"asha"}
    return [(int(r["candidate"]), int(r["epoch"]), r["decision"]) for r in rows]


def make_search(root: Path, data: Path) -> FakeSearch:
    return FakeSearch(root, data, asked={"epochs": EPOCHS, "retries": 0})


@pytest.fixture
def search(tmp_path: Path) -> FakeSearch:
    return make_search(tmp_path, make_data(tmp_path / "data", curves=CURVES))


def states(summary: Summary) -> dict[int, str]:
    return dict(zip(summary.table["candidate"], summary.table["state"], strict=True))


def test_complete_rungs_train_the_best_further_round_by_round(search: FakeSearch) -> None:
    summary = search.begin(6, **COMPLETE)
    # 6 to epoch 1; the best third, 4 and 5, to epoch 3; there 4 leads and is trained to the end.
    assert search.cluster.asked == [1, 2, 3, 4, 5, 6, 4, 5, 4]
    assert summary.outcomes[4] == search.directory.outcome(1, 4)
    assert isinstance(summary.outcomes[4], TrialResult)
    stopped = {n: o.epoch for n, o in summary.outcomes.items() if isinstance(o, TrialStopped)}
    assert stopped == {1: 1, 2: 1, 3: 1, 6: 1, 5: 3}
    assert list(summary.table["candidate"]) == [4, 5, 3, 2, 1, 6]
    assert decisions(search) == [
        *((4, 1, "promoted"), (5, 1, "promoted")),
        *((1, 1, "stopped"), (2, 1, "stopped"), (3, 1, "stopped"), (6, 1, "stopped")),
        *((4, 3, "promoted"), (5, 3, "stopped")),
    ]


def test_the_same_command_again_runs_nothing(search: FakeSearch) -> None:
    first = search.begin(6, **COMPLETE)
    again = search.begin(6, **COMPLETE)
    assert search.cluster.asked == []
    assert again.table.equals(first.table)


@pytest.mark.parametrize("after", [1, 8, 18, 19, 22, 24, 26, 32, 33, 38])
def test_rounds_continue_after_any_interruption(search: FakeSearch, after: int) -> None:
    events = []

    def interrupt(event: TrialEvent) -> None:
        events.append(event)
        if len(events) == after:
            raise KeyboardInterrupt

    undisturbed = make_search(search.root / "other", search.data).begin(6, **COMPLETE)
    search.options = {"subscribers": [interrupt]}
    with pytest.raises(KeyboardInterrupt):
        search.begin(6, **COMPLETE)
    search.options = {}
    summary = search.begin(6, **COMPLETE)
    kept = ["candidate", "hard", "epochs", "last_hard", "state", "reason"]
    assert summary.table[kept].equals(undisturbed.table[kept])


def test_a_larger_field_leaves_finished_candidates_as_they_are(search: FakeSearch) -> None:
    first = search.begin(3, **COMPLETE)
    assert states(first) == {3: "finished", 2: "stopped", 1: "stopped"}
    # With six, 4 and 5 lead the first rung; 3 has its result and keeps it.
    summary = search.begin(6, **COMPLETE)
    assert [n for n, state in states(summary).items() if state == "finished"] == [4, 3]


def test_a_stopped_candidate_that_now_belongs_to_the_best_continues(search: FakeSearch) -> None:
    set_faults(search.data, curves={**CURVES, 4: [0.01], 5: [0.01], 6: [0.01]})
    first = search.begin(3, **COMPLETE)
    assert states(first)[2] == "stopped"
    search.begin(6, **COMPLETE)  # two places now: 3 and 2
    assert search.cluster.asked == [4, 5, 6, 2]
    outcome = search.directory.outcome(1, 2)
    assert isinstance(outcome, TrialStopped)
    assert outcome.epoch == 3  # at the second rung 3 is better
    record = {r.candidate: r.state for r in read_study(search.directory.journal, 1)}
    assert record == {
        1: "stopped",
        2: "stopped",
        3: "finished",
        **dict.fromkeys((4, 5, 6), "stopped"),
    }


def test_a_candidate_that_fails_is_not_replaced(search: FakeSearch) -> None:
    set_faults(search.data, curves=CURVES, **{"raise": {"4": 2}})
    summary = search.begin(6, **COMPLETE)
    assert states(summary)[4] == "failed"
    assert [n for n, s in states(summary).items() if s == "finished"] == [5]


def test_complete_rungs_must_not_change(search: FakeSearch) -> None:
    search.begin(3, **COMPLETE)
    with pytest.raises(IncomparableError, match="rungs: 'complete' -> 'shared'"):
        search.begin(3, rungs="shared")
    with pytest.raises(IncomparableError, match="reduction_factor: 3 -> 2"):
        search.begin(3, reduction_factor=2)


def test_the_scheduler_may_change_where_rungs_are_shared(search: FakeSearch) -> None:
    search.begin(2)
    search.begin(3, scheduler="asha", reduction_factor=2, grace_epochs=3)
    assert search.cluster.asked == [3]
    assert search.cluster.job.records.curves == {1: {9: 0.1}, 2: {9: 0.2}, 3: {}}


def test_a_trial_interrupted_at_a_rung_is_decided_before_it_continues(search: FakeSearch) -> None:
    def interrupt(event: TrialEvent) -> None:
        if event.number == 2 and event.epoch == 1:
            raise KeyboardInterrupt

    set_faults(search.data, curves={"1": [0.9], "2": [0.1], "3": [0.5]})
    search.options = {"subscribers": [interrupt]}
    with pytest.raises(KeyboardInterrupt):
        search.begin(3, scheduler="asha")
    search.options = {}
    summary = search.begin(3, scheduler="asha")
    assert search.cluster.asked == [3]
    assert states(summary) == {1: "finished", 2: "stopped", 3: "finished"}
    assert decisions(search) == [(2, 1, "stopped")]


def test_stopped_trials_rank_below_the_finished_ones(search: FakeSearch) -> None:
    summary = search.begin(4, search.run_options(StoppingCluster(stop=(2, 3))), scheduler="asha")
    table = summary.table
    assert list(table["candidate"]) == [4, 1, 2, 3]
    assert list(table["state"]) == ["finished", "finished", "stopped", "stopped"]
    assert list(table["rank"].fillna(0)) == [1, 2, 0, 0]
    assert list(table["last_hard"].fillna(0)) == [0, 0, 0.25, 0.25]
    assert list(table["epochs"]) == [9, 9, 1, 1]
    assert table["hard"].isna().sum() == 2
    assert "after epoch 1 of 9, hard AP 0.2500 there" in table["reason"][2]


def test_stopped_trials_are_counted_and_stay(search: FakeSearch) -> None:
    search.begin(4, search.run_options(StoppingCluster(stop=(2, 3))), scheduler="asha")
    status = read_status(search.directory, 1)
    assert (status.finished, status.stopped, status.waiting) == (2, 2, 0)
    assert (status.epochs_done, status.epochs_total) == (20, 20)
    assert "2 stopped early" in status.describe()
    search.begin(4, scheduler="fifo")
    assert search.cluster.asked == []
    records = read_study(search.directory.journal, 1)
    assert [record.state for record in records] == ["finished", "stopped", "stopped", "finished"]


def choosing(limit: int = 100) -> Callable[..., Any]:
    """A strategy whose candidates encode the number of outcomes that it was given."""

    def strategy(request: Any, template: Any) -> Any:
        def ask(
            architectures: Mapping[int, Architecture], outcomes: Mapping[int, Outcome], number: int
        ) -> Architecture:
            if number > limit:
                raise InfeasibleError("all are candidates already")
            return make_architecture(10 * number + len(outcomes))

        return ask

    return strategy


def chosen(search: FakeSearch) -> list[int]:
    """What each candidate's choice had seen, by its last digit."""
    architectures = search.directory.candidates(1)
    return [architectures[n].backbone.depths[-1] % 10 for n in sorted(architectures)]


def test_a_strategy_chooses_with_all_results_so_far(search: FakeSearch) -> None:
    search.options = {"strategy": choosing()}
    summary = search.begin(4)
    assert chosen(search) == [0, 1, 2, 3]
    assert search.cluster.asked == [1, 2, 3, 4]
    assert states(summary) == dict.fromkeys((1, 2, 3, 4), "finished")
    assert [r.state for r in read_study(search.directory.journal, 1)] == ["finished"] * 4


def test_a_strategy_continues_with_the_existing_candidates_after_a_kill(search: FakeSearch) -> None:
    def interrupt(event: TrialEvent) -> None:
        if event.number == 3:
            raise InterruptedError

    search.options = {"strategy": choosing(), "subscribers": [interrupt]}
    with pytest.raises(InterruptedError):
        search.begin(5)
    before = search.directory.candidates(1)
    assert sorted(before) == [1, 2, 3]
    search.options = {"strategy": choosing()}
    search.begin(5)
    assert search.cluster.asked == [3, 4, 5]
    assert chosen(search) == [0, 1, 2, 3, 4]
    after = search.directory.candidates(1)
    assert {number: after[number] for number in before} == before


def test_a_random_search_is_continued_by_a_strategy(search: FakeSearch) -> None:
    search.begin(2)
    search.options = {"strategy": choosing()}
    search.begin(4)
    assert search.cluster.asked == [3, 4]
    assert chosen(search)[2:] == [2, 3]


def test_an_exhausted_strategy_is_logged(search: FakeSearch) -> None:
    search.options = {"strategy": choosing(limit=2)}
    summary = search.begin(4)
    assert sorted(states(summary)) == [1, 2]
    assert "no more candidates: all are candidates already" in search.display.lines


def test_strategies_need_shared_rungs(search: FakeSearch) -> None:
    with pytest.raises(ConfigError, match="chooses candidates one by one"):
        search.begin(2, strategy="tpe", **COMPLETE)


def test_a_search_ends_at_its_limit_and_can_be_continued(search: FakeSearch) -> None:
    with pytest.raises(LimitReached, match="GPU-hours"):
        search.begin(4, max_gpu_hours=1e-12)
    assert search.directory.leaderboard_file(1).is_file()
    summary = search.begin(4, max_gpu_hours=1000.0)
    assert set(states(summary).values()) == {"finished"}
