import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_trials import FakeDisplay, make_architecture, make_request
from rich.console import Console
from tiny import make_report, make_result

from nas.monitoring.counts import StageCounts
from nas.monitoring.progress import ConsoleDisplay, SearchProgress, shown
from nas.monitoring.read_status import read_status, write_displayed
from nas.monitoring.rows import stage_rows
from nas.monitoring.status import StageStatus, TrialStatus, describe_seconds
from nas.search.directory import SearchDir
from nas.search.events import TrialEvent
from search_spaces.architecture import save_architecture
from trials.result import Outcome, TrialFailure, save_outcome
from trials.training.metrics import write_metrics

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
def driven(directory: SearchDir, *running: int) -> Iterator[SearchProgress]:
    """A driver that is running some of the candidates; yields its progress."""
    with directory.held(1):
        progress = make_progress(
            {number: directory.epochs_done(1, number) for number in directory.numbers(1)},
            directory.outcomes(1),
            record=partial(write_displayed, root=directory.root),
        )
        progress.show()
        for number in running:
            progress(TrialEvent(kind="started", number=number))
        yield progress


def test_status_without_a_driver_is_read_from_the_files(
    directory: SearchDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    status = read_status(directory, 1)
    assert status == StageStatus(
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
        begun=1,
        epochs_held=4,
        trials=(TrialStatus(name="4", epoch=4, epochs=EPOCHS, is_running=False),),
        updated=1000.0,
    )
    assert status.describe() == (
        "stage 1: 2/6 finished, 1 failed, 3 waiting, best hard AP 0.5000 (candidate 2)"
    )
    assert status.held() == "2 of 6 finished, 1 begun with 4 epochs"
    save_outcome(make_result(0.5, EPOCHS), directory.trial_folder(1, 1))
    assert read_status(directory, 1).best_candidate == 1  # the lower number of equal APs


def test_an_interrupted_trial_shows_its_last_epoch_and_its_last_ap(directory: SearchDir) -> None:
    reports = [make_report(1, EPOCHS, 0.25), make_report(2, EPOCHS, None)]
    write_metrics(reports, directory.trial_folder(1, 4))
    (trial,) = read_status(directory, 1).trials
    assert (trial.epoch, trial.hard, trial.is_running) == (2, 0.25, False)
    assert trial.loss == pytest.approx(reports[-1].loss, rel=1e-5)


def test_status_is_what_the_driver_displays(
    directory: SearchDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.monitoring.progress.RECORD_EVERY_S", 0.0)
    with driven(directory, 4, 5) as progress:
        metrics = {"loss": 1, "images_per_second": 80.5}
        progress(TrialEvent(kind="epoch", number=4, epoch=5, epochs=EPOCHS, metrics=metrics))
        assert read_status(directory, 1) == progress.displayed[-1]
        status = read_status(directory, 1)
        states = {row.candidate: row.state for row in stage_rows(directory, 1) if not row.outcome}
    assert (status.running, status.waiting, status.active) == (2, 1, True)
    assert [trial.name for trial in status.trials] == ["4", "5"]
    assert states == {4: "running", 5: "running", 6: "waiting"}


def test_a_driver_that_has_ended_is_running_nothing(directory: SearchDir) -> None:
    with driven(directory, 4, 5):
        pass
    assert read_status(directory, 1).running == 0
    states = {row.candidate: row.state for row in stage_rows(directory, 1) if not row.outcome}
    assert states == {4: "interrupted", 5: "waiting", 6: "waiting"}
    with directory.held(1):  # the next driver, which has displayed nothing yet
        status = read_status(directory, 1)
    assert (status.running, status.active) == (0, True)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"stage": "1"}', None, "x" * 9, '{"trials": [7]}']
)
def test_a_damaged_status_file_counts_as_none(directory: SearchDir, text: str | None) -> None:
    with driven(directory, 4):
        file = directory.root / "status.json"
        whole = json.loads(file.read_text())
        file.write_text(json.dumps(whole | {"running": "many"}) if text is None else text)
        assert read_status(directory, 1).running == 0


class Progress(SearchProgress):
    """Progress with the statuses that it has displayed."""

    displayed: list[StageStatus]


def make_progress(done: dict[int, int], outcomes: dict[int, Outcome], **options: Any) -> Progress:
    counts = StageCounts(stage=1, epochs=EPOCHS, done=done, outcomes=dict(outcomes))
    display = FakeDisplay()
    progress = Progress(counts, display, outcomes.get, **options)
    progress.displayed = display.statuses
    return progress


