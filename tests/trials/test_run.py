"""One trial from start to result: resumed after any interruption, and never mixed with another."""

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
from tiny import (
    FACE_XYXY,
    TINY,
    assert_same_outcome,
    interrupt_after,
    make_data,
    metrics_of,
    result_of,
)

from search_spaces.architecture import Head, Neck
from search_spaces.errors import ConfigError, DataError, IncomparableError
from trials.evaluation.record_file import load_record
from trials.evaluation.widerface_ap import average_precision
from trials.fingerprint import data_fingerprint
from trials.lock import exclusive
from trials.model_file import load_model
from trials.recipe import Recipe
from trials.result import TrialFault, TrialInterrupted, TrialResult, load_result
from trials.run import MAX_LOG_BYTES, run_trial
from trials.settings import TrialSettings
from trials.trial import Callbacks, Trial

RECIPE = Recipe(batch_size=4, schedule="cosine", ema_decay=0.9, warmup_fraction=0.2)
SETTINGS = TrialSettings(epochs=5, image_size=64, device="cpu", threads=1, eval_every=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), num_train=10, num_val=10)


def run(data: Path, folder: Path, *, settings: Any = None, **callbacks: Any) -> TrialResult:
    """Run the trial, with changed settings where they are given."""
    chosen, options = replace(SETTINGS, **settings or {}), Callbacks(**callbacks)
    return run_trial(TINY, RECIPE, data, folder, settings=chosen, callbacks=options)


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(data, folder)
    return folder


def test_a_trial_writes_its_files(undisturbed: Path) -> None:
    result = result_of(undisturbed)
    assert (result.epochs, result.state) == (5, "finished")
    names = "best.pt evaluation.npz last.pt lock metrics.csv request.json result.json trial.log"
    assert sorted(path.name for path in undisturbed.iterdir()) == names.split()
    reports = metrics_of(undisturbed)
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5]
    assert [report.aps is not None for report in reports] == [False, True, False, True, True]
    assert reports[-1].hard == pytest.approx(result.hard, abs=1e-6)
    assert "finished: hard AP" in (undisturbed / "trial.log").read_text()
    request = json.loads((undisturbed / "request.json").read_text())
    shared = {"epochs": 5, "image_size": 64, "seed": 0, "precision": "auto", "workers": 1}
    assert request["settings"] == shared


def test_the_last_evaluation_is_recorded(undisturbed: Path) -> None:
    record, result = load_record(undisturbed), result_of(undisturbed)
    assert record is not None
    aps = [average_precision(record.matches, counted) for counted in record.counted_F3.T]
    assert aps == [result.easy, result.medium, result.hard]
    assert len(record.pictures) == 8  # four of most missed faces, none of false ones, four random
    assert (record.height_F * record.scale_F).tolist() == pytest.approx([44 * 53 / 80] * 10)


def test_the_best_model_is_that_of_the_highest_hard_ap(undisturbed: Path) -> None:
    evaluated = [report for report in metrics_of(undisturbed) if report.aps]
    highest = max(evaluated, key=lambda report: report.hard or 0.0)
    result = result_of(undisturbed)
    assert result.best_epoch == highest.epoch
    assert result.best_hard == pytest.approx(highest.hard, abs=1e-6)
    assert load_model(undisturbed / "best.pt")[0] == TINY
    meta = torch.load(undisturbed / "best.pt", weights_only=True)["meta"]
    assert meta["epoch"] == result.best_epoch


def test_a_finished_trial_is_not_run_again(data: Path, undisturbed: Path) -> None:
    before = (undisturbed / "last.pt").stat().st_mtime_ns
    again = run(data, undisturbed, on_epoch=lambda report: pytest.fail("trained"))
    assert again == load_result(undisturbed)
    assert (undisturbed / "last.pt").stat().st_mtime_ns == before


