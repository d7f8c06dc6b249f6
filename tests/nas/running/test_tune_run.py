"""Early stopping, partial tasks and tasks on demand, on a real Ray with fake trials."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from fake_trials import make_data, make_task

from nas.early_stopping.asha import RungRecords
from nas.early_stopping.schedule import Schedule
from nas.running.tasks import Resources, TrialJob, TrialTask, hard_curve
from nas.search.events import TrialEvent
from trials.recipe import Recipe
from trials.result import TrialFailure, load_result
from trials.settings import TrialSettings

ONE_CORE = Resources(cpus_per_trial=1)
ONE_SLOT = Resources(cpus_per_trial=2)  # one trial after the other
EPOCHS = 9
HARDS = {1: 0.5, 2: 0.4, 3: 0.3}
FIFO = Schedule(epochs=EPOCHS)
ASHA = Schedule(epochs=EPOCHS, scheduler="asha")  # rungs 1 and 3


def make_tasks(
    root: Path, curves: dict[int, list[float]], schedule: Schedule = FIFO, **faults: Any
) -> list[TrialTask]:
    make_data(root / "data", curves=curves, **faults)
    settings = TrialSettings(epochs=EPOCHS, image_size=64, threads=1, eval_at=schedule.milestones)
    return [make_task(root, number, settings=asdict(settings)) for number in curves]


def run(cluster: Any, tasks: list[TrialTask], **options: Any) -> list[TrialEvent]:
    events: list[TrialEvent] = []
    given = {"resources": ONE_CORE, "publish": events.append, **options}
    cluster.run(TrialJob(tasks=tasks, **given))
    return events


def events_of(events: list[TrialEvent], number: int) -> list[str]:
    mine = [event for event in events if event.number == number]
    return [f"{e.kind} {e.epoch}" if e.epoch else e.kind for e in mine]


def finished(tasks: list[TrialTask]) -> list[int]:
    return [task.number for task in tasks if load_result(task.folder)]


def test_a_stopped_trial_ends_after_its_epoch_and_keeps_its_folder(
    tmp_path: Path, ray_cluster: Any
) -> None:
    tasks = make_tasks(tmp_path, {n: [hard] for n, hard in HARDS.items()}, ASHA)
    # Two finished before: any below 0.8 at epoch 1 stops, in any order.
    before = {8: {1: 0.8, 3: 0.8, 9: 0.8}, 9: {1: 0.9, 3: 0.9, 9: 0.9}}
    records = RungRecords(schedule=ASHA, curves=dict(before))
    events = run(ray_cluster, tasks, records=records)
    for task in tasks:
        assert events_of(events, task.number) == ["started", "epoch 1", "stopped 1"]
        assert hard_curve(task) == {1: HARDS[task.number]}
    assert finished(tasks) == []
    assert {event.hard for event in events if event.kind == "stopped"} == set(HARDS.values())
    assert records.curves == before | {n: {1: hard} for n, hard in HARDS.items()}


def test_a_trial_continues_past_its_rungs_from_where_it_was(
    tmp_path: Path, ray_cluster: Any
) -> None:
    tasks = make_tasks(tmp_path, {1: [0.5]}, ASHA)
    short = replace(tasks[0], until=2)
    records = RungRecords(schedule=ASHA)
    events = run(ray_cluster, [short], records=records)
    assert events_of(events, 1) == ["started", "epoch 1", "promoted 1", "epoch 2", "reached"]
    events = run(ray_cluster, tasks, records=records)
    assert events_of(events, 1)[:4] == ["started", "epoch 3", "promoted 3", "epoch 4"]
    assert events_of(events, 1)[-2:] == ["epoch 9", "finished"]


def test_tasks_on_demand_are_asked_for_when_there_is_room(tmp_path: Path, ray_cluster: Any) -> None:
    tasks = make_tasks(tmp_path, {n: [0.5] for n in range(1, 6)})
    known: list[int] = []
    events: list[TrialEvent] = []

    def on_demand() -> Iterator[TrialTask]:
        for task in tasks:
            known.append(len({event.number for event in events if event.kind == "finished"}))
            yield task

    ray_cluster.run(TrialJob(tasks=on_demand(), resources=ONE_CORE, publish=events.append))
    assert finished(tasks) == [1, 2, 3, 4, 5]
    # Two at once: the third is chosen when one has ended, the fifth when three have.
    assert [known[0], known[1]] == [0, 0]
    assert known[2] >= 1
    assert known[4] >= 3


def test_a_trial_that_diverges_is_tried_once_more_and_not_again(
    tmp_path: Path, ray_cluster: Any
) -> None:
    tasks = make_tasks(tmp_path, {1: [0.5]}, diverge={"1": 2})
    events = run(ray_cluster, tasks, retries=5)
    assert events_of(events, 1) == ["started", "epoch 1", "retried", "started", "failed"]
    assert events[-1].failure == TrialFailure(
        reason="the loss must be finite", kind="diverged", epoch=2, attempts=2
    )


@pytest.mark.slow
def test_retries_are_counted_from_the_last_finished_epoch(tmp_path: Path, ray_cluster: Any) -> None:
    tasks = make_tasks(tmp_path, {1: [0.5]}, kill_epochs={"1": 2})
    found = events_of(run(ray_cluster, tasks, retries=1), 1)
    assert found[:6] == ["started", "retried", "started", "epoch 1", "retried", "started"]
    assert found[6:] == [*(f"epoch {epoch}" for epoch in range(2, EPOCHS + 1)), "finished"]


def test_a_trial_after_a_failed_one_runs_in_a_new_process(tmp_path: Path, ray_cluster: Any) -> None:
    tasks = make_tasks(tmp_path, {n: [0.5] for n in range(1, 5)}, diverge={"2": 1})
    events = run(ray_cluster, tasks, resources=ONE_SLOT, retries=0)
    assert [event.number for event in events if event.kind == "failed"] == [2]
    first, failed, *later = [(Path(task.folder) / "pid").read_text() for task in tasks]
    assert first == failed
    assert later == [later[0], later[0]]
    assert later[0] != failed


def test_a_trial_does_not_depend_on_those_before_it_in_its_process(
    tmp_path: Path, ray_cluster: Any
) -> None:
    data = tiny.make_data(tmp_path / "data", num_train=6, num_val=2)
    common = {"epochs": 2, "image_size": 64, "device": "cpu"}
    one = TrialSettings(**common, threads=1)
    other = TrialSettings(**common, threads=2, seed=1, precision="bf16")
    recipe = Recipe(batch_size=2, ema_decay=0.9)

    def task(number: int, depth: int, settings: TrialSettings, recipe: Recipe) -> TrialTask:
        return TrialTask(
            number=number,
            architecture=tiny.make_architecture(depths=depth).to_dict(),
            recipe=recipe.to_dict(),
            settings=asdict(settings),
            data_root=str(data),
            folder=str(tmp_path / f"{number:04d}"),
        )

    changed = replace(recipe, batch_size=3, optimizer="adamw")
    tasks = [task(1, 1, one, recipe), task(2, 2, other, changed), task(3, 1, one, recipe)]
    events = run(ray_cluster, tasks, resources=ONE_SLOT)
    assert [event.number for event in events if event.kind == "finished"] == [1, 2, 3]
    first, _, last = (Path(item.folder) for item in tasks)
    tiny.assert_same_outcome(last, first)
    assert (last / "trial.log").read_text().count("epochs 1 to 2") == 1


def test_a_worker_does_not_grow_with_the_trials_it_has_run(
    tmp_path: Path, ray_cluster: Any
) -> None:
    count, images_mb = 16, 60
    curves = {number: [0.5] for number in range(1, count + 1)}
    tasks = make_tasks(tmp_path, curves, images_mb=images_mb)
    run(ray_cluster, tasks, resources=ONE_SLOT)
    files = [Path(task.folder) for task in tasks]
    assert len({(file / "pid").read_text() for file in files}) == 1
    before = [int((file / "resident_mb").read_text()) for file in files]
    assert before[-1] - before[1] < images_mb
