"""Complete rungs, candidates on demand and stopped trials, without Ray or training."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from fake_search import FakeSearch
from fake_trials import FakeCluster, make_architecture, set_faults

from nas.monitoring.read_status import read_status
from nas.running.tasks import TrialTask
from nas.search.events import TrialEvent
from nas.study.study import read_study
from search_spaces.architecture import Architecture
from search_spaces.errors import IncomparableError, InfeasibleError
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


@pytest.fixture
def search(search: FakeSearch) -> FakeSearch:
    set_faults(search.data, curves=CURVES)
    search.asked = {"epochs": EPOCHS, "retries": 0}
    return search


def candidates(search: FakeSearch, state: str) -> list[int]:
    """Return the candidates in a state, in the order of the leaderboard."""
    return [number for number, found in search.column("state").items() if found == state]


def test_complete_rungs_train_the_best_further_round_by_round(search: FakeSearch) -> None:
    summary = search.begin(6, **COMPLETE)
    # 6 to epoch 1; the best third, 4 and 5, to epoch 3; there 4 leads and is trained to the end.
    assert search.cluster.asked == [1, 2, 3, 4, 5, 6, 4, 5, 4]
    assert isinstance(search.directory.outcome(1, 4), TrialResult)
    stopped = {n: o.epoch for n, o in summary.outcomes.items() if isinstance(o, TrialStopped)}
    assert stopped == {1: 1, 2: 1, 3: 1, 6: 1, 5: 3}
    assert list(summary.table["candidate"]) == [4, 5, 3, 2, 1, 6]
    assert decisions(search) == [
        *((4, 1, "promoted"), (5, 1, "promoted")),
        *((1, 1, "stopped"), (2, 1, "stopped"), (3, 1, "stopped"), (6, 1, "stopped")),
        *((4, 3, "promoted"), (5, 3, "stopped")),
    ]
    again = search.begin(6, **COMPLETE)
    assert search.cluster.asked == []
    assert again.table.equals(summary.table)


@pytest.mark.parametrize("after", [1, 8, 18, 19, 22, 24, 26, 32, 33, 38])
def test_rounds_continue_after_any_interruption(search: FakeSearch, after: int) -> None:
    other = replace(search, root=search.root / "other")
    undisturbed = other.begin(6, **COMPLETE)
    events = count(1)
    search.interrupt(lambda event: next(events) == after, 6, **COMPLETE)
    summary = search.begin(6, **COMPLETE)
    kept = ["candidate", "hard", "epochs", "last_hard", "state", "reason"]
    assert summary.table[kept].equals(undisturbed.table[kept])


def test_more_candidates_leave_finished_ones_as_they_are(search: FakeSearch) -> None:
    search.begin(3, **COMPLETE)
    assert search.column("state") == {3: "finished", 2: "stopped", 1: "stopped"}
    # With six, 4 and 5 lead the first rung; 3 has its result and keeps it.
    search.begin(6, **COMPLETE)
    assert candidates(search, "finished") == [4, 3]


def test_a_stopped_candidate_that_now_belongs_to_the_best_continues(search: FakeSearch) -> None:
    set_faults(search.data, curves={**CURVES, 4: [0.01], 5: [0.01], 6: [0.01]})
    search.begin(3, **COMPLETE)
    assert 2 in candidates(search, "stopped")
    search.begin(6, **COMPLETE)  # two places now: 3 and 2
    assert search.cluster.asked == [4, 5, 6, 2]
    outcome = search.directory.outcome(1, 2)
    assert isinstance(outcome, TrialStopped)
    assert outcome.epoch == 3  # at the second rung 3 is better
    records = read_study(search.directory.journal, 1)
    assert [r.candidate for r in records if r.state == "finished"] == [3]
    assert [r.candidate for r in records if r.state == "stopped"] == [1, 2, 4, 5, 6]


def test_a_candidate_that_fails_is_not_replaced(search: FakeSearch) -> None:
    set_faults(search.data, curves=CURVES, **{"raise": {"4": 2}})
    search.begin(6, **COMPLETE)
    assert (candidates(search, "failed"), candidates(search, "finished")) == ([4], [5])


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
    set_faults(search.data, curves={"1": [0.9], "2": [0.1], "3": [0.5]})
    search.interrupt(lambda event: (event.number, event.epoch) == (2, 1), 3, scheduler="asha")
    search.begin(3, scheduler="asha")
    assert search.cluster.asked == [3]
    assert search.column("state") == {1: "finished", 3: "finished", 2: "stopped"}
    assert decisions(search) == [(2, 1, "stopped")]


def test_stopped_trials_rank_below_the_finished_ones_and_stay(search: FakeSearch) -> None:
    summary = search.begin(4, search.run_options(StoppingCluster(stop=(2, 3))), scheduler="asha")
    table = summary.table
    assert list(table["candidate"]) == [4, 1, 2, 3]
    assert list(table["state"]) == ["finished", "finished", "stopped", "stopped"]
    assert list(table["rank"].fillna(0)) == [1, 2, 0, 0]
    assert list(table["last_hard"].fillna(0)) == [0, 0, 0.25, 0.25]
    assert list(table["epochs"]) == [9, 9, 1, 1]
    assert table["hard"].isna().sum() == 2
    assert "after epoch 1 of 9, hard AP 0.2500 there" in table["reason"][2]
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
    """Return the number of outcomes that were known when each candidate was chosen."""
    architectures = search.directory.candidates(1)
    return [architectures[n].backbone.depths[-1] % 10 for n in sorted(architectures)]


def test_a_strategy_chooses_with_all_results_so_far(search: FakeSearch) -> None:
    search.options = {"strategy": choosing()}
    summary = search.begin(4)
    assert chosen(search) == [0, 1, 2, 3]
    assert search.cluster.asked == [1, 2, 3, 4]
    assert summary.num_finished == 4
    assert [r.state for r in read_study(search.directory.journal, 1)] == ["finished"] * 4


def test_a_strategy_continues_with_the_existing_candidates(search: FakeSearch) -> None:
    search.options = {"strategy": choosing()}
    search.interrupt(lambda event: event.number == 3, 5)
    before = search.directory.candidates(1)
    assert sorted(before) == [1, 2, 3]
    search.begin(5)
    assert search.cluster.asked == [3, 4, 5]
    assert chosen(search) == [0, 1, 2, 3, 4]
    assert search.directory.candidates(1).items() >= before.items()


def test_a_random_search_is_continued_by_a_strategy(search: FakeSearch) -> None:
    search.begin(2)
    search.options = {"strategy": choosing()}
    search.begin(4)
    assert search.cluster.asked == [3, 4]
    assert chosen(search)[2:] == [2, 3]


def test_an_exhausted_strategy_is_logged(search: FakeSearch) -> None:
    search.options = {"strategy": choosing(limit=2)}
    assert search.begin(4).num_finished == len(search.directory.numbers(1)) == 2
    assert "no more candidates: all are candidates already" in search.display.lines
