import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_trials import FakeDisplay, make_architecture, make_entries, make_request
from rich.console import Console
from tiny import make_result

from nas.monitoring.progress import SearchProgress, shown
from nas.monitoring.status import (
    StageCounts,
    StageStatus,
    describe_seconds,
    read_status,
    stage_rows,
)
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from nas.study.study import Study
from search_spaces.architecture import save_architecture
from trials.result import Outcome, TrialFailure, save_outcome

EPOCHS = 10
FAILED = TrialFailure(reason="ValueError: no")


@pytest.fixture
def directory(tmp_path: Path) -> SearchDir:
    """Six candidates: 1 and 2 finished, 3 failed in epoch 5, 4 with 4 epochs, 5 and 6 untouched."""
    search = SearchDir(tmp_path)
    search.write_request(make_request(epochs=EPOCHS))
    for number, epochs in {1: 10, 2: 10, 3: 4, 4: 4, 5: 0, 6: 0}.items():
        save_architecture(make_architecture(number), search.architecture_file(1, number))
        if epochs:
            rows = "".join(f"{epoch},1.0\n" for epoch in range(1, epochs + 1))
            (search.trial_folder(1, number) / "metrics.csv").write_text(f"epoch,loss\n{rows}")
    save_outcome(make_result(0.25, EPOCHS), search.trial_folder(1, 1))
    save_outcome(make_result(0.5, EPOCHS), search.trial_folder(1, 2))
    save_outcome(FAILED, search.trial_folder(1, 3))
    return search


@contextmanager
def driven(directory: SearchDir, *running: int) -> Iterator[None]:
    """A driver that is running some of the candidates."""
    with directory.held(1):
        study = Study(directory.journal, 1)
        study.synchronize(make_entries(*directory.numbers(1)), directory.outcomes(1))
        for number in running:
            study.start(number)
        yield


def test_status_without_a_driver_is_read_from_the_files(directory: SearchDir) -> None:
    assert read_status(directory, 1) == StageStatus(
        stage=1,
        candidates=6,
        finished=2,
        stopped=0,
        failed=1,
        running=0,
        waiting=3,
        best_hard=0.5,
        best_candidate=2,
        epochs_done=28,
        epochs_total=54,  # five trials of 10, and the 4 of the failed one
        seconds_left=None,
        active=False,
    )
    assert read_status(directory, 1).describe() == (
        "stage 1: 2/6 finished, 0 running, 1 failed, best hard AP 0.5000 (candidate 2)"
    )
    save_outcome(make_result(0.5, EPOCHS), directory.trial_folder(1, 1))
    assert read_status(directory, 1).best_candidate == 1  # the lower number of equal APs


def test_status_knows_what_a_driver_is_running(directory: SearchDir) -> None:
    with driven(directory, 4, 5):
        status = read_status(directory, 1)
        states = {row.candidate: row.state for row in stage_rows(directory, 1) if not row.outcome}
    assert (status.running, status.waiting, status.active) == (2, 1, True)
    assert states == {4: "running", 5: "running", 6: "waiting"}


def test_a_study_left_running_by_a_dead_driver_is_not_running(directory: SearchDir) -> None:
    with driven(directory, 4, 5):
        pass
    assert read_status(directory, 1).running == 0
    states = {row.candidate: row.state for row in stage_rows(directory, 1) if not row.outcome}
    assert states == {4: "interrupted", 5: "waiting", 6: "waiting"}


