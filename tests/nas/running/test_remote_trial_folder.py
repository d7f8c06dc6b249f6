"""Trials with a folder at a URL."""

import os
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_trials import make_data, make_task, set_faults

from nas.recording.subscribers import FolderRecorder
from nas.running.remote_trial_folder import local_folder
from nas.running.tasks import TrialTask, run_task
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from nas.search.resolve_url import search_path
from nas.storage import search_storage
from nas.storage.lease import Times
from nas.storage.object_store import Store, StoreError
from trials.recipe import Recipe
from trials.result import EpochReport, TrialFailure, TrialFault

FILES = ["attempts", "metrics.csv", "parents", "pid", "result.json"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path}/bucket/run/stage1/0001", patience_s=0.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the temporary folder of the machine that trials run on."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.fixture
def task(store: Store, data: Path, tmp_path: Path) -> TrialTask:
    recipe, folder = Recipe.named("quick").to_dict(), tmp_path / "driver" / "stage1" / "0001"
    return make_task(tmp_path, recipe=recipe, folder=str(folder), remote=store.url)


def run(task: TrialTask, reported: list[int] | None = None, **at_epoch: Any) -> None:
    """Run the task as a worker does; `at_epoch` has functions to call after an epoch."""
    with local_folder(task) as (near, put):

        def on_epoch(report: EpochReport) -> None:
            put()
            if reported is not None:
                reported.append(report.epoch)
            at_epoch.get(f"e{report.epoch}", lambda: None)()

        run_task(near, on_epoch)


def rows(store: Store) -> int:
    content = store.read("metrics.csv")
    return 0 if content is None else content.count(b"\n") - 1


def files(store: Store) -> list[str]:
    return [name for name in store.list() if not name.startswith(".")]


@pytest.mark.parametrize("has_url", [True, False])
def test_trial_leaves_its_files_at_its_url_or_in_its_folder_only(
    task: TrialTask, store: Store, temporary: Path, has_url: bool
) -> None:
    run(task if has_url else replace(task, remote=None))
    folder = Path(task.folder)
    assert files(store) == (FILES if has_url else [])
    assert [path.name for path in sorted(folder.glob("*"))] == ([] if has_url else FILES)
    assert folder.exists() != has_url
    assert list(temporary.iterdir()) == []


def test_epoch_is_uploaded_before_it_is_reported(task: TrialTask, store: Store) -> None:
    seen: list[int] = []
    run(task, **{f"e{n}": lambda: seen.append(rows(store)) for n in (1, 2, 3)})
    assert seen == [1, 2, 3]


def test_trial_is_continued_elsewhere_from_its_last_epoch(
    task: TrialTask, store: Store, data: Path, temporary: Path
) -> None:
    set_faults(data, **{"raise": {"1": 3}})
    with pytest.raises(TrialFault, match="is not to be"):
        run(task)
    assert list(temporary.iterdir()) == []
    assert rows(store) == 2
    set_faults(data)
    reported: list[int] = []
    run(task, reported)
    assert reported == [3]
    assert store.read("attempts") == b"2"


def test_last_files_of_a_failing_trial_are_uploaded(task: TrialTask, store: Store) -> None:
    def fail() -> None:
        with local_folder(task) as (near, _):
            (Path(near.folder) / "trial.log").write_text("why")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    assert store.read("trial.log") == b"why"


def test_weights_are_uploaded_before_the_training_state_and_the_result_last(
    task: TrialTask, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = Store.write

    def noting(self: Store, name: str, content: bytes) -> None:
        written.append(name)
        write(self, name, content)

    monkeypatch.setattr(Store, "write", noting)
    with local_folder(task) as (near, put):
        names = ("result.json", "last.pt", "best.pt", "metrics.csv", "previous.pt", "lock")
        for name in names:
            (Path(near.folder) / name).write_text(name)
        put()
        (Path(near.folder) / "last.pt").write_text("of the next epoch")
    assert written == [".owner", "best.pt", "last.pt", "metrics.csv", "result.json", "last.pt"]


def test_trial_that_was_taken_over_uploads_nothing(task: TrialTask, store: Store) -> None:
    with pytest.raises(TrialFault, match="taken this trial over"):
        run(task, e1=lambda: run(task))
    assert rows(store) == 3
    assert store.read("attempts") == b"2"


def test_trial_of_another_seed_has_its_own_url(task: TrialTask, store: Store) -> None:
    run(replace(task, folder=f"{task.folder}/seeds/1", remote=f"{store.url}/seeds/1"))
    assert [name for name in files(store) if name.endswith("json")] == ["seeds/1/result.json"]
    with local_folder(task) as (near, _):  # the trial itself does not download it
        assert list(Path(near.folder).iterdir()) == []


def test_folders_of_dead_processes_are_removed(task: TrialTask, temporary: Path) -> None:
    left_over = temporary / "scrfd-999999999-abcdefgh"
    (left_over / "stage1").mkdir(parents=True)
    long_ago = time.time() - 3600.0
    os.utime(left_over, (long_ago, long_ago))
    run(task)
    assert list(temporary.iterdir()) == []


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchDir:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(search_storage, "TIMES", Times(settle_s=0.02))
    return SearchDir(search_path(f"file://{tmp_path}/bucket/run"))


def test_driver_fetches_the_files_of_a_finished_trial(
    task: TrialTask, directory: SearchDir
) -> None:
    with directory.held(1):
        run(task)
        folder = directory.trial_folder(1, 1)
        FolderRecorder(directory, lambda _: folder)(TrialEvent(kind="finished", number=1))
        assert sorted(path.name for path in folder.iterdir()) == FILES


def test_trial_without_access_to_the_store_is_not_failed(directory: SearchDir) -> None:
    def fail(reason: str) -> None:
        event = TrialEvent(kind="failed", number=3, failure=TrialFailure(reason=reason))
        FolderRecorder(directory, partial(directory.trial_folder, 1))(event)

    with directory.held(1):
        fail("ValueError: x")
        with pytest.raises(StoreError, match="candidate 3: s3://b/x: cannot be written"):
            fail("StoreError: s3://b/x: cannot be written (no route)")