def test_progress_counts_events_like_the_files() -> None:
    now = 1000.0
    outcomes: dict[int, Outcome] = {1: make_result(0.25, EPOCHS)}
    progress = make_progress({1: 10, 2: 0, 3: 0}, outcomes, clock=lambda: now)
    assert progress.status().seconds_left is None
    for number in (2, 3):
        progress(TrialEvent(kind="started", number=number))
    now = 1050.0
    metrics = {"loss": 1.5, "images_per_second": 80.0, "cls_loss": 1.0}
    progress(TrialEvent(kind="epoch", number=2, epoch=4, epochs=EPOCHS, hard=0.125))
    progress(TrialEvent(kind="epoch", number=2, epoch=5, epochs=EPOCHS, metrics=metrics))
    status = progress.status()
    assert (status.finished, status.running, status.waiting) == (1, 2, 0)
    assert (status.epochs_done, status.epochs_total) == (15, 30)
    assert status.seconds_left == pytest.approx(15 * 10.0)  # 5 epochs in 50 s
    common = {"epochs": EPOCHS, "is_running": True}
    assert status.trials == (
        TrialStatus(
            name="2",
            epoch=5,
            loss=1.5,
            hard=0.125,
            images_per_second=80.0,
            reported=1050.0,
            seconds_left=50.0,  # its 5 epochs took 50 s
            **common,
        ),
        TrialStatus(name="3", epoch=0, reported=1000.0, **common),
    )
    outcomes |= {2: make_result(0.5, EPOCHS), 3: FAILED}
    progress(TrialEvent(kind="failed", number=3, failure=FAILED))
    progress(TrialEvent(kind="finished", number=2))
    status = progress.status()
    assert (status.finished, status.failed, status.running, status.trials) == (2, 1, 0, ())
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


def test_a_status_is_recorded_every_two_seconds_and_the_last_one_too() -> None:
    now = 100.0
    recorded: list[StageStatus] = []
    counts = StageCounts(stage=1, epochs=EPOCHS, done={1: 0}, outcomes={})
    progress = SearchProgress(
        counts, FakeDisplay(), {}.get, record=recorded.append, clock=lambda: now
    )
    for epoch in (1, 2, 3):
        progress(TrialEvent(kind="epoch", number=1, epoch=epoch, epochs=EPOCHS))
    now = 102.0
    progress.record()
    progress.record()
    assert [status.epochs_done for status in recorded] == [1, 3]


def test_an_event_costs_the_same_with_any_number_of_candidates() -> None:
    done, outcomes = _Unscanned({1: 10, 2: 0}), _Unscanned({1: make_result(0.25, EPOCHS)})
    counts = StageCounts(stage=1, epochs=EPOCHS, done=done, outcomes=outcomes)
    done.is_ready = outcomes.is_ready = True
    counts.add(TrialEvent(kind="epoch", number=2, epoch=4, epochs=EPOCHS), None, 0.0)
    counts.add(TrialEvent(kind="finished", number=2), make_result(0.5, EPOCHS), 0.0)
    status = counts.status(pace=None, active=True, now=0.0)
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
    assert progress.status().held() == "0 of 1 finished, 1 begun with 5 epochs"


def test_values_that_are_no_numbers_are_not_shown() -> None:
    progress = make_progress({1: 0}, {})
    progress(TrialEvent(kind="epoch", number=1, epoch=1, metrics={"loss": float("nan")}))
    assert progress.status().trials[0].loss is None


def test_a_clock_that_was_set_back_gives_no_estimate() -> None:
    now = 1000.0
    progress = make_progress({1: 0}, {}, clock=lambda: now)
    progress(TrialEvent(kind="started", number=1))
    now = -5000.0
    progress(TrialEvent(kind="epoch", number=1, epoch=1, epochs=EPOCHS))
    assert progress.status().seconds_left is None
    assert progress.status().trials[0].seconds_left == 0


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
        assert display.held() == " with 2 of 6 finished, 1 begun with 4 epochs"
    text = output.getvalue()
    assert "candidate [3] failed: no" in text
    assert "2/6 finished" in text
    if not is_terminal:  # a status a minute
        assert len(text.splitlines()) == 2


def test_a_display_without_a_terminal_prints_a_line_a_minute(
    directory: SearchDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    output = io.StringIO()
    display = ConsoleDisplay(Console(file=output, width=150))
    for now in (0.0, 59.0, 60.0, 61.0):  # noqa: B007  (read by the clock)
        display.show(read_status(directory, 1))
    assert len(output.getvalue().splitlines()) == 2
