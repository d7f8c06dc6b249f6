"""Whole searches of fake trials: order of the steps, resumption after each, the winner's files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fake_final
import pytest
from fake_search import FakeSearch
from fake_trials import FakeCluster, hard_ap, make_architecture

from nas import whole_search
from nas.planning.search_rules import SearchPlan
from nas.storage.driver_lock import BusyError
from nas.whole_search import (
    WholeSearch,
    run_stages,
    store_plan,
    stored_plan,
    train_winner,
    winner,
)
from search_spaces.architecture import load_architecture
from search_spaces.errors import ConfigError, TrialError
from trials.trial import NO_CALLBACKS

PLAN = SearchPlan(
    candidates=3,
    epochs=2,
    scheduler="fifo",
    grace_epochs=None,
    strategy="random",
    select_on="val",
    confirmed=2,
    seeds=3,
    final_epochs=4,
    recipe="quick",
    hours={"stage 1": 2.0, "stage 2": 2.0, "confirmation": 1.0, "final training": 0.5},
)
TRAININGS = 3 + 3 + (2 + 1) * 2  # two stages; two of stage 2 and the template, two more seeds


def whole(search: FakeSearch, **changes: Any) -> WholeSearch:
    options = {"flops": 10**9, "data": str(search.data), "image_size": 64, "seed": 7}
    made = WholeSearch(
        directory=search.directory, plan=PLAN, options=options, out=search.root / "final"
    )
    return replace(made, **changes)


@dataclass
class OneTraining(FakeCluster):
    """Cluster that is interrupted after the end of the first training."""

    def run(self, job: Any) -> None:
        super().run(replace(job, tasks=list(job.tasks)[:1]))
        raise KeyboardInterrupt


def test_both_stages_and_the_confirmation_run_with_the_plan(search: FakeSearch) -> None:
    tables = run_stages(whole(search), search.run_options(), search.display)
    assert len(search.cluster.asked) == TRAININGS
    requests = search.directory.requests()
    for request in requests.values():
        assert (request.num_candidates, request.epochs, request.seed) == (3, 2, 7)
        assert (request.recipe["schedule"], request.max_gpu_hours) == ("cosine", None)
    assert [len(tables[stage]) for stage in (1, 2)] == [3, 3]
    assert sorted(tables[2]["seeds"].dropna()) == [3, 3]
    aps = {n: hard_ap(make_architecture(n)) for n in (1, 2, 3, 31, 32, 33)}
    best = max(aps, key=lambda number: aps[number])
    assert winner(search.directory) == ((2, best - 30) if best > 30 else (1, best))


def test_one_cluster_serves_all_steps(search: FakeSearch) -> None:
    calls: list[str | None] = []

    def connect(address: str | None) -> Any:
        calls.append(address)
        return FakeCluster().connect(address)

    run_stages(whole(search), search.run_options(connect=connect), search.display)
    run_stages(whole(search), search.run_options(connect=connect), search.display)
    assert calls == [None]  # the second call had nothing to run, and so needed none


def test_a_search_interrupted_after_every_training_repeats_none(search: FakeSearch) -> None:
    asked: list[str] = []
    for _ in range(TRAININGS):
        cluster = OneTraining()
        with pytest.raises(KeyboardInterrupt):
            run_stages(whole(search), search.run_options(cluster), search.display)
        asked += [Path(cluster.job.tasks[0].folder).name]
    assert len(list(search.directory.root.rglob("result.json"))) == len(asked) == TRAININGS
    tables = run_stages(whole(search), search.run_options(), search.display)
    assert search.cluster.asked == []
    other = FakeSearch(search.root, search.data, name="undisturbed")
    expected = run_stages(whole(other), other.run_options(), other.display)
    for stage in (1, 2):
        assert list(tables[stage]["candidate"]) == list(expected[stage]["candidate"])
    assert winner(search.directory) == winner(other.directory)


def test_the_winner_is_trained_on_all_images_and_exported(
    search: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def train(training: Any, callbacks: Any) -> Any:
        seen.append((training, search.directory.driver()))
        return fake_final.train(training, callbacks)

    monkeypatch.setattr(whole_search, "train", train)
    job = whole(search, plan=replace(PLAN, select_on="holdout:0.1", candidates=2))
    run_stages(job, search.run_options(), search.display)
    result = train_winner(job, NO_CALLBACKS)
    [(training, driver)] = seen
    assert driver is not None  # so that `scrfd-nas stop` finds this process
    settings = training.trial.settings
    assert (settings.epochs, settings.select_on, settings.seed) == (4, "val", 7)
    assert (settings.eval_every, settings.eval_at, settings.threads) == (0, (), None)
    stage, number = winner(search.directory)
    chosen = search.directory.architecture(stage, number)
    assert load_architecture(job.out / "architecture.yaml") == chosen
    assert result.epochs == 4
    onnx = job.out / "model.onnx"
    written = onnx.stat().st_mtime_ns
    assert train_winner(job, NO_CALLBACKS) == result
    assert onnx.stat().st_mtime_ns == written
    onnx.unlink()  # as if the export had been interrupted
    train_winner(job, NO_CALLBACKS)
    assert onnx.is_file()


def test_a_stage_without_an_ap_ends_the_search(search: FakeSearch) -> None:
    (search.data / "faults.json").write_text('{"raise": {"1": 1, "2": 1, "3": 1}}')
    with pytest.raises(TrialError, match="no candidate of stage 1 finished"):
        run_stages(whole(search), search.run_options(), search.display)
    assert sorted(search.directory.requests()) == [1]
    with pytest.raises(ConfigError, match="no candidate has finished"):
        winner(search.directory)


def test_the_stages_leave_hours_for_the_steps_after_them(search: FakeSearch) -> None:
    assert whole(search, max_gpu_hours=6.0).stage_options(2)["max_gpu_hours"] == 4.5
    assert "max_gpu_hours" not in whole(search).stage_options(1)
    with pytest.raises(ConfigError, match=r"must exceed .* \(1.5\)"):
        whole(search, max_gpu_hours=1.5).stage_options(1)


def test_the_users_options_override_the_plan(search: FakeSearch) -> None:
    job = whole(search, options={"flops": 10**9, "recipe": {"batch_size": 3}})
    options = job.stage_options(1)
    assert options["recipe"] == {"batch_size": 3}
    assert job.stage_options(2) == {"num_candidates": 3}


def test_a_plan_is_stored_once_by_the_only_driver(search: FakeSearch) -> None:
    assert stored_plan(search.directory) is None
    with search.directory.held(1), pytest.raises(BusyError):
        store_plan(search.directory, PLAN)
    store_plan(search.directory, PLAN)
    assert stored_plan(search.directory) == PLAN
    (search.directory.root / "plan.yaml").write_text("candidates: 3\n")
    with pytest.raises(ConfigError, match=r"plan.yaml lacks the keys"):
        stored_plan(search.directory)


def test_another_kind_of_search_is_refused(search: FakeSearch) -> None:
    search.begin(2)
    with pytest.raises(ConfigError, match=r"without plan.yaml"):
        stored_plan(search.directory)