def test_time_left_follows_the_drivers_pace(
    directory: SearchDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.time", lambda: now)
    with driven(directory, 4):
        assert read_status(directory, 1).seconds_left is None
        metrics = directory.trial_folder(1, 4) / "metrics.csv"
        metrics.write_text(metrics.read_text() + "5,1.0\n6,1.0\n")
        now = 1060.0
        # 2 epochs in 60 s; 54 - 30 are to come.
        assert read_status(directory, 1).seconds_left == pytest.approx(24 * 30.0)
        now = -5000.0  # the clock was set back
        assert read_status(directory, 1).seconds_left is None


def make_progress(
    done: dict[int, int], outcomes: dict[int, Outcome], clock: Callable[[], float] = time.monotonic
) -> SearchProgress:
    counts = StageCounts(stage=1, epochs=EPOCHS, done=done, outcomes=dict(outcomes))
    return SearchProgress(counts, FakeDisplay(), outcomes.get, clock=clock)


def test_progress_counts_events_like_the_files() -> None:
    now = 0.0
    outcomes: dict[int, Outcome] = {1: make_result(0.25, EPOCHS)}
    progress = make_progress({1: 10, 2: 0, 3: 0}, outcomes, lambda: now)
    assert progress.status().seconds_left is None
    for number in (2, 3):
        progress(TrialEvent(kind="started", number=number))
    now = 50.0
    progress(TrialEvent(kind="epoch", number=2, epoch=5, epochs=EPOCHS))
    status = progress.status()
    assert (status.finished, status.running, status.waiting) == (1, 2, 0)
    assert (status.epochs_done, status.epochs_total) == (15, 30)
    assert status.seconds_left == pytest.approx(15 * 10.0)  # 5 epochs in 50 s
    outcomes |= {2: make_result(0.5, EPOCHS), 3: FAILED}
    progress(TrialEvent(kind="failed", number=3, failure=FAILED))
    progress(TrialEvent(kind="finished", number=2))
    status = progress.status()
    assert (status.finished, status.failed, status.running) == (2, 1, 0)
    assert (status.best_hard, status.best_candidate) == (0.5, 2)
    assert status.epochs_total == 20


class _Unscanned(dict[int, Any]):
    """A mapping that refuses to be gone through."""

    is_ready = False

    def values(self) -> Any:
        assert not self.is_ready
        return super().values()

    def items(self) -> Any:
        assert not self.is_ready
        return super().items()

    def __iter__(self) -> Any:
        assert not self.is_ready
        return super().__iter__()


def test_an_event_costs_the_same_with_any_number_of_candidates() -> None:
    done, outcomes = _Unscanned({1: 10, 2: 0}), _Unscanned({1: make_result(0.25, EPOCHS)})
    counts = StageCounts(stage=1, epochs=EPOCHS, done=done, outcomes=outcomes)
    done.is_ready = outcomes.is_ready = True
    counts.add(TrialEvent(kind="epoch", number=2, epoch=4, epochs=EPOCHS), None)
    counts.add(TrialEvent(kind="finished", number=2), make_result(0.5, EPOCHS))
    status = counts.status(pace=None, active=True)
    assert (status.finished, status.best_candidate, status.epochs_done) == (2, 2, 14)


def test_a_trial_that_is_forgotten_waits_again() -> None:
    progress = make_progress({1: 10, 2: 4}, {1: make_result(0.25, EPOCHS), 2: FAILED})
    assert progress.status().epochs_total == 14
    for number in (1, 2):
        progress.forget(number)
    status = progress.status()
    assert (status.waiting, status.failed, status.best_hard) == (2, 0, None)
    assert status.epochs_total == 20


def test_a_retried_trial_keeps_its_epochs() -> None:
    progress = make_progress({1: 0}, {})
    progress(TrialEvent(kind="epoch", number=1, epoch=5, epochs=EPOCHS))
    progress(TrialEvent(kind="retried", number=1, failure=FAILED))
    assert (progress.status().running, progress.status().waiting) == (0, 1)
    assert progress.status().epochs_done == 5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (172799, "48.0 h"),
        (172800, "2.0 d"),
    ],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_lines_are_printed_everywhere(directory: SearchDir, is_terminal: bool) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=is_terminal, width=150, highlight=False)
    with shown(console) as display:
        display.show(read_status(directory, 1))
        display.log("candidate [3] failed: no")
        for _ in range(2):
            display.show(read_status(directory, 1))
    text = output.getvalue()
    assert "candidate [3] failed: no" in text
    assert "2/6 finished" in text
    if not is_terminal:  # the third status came too soon after the second
        assert len(text.splitlines()) == 3