class StopAfter:
    """A `should_stop` that returns True from call n + 1 on."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


def raise_after_5(done: int, total: int) -> None:
    assert total == 15
    if done == 5:
        raise KeyboardInterrupt


# An epoch has 3 iterations. Epochs 2 and 4 are evaluated, each on ten images.
@pytest.mark.parametrize(
    ("callbacks", "damaged", "lost_from", "logged"),
    [
        ({"on_epoch": interrupt_after(1)}, False, 4, "KeyboardInterrupt"),
        ({"on_epoch": interrupt_after(4)}, False, 13, "KeyboardInterrupt"),
        ({"on_step": raise_after_5}, False, 4, "KeyboardInterrupt"),
        ({"on_epoch": interrupt_after(3)}, True, 7, "WARNING"),
        ({"should_stop": StopAfter(4)}, True, 4, "WARNING"),
        ({"should_stop": StopAfter(0)}, False, 2, "epoch 1 after iteration 1"),
        ({"should_stop": StopAfter(2)}, False, 4, "epoch 1 after iteration 3"),
        ({"should_stop": StopAfter(4)}, False, 6, "epoch 2 after iteration 5"),
        ({"should_stop": StopAfter(6)}, False, 7, "while epoch 2 was evaluated"),
        ({"should_stop": StopAfter(15)}, False, 7, "while epoch 2 was evaluated"),
        ({"should_stop": StopAfter(16)}, False, 8, "epoch 3 after iteration 7"),
    ],
)
def test_an_interrupted_trial_resumes_and_ends_as_an_undisturbed_one(
    data: Path,
    undisturbed: Path,
    tmp_path: Path,
    callbacks: dict[str, Any],
    damaged: bool,
    lost_from: int,
    logged: str,
) -> None:
    is_stop = "should_stop" in callbacks
    with pytest.raises(TrialInterrupted if is_stop else KeyboardInterrupt):
        run(data, tmp_path, **callbacks)
    assert ("Traceback" in (tmp_path / "trial.log").read_text()) != is_stop
    if damaged:
        os.truncate(tmp_path / "last.pt", 1000)
    steps: list[int] = []
    result = run(data, tmp_path, on_step=lambda done, total: steps.append(done))
    assert steps == list(range(lost_from, 16))
    assert logged in (tmp_path / "trial.log").read_text()
    assert_same_outcome(tmp_path, undisturbed)
    progress = torch.load(tmp_path / "last.pt", weights_only=True)["progress"]
    assert result.images_per_second * progress["step_s"] == pytest.approx(5 * 10)


def test_kill_9_at_random_moments_changes_nothing(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trials.run"])  # so that a process starts in milliseconds
    rng = np.random.default_rng(0)
    killed = 0
    (tmp_path / ".last.pt.1234.tmp").write_text("of a process that was killed while it wrote")
    for _ in range(8):
        process = context.Process(
            target=run_trial, args=(TINY, RECIPE, data, tmp_path), kwargs={"settings": SETTINGS}
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


def test_the_log_is_truncated_to_its_last_lines(data: Path, tmp_path: Path) -> None:
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


def test_loader_processes_and_evaluations_do_not_change_the_weights(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run(data, tmp_path, settings={"loader_workers": 2, "eval_every": 0})
    ours, theirs = (
        torch.load(folder / "last.pt", weights_only=True) for folder in (tmp_path, undisturbed)
    )
    for part in ("model", "average"):
        assert all(torch.equal(value, theirs[part][name]) for name, value in ours[part].items())


def test_key_point_heads_train_on_data_without_key_points(data: Path, tmp_path: Path) -> None:
    head = Head(convs=1, width=8, norm="batch", keypoints=5, shared=False)
    settings, recipe = replace(SETTINGS, epochs=1), Recipe(batch_size=4)
    run_trial(replace(TINY, head=head), recipe, data, tmp_path, settings=settings)
    assert metrics_of(tmp_path)[0].keypoint_loss == 0


@pytest.mark.parametrize(
    ("changed", "shown"),
    [
        ({"settings": replace(SETTINGS, seed=1)}, "settings.seed: 0 -> 1"),
        ({"settings": replace(SETTINGS, epochs=6)}, "settings.epochs: 5 -> 6"),
        ({"recipe": replace(RECIPE, flip=0.0)}, r"recipe.flip: 0.5 -> 0.0"),
        ({"architecture": replace(TINY, neck=Neck(width=16))}, "neck.width: 8 -> 16"),
    ],
)
def test_a_folder_of_another_request_is_refused(
    data: Path, undisturbed: Path, changed: dict[str, Any], shown: str
) -> None:
    request: dict[str, Any] = {"architecture": TINY, "recipe": RECIPE, "settings": SETTINGS}
    with pytest.raises(IncomparableError, match=shown):
        run_trial(**{**request, **changed}, data_root=data, folder=undisturbed)


def test_a_checkpoint_of_another_request_is_refused(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    (tmp_path / "last.pt").write_bytes((undisturbed / "last.pt").read_bytes())
    with pytest.raises(IncomparableError, match="its checkpoint is of request"):
        run(data, tmp_path, settings={"seed": 1})


def test_changed_labels_change_the_fingerprint_of_data(data: Path, tmp_path: Path) -> None:
    before = data_fingerprint(data)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    assert data_fingerprint(copy) == before
    label = copy / "train" / "labelv2.txt"
    face = "{} {} {} {}".format(*FACE_XYXY)
    label.write_text(label.read_text().replace(face, "21 16 60 60", 1))
    assert data_fingerprint(copy) != before


@pytest.mark.parametrize("wrong", [{"device": "cuda:99"}, {"device": "cpu", "precision": "fp16"}])
def test_missing_data_device_or_precision_do_not_claim_the_folder(
    data: Path, tmp_path: Path, wrong: dict[str, str]
) -> None:
    with pytest.raises(ConfigError):
        run(data, tmp_path / "new", settings=wrong)
    with pytest.raises(DataError, match="there is no such data folder"):
        run(tmp_path / "nowhere", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_folder_in_use_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trials.run.LOCK_WAIT_S", 0.1)
    with exclusive(tmp_path / "lock", 0.0), pytest.raises(TrialFault, match="another process"):
        run(data, tmp_path)


def test_divergence_is_a_fault_and_leaves_no_result(data: Path, tmp_path: Path) -> None:
    wild = Recipe(batch_size=4, learning_rate=1e3, warmup_fraction=0.0, momentum=0.99)
    with pytest.raises(TrialFault, match=r"epoch \d") as fault:
        run_trial(TINY, wild, data, tmp_path, settings=replace(SETTINGS, epochs=30))
    assert fault.value.kind == "diverged"
    assert load_result(tmp_path) is None


def test_a_lack_of_memory_is_a_fault_with_advice(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("12 GiB")

    monkeypatch.setattr("trials.training.trial_epochs.train_epoch", fail)
    with pytest.raises(TrialFault, match="smaller batch_size") as fault:
        run(data, tmp_path)
    assert fault.value.kind == "memory"


def test_a_damaged_result_is_computed_again_from_the_checkpoint(
    data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(undisturbed, folder)
    (folder / "result.json").write_text('{"state": "fini')
    run(data, folder, on_epoch=lambda report: pytest.fail("trained"))
    assert_same_outcome(folder, undisturbed)


def test_the_default_folder_follows_from_the_request(data: Path) -> None:
    trial = Trial(architecture=TINY, recipe=RECIPE, data_root=data, settings=SETTINGS)
    one = trial.default_folder()
    assert one == replace(trial, settings=replace(SETTINGS, threads=2)).default_folder()
    assert one != replace(trial, settings=replace(SETTINGS, seed=5)).default_folder()
    assert one.parent == Path("runs/trials")
