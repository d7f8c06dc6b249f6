"""One candidate's life: finished once, continued after any kill, never mixed up."""

import contextlib
import csv
import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY, interrupt_after, make_data

from search_spaces.architecture import Head, Neck
from search_spaces.errors import ConfigError, DataError, IncomparableError
from trials.fingerprint import data_fingerprint
from trials.lock import exclusive
from trials.model_file import load_model
from trials.recipe import Recipe
from trials.result import EpochReport, TrialFault, TrialInterrupted, TrialResult, load_result
from trials.run import MAX_LOG_BYTES, run_trial
from trials.settings import TrialSettings
from trials.trial import Callbacks, Trial

RECIPE = Recipe(batch_size=4, schedule="cosine", ema_decay=0.9, warmup_fraction=0.2)
SETTINGS = TrialSettings(epochs=5, image_size=64, device="cpu", threads=1)
EVALUATED = {"eval_every": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), num_train=10, num_val=10)


def run(data: Path, folder: Path, settings: Any = EVALUATED, **callbacks: Any) -> TrialResult:
    """Run the trial with changed settings."""
    chosen, options = replace(SETTINGS, **settings), Callbacks(**callbacks)
    return run_trial(TINY, RECIPE, data, folder, settings=chosen, callbacks=options)


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(data, folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    content = torch.load(folder / "last.pt", weights_only=True)
    averages = {f"average.{name}": value for name, value in content["average"].items()}
    return {**content["model"], **averages}


def assert_same_outcome(folder: Path, other: Path) -> None:
    ours, theirs = weights(folder), weights(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert metrics(folder) == metrics(other)
    one, two = load_result(folder), load_result(other)
    assert one is not None
    assert two is not None
    timing = {"duration_s": 1.0, "images_per_second": 1.0}
    assert replace(one, **timing) == replace(two, **timing)


def metrics(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row.pop("images_per_second")) > 0
    return rows


def test_a_trial_leaves_what_a_reader_expects(undisturbed: Path) -> None:
    result = load_result(undisturbed)
    assert result is not None
    assert (result.epochs, result.state) == (5, "finished")
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        "best.pt",
        "last.pt",
        "lock",
        "metrics.csv",
        "request.json",
        "result.json",
        "trial.log",
    ]
    rows = metrics(undisturbed)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [bool(row["hard"]) for row in rows] == [False, True, False, True, True]
    assert float(rows[-1]["hard"]) == pytest.approx(result.hard, abs=1e-6)
    assert "finished: hard AP" in (undisturbed / "trial.log").read_text()


def test_the_best_model_is_that_of_the_highest_hard_ap(undisturbed: Path) -> None:
    rows = [row for row in metrics(undisturbed) if row["hard"]]
    highest = max(rows, key=lambda row: float(row["hard"]))
    result = load_result(undisturbed)
    assert result is not None
    assert (result.best_epoch, result.best_hard) == (
        int(highest["epoch"]),
        pytest.approx(float(highest["hard"]), abs=1e-6),
    )
    architecture, _ = load_model(undisturbed / "best.pt")
    assert architecture == TINY
    meta = torch.load(undisturbed / "best.pt", weights_only=True)["meta"]
    assert meta["epoch"] == result.best_epoch


def test_a_finished_trial_is_not_run_again(data: Path, undisturbed: Path) -> None:
    before = (undisturbed / "last.pt").stat().st_mtime_ns
    seen: list[EpochReport] = []
    again = run(data, undisturbed, on_epoch=seen.append)
    assert again == load_result(undisturbed)
    assert seen == []
    assert (undisturbed / "last.pt").stat().st_mtime_ns == before


def test_an_exception_at_any_epoch_changes_nothing(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path, on_epoch=interrupt_after(1, 2, 4))
    run(data, tmp_path, on_epoch=interrupt_after(1, 2, 4))
    assert_same_outcome(tmp_path, undisturbed)
    log = (tmp_path / "trial.log").read_text()
    assert log.count("epochs 2 to 5") == 1
    assert log.count("KeyboardInterrupt") >= 3


def test_stopped_in_mid_epoch_it_starts_that_epoch_again(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 15
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, on_step=interrupt)
    steps: list[int] = []
    run(
        data,
        tmp_path,
        on_step=lambda done, total: steps.append(done),
    )
    assert steps == list(range(4, 16))  # the first epoch had iterations 1 to 3
    assert_same_outcome(tmp_path, undisturbed)


class StopAfter:
    """Asks a trial to stop the n-th time that it is asked."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


# An epoch has 3 iterations; the second is evaluated, on ten images.
@pytest.mark.parametrize(
    ("asked", "iterations", "reason"),
    [
        (0, 1, "epoch 1 after iteration 1"),
        (2, 3, "epoch 1 after iteration 3"),
        (4, 5, "epoch 2 after iteration 5"),
        (6, 6, "while epoch 2 was evaluated"),
        (15, 6, "while epoch 2 was evaluated"),
        (16, 7, "epoch 3 after iteration 7"),
    ],
)
def test_asked_to_stop_it_goes_on_after_its_last_iteration(
    data: Path, undisturbed: Path, tmp_path: Path, asked: int, iterations: int, reason: str
) -> None:
    with pytest.raises(TrialInterrupted, match=reason):
        run(data, tmp_path, should_stop=StopAfter(asked))
    steps: list[int] = []
    run(data, tmp_path, on_step=lambda done, total: steps.append(done))
    assert steps == list(range(iterations + 1, 16))
    assert_same_outcome(tmp_path, undisturbed)
    result = load_result(tmp_path)
    assert result is not None
    assert result.images_per_second * (load_seconds(tmp_path)) == pytest.approx(5 * 10)
    log = (tmp_path / "trial.log").read_text()
    assert "Traceback" not in log


def test_the_log_keeps_its_last_lines_and_a_bounded_size(data: Path, tmp_path: Path) -> None:
    lines = [f"2026-01-01 INFO line {number}\n" for number in range(40_000)]
    (tmp_path / "trial.log").write_text("".join(lines))
    sizes = []
    for _ in range(2):
        with pytest.raises(TrialInterrupted):
            run(data, tmp_path, should_stop=StopAfter(0))
        sizes.append((tmp_path / "trial.log").stat().st_size)
    assert MAX_LOG_BYTES / 2 <= sizes[0] < sizes[1] <= MAX_LOG_BYTES
    log = (tmp_path / "trial.log").read_text()
    assert log.startswith("(earlier lines were removed)\n2026-01-01 INFO line ")
    assert lines[-1] in log
    assert log.count("INFO epochs ") == 2


def load_seconds(folder: Path) -> float:
    return float(torch.load(folder / "last.pt", weights_only=True)["progress"]["step_s"])


def test_asked_to_stop_again_and_again_it_still_comes_to_the_same_end(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    stops = 0
    while load_result(tmp_path) is None:
        with contextlib.suppress(TrialInterrupted):
            settings = {"eval_every": 2, "loader_workers": 0}
            run(data, tmp_path, settings=settings, should_stop=StopAfter(12))
        stops += 1
    assert stops > 2
    assert_same_outcome(tmp_path, undisturbed)


def test_a_damaged_checkpoint_of_mid_epoch_costs_what_that_epoch_had(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrialInterrupted):
        run(data, tmp_path, should_stop=StopAfter(4))
    os.truncate(tmp_path / "last.pt", 1000)
    steps: list[int] = []
    run(
        data,
        tmp_path,
        on_step=lambda done, total: steps.append(done),
    )
    assert steps == list(range(4, 16))
    assert_same_outcome(tmp_path, undisturbed)


def test_kill_9_at_random_moments_changes_nothing(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trials.run"])  # so that a process starts in milliseconds
    rng = np.random.default_rng(0)
    killed = 0
    (tmp_path / ".last.pt.1234.tmp").write_text("of a process that was killed while it wrote")
    for _ in range(8):
        settings = replace(SETTINGS, eval_every=2)
        process = context.Process(
            target=run_trial, args=(TINY, RECIPE, data, tmp_path), kwargs={"settings": settings}
        )
        process.start()
        deadline = time.monotonic() + 60  # the first start imports torch
        while not (tmp_path / "trial.log").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0.02, 0.4)))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    run(data, tmp_path)
    assert killed >= 3
    assert_same_outcome(tmp_path, undisturbed)
    assert not list(tmp_path.glob("*.tmp"))


def test_a_damaged_checkpoint_costs_an_epoch_and_nothing_else(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path, on_epoch=interrupt_after(3))
    os.truncate(tmp_path / "last.pt", 1000)
    seen: list[EpochReport] = []
    run(data, tmp_path, on_epoch=seen.append)
    assert [report.epoch for report in seen] == [3, 4, 5]
    assert_same_outcome(tmp_path, undisturbed)
    assert "WARNING" in (tmp_path / "trial.log").read_text()


def test_worker_processes_and_how_often_it_is_evaluated_do_not_matter(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run(data, tmp_path, settings={"loader_workers": 2})
    ours, theirs = weights(tmp_path), weights(undisturbed)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_key_point_heads_train_on_data_without_key_points(data: Path, tmp_path: Path) -> None:
    head = Head(convs=1, width=8, norm="batch", keypoints=5, shared=False)
    settings = replace(SETTINGS, epochs=1)
    result = run_trial(
        replace(TINY, head=head), Recipe(batch_size=4), data, tmp_path, settings=settings
    )
    assert result.epochs == 1
    assert metrics(tmp_path)[0]["keypoint_loss"] == "0"


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"settings": replace(SETTINGS, seed=1)}, "settings.seed: 0 -> 1"),
        ({"settings": replace(SETTINGS, epochs=6)}, "settings.epochs: 5 -> 6"),
        ({"recipe": replace(RECIPE, flip=0.0)}, r"recipe.flip: 0.5 -> 0.0"),
        ({"architecture": replace(TINY, neck=Neck(width=16))}, "neck.width: 8 -> 16"),
    ],
)
def test_a_folder_belongs_to_one_request(
    data: Path, undisturbed: Path, changed: dict[str, Any], shown: str
) -> None:
    request: dict[str, Any] = {"architecture": TINY, "recipe": RECIPE, "settings": SETTINGS}
    with pytest.raises(IncomparableError, match=shown):
        run_trial(**{**request, **changed}, data_root=data, folder=undisturbed)


def test_a_checkpoint_of_another_request_is_not_continued(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    (tmp_path / "last.pt").write_bytes((undisturbed / "last.pt").read_bytes())
    with pytest.raises(IncomparableError, match="its checkpoint is of request"):
        run(data, tmp_path, settings={"seed": 1})


def test_changed_data_are_another_request(data: Path, tmp_path: Path) -> None:
    before = data_fingerprint(data)
    assert before == data_fingerprint(data)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    assert data_fingerprint(copy) == before
    label = copy / "train" / "labelv2.txt"
    label.write_text(label.read_text().replace("20 16 60 60", "21 16 60 60", 1))
    assert data_fingerprint(copy) != before


def test_missing_data_are_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such data folder"):
        run(tmp_path / "nowhere", tmp_path / "trial")
    assert not (tmp_path / "trial").exists()


def test_two_processes_cannot_work_in_one_folder(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trials.run.LOCK_WAIT_S", 0.1)
    with exclusive(tmp_path / "lock", 0.0), pytest.raises(TrialFault, match="another process"):
        run(data, tmp_path)


def test_divergence_is_a_fault_with_its_batch_and_leaves_no_result(
    data: Path, tmp_path: Path
) -> None:
    wild = Recipe(batch_size=4, learning_rate=1e3, warmup_fraction=0.0, momentum=0.99)
    with pytest.raises(TrialFault, match=r"epoch \d") as fault:
        run_trial(TINY, wild, data, tmp_path, settings=replace(SETTINGS, epochs=30))
    assert fault.value.kind == "diverged"
    assert load_result(tmp_path) is None


def test_out_of_memory_comes_with_advice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("12 GiB")

    monkeypatch.setattr("trials.training.trial_epochs.train_epoch", fail)
    with pytest.raises(TrialFault, match="smaller batch_size") as fault:
        run(data, tmp_path)
    assert fault.value.kind == "memory"


def test_a_damaged_result_is_earned_again_from_the_checkpoint(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(undisturbed, folder)
    (folder / "result.json").write_text('{"state": "fini')
    run(data, folder, on_epoch=lambda report: pytest.fail("trained"))
    assert_same_outcome(folder, undisturbed)


@pytest.mark.parametrize("wrong", [{"device": "cuda:99"}, {"device": "cpu", "precision": "fp16"}])
def test_what_the_machine_cannot_do_does_not_claim_the_folder(
    data: Path, tmp_path: Path, wrong: dict[str, str]
) -> None:
    with pytest.raises(ConfigError):
        run(data, tmp_path / "new", settings=wrong)
    assert not (tmp_path / "new").exists()


def test_a_default_folder_is_the_requests_own(data: Path) -> None:
    trial = Trial(architecture=TINY, recipe=RECIPE, data_root=data, settings=SETTINGS)
    one = trial.default_folder()
    assert one == replace(trial, settings=replace(SETTINGS, threads=2)).default_folder()
    assert one != replace(trial, settings=replace(SETTINGS, seed=5)).default_folder()
    assert one.parent == Path("runs/trials")


def test_the_request_is_readable(undisturbed: Path) -> None:
    request = json.loads((undisturbed / "request.json").read_text())
    assert request["settings"] == {
        "epochs": 5,
        "image_size": 64,
        "seed": 0,
        "precision": "auto",
        "workers": 1,
    }
