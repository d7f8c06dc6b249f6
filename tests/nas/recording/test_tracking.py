"""Calls of a tracker, whose failures do not end a search."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fake_search import FakeSearch
from fake_trials import make_architecture, make_data, set_faults

from nas.cli.main import run
from nas.recording import tracking
from nas.recording.background import Background
from nas.recording.tracking import TrackedRuns, require_tracker
from nas.search.events import TrialEvent
from search_spaces.errors import ConfigError


class FakeTracker:
    """A tracker that keeps its calls, and fails at the kinds of calls in `fails`."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.fails: set[str] = set()

    def _keep(self, kind: str, *values: Any) -> None:
        if kind in self.fails:
            raise ConnectionError(f"no server\nfor {kind}")
        self.calls.append((kind, *values))

    def start(self, name: str, parameters: Mapping[str, Any]) -> str:
        self._keep("start", name, dict(parameters))
        return f"run {name}"

    def log(self, run: str, step: int, metrics: Mapping[str, float]) -> None:
        self._keep("log", run, step, dict(metrics))

    def end(self, run: str, *, failed: bool) -> None:
        self._keep("end", run, failed)


@pytest.fixture
def tracker() -> FakeTracker:
    return FakeTracker()


@pytest.fixture
def runs(tracker: FakeTracker) -> TrackedRuns:
    return TrackedRuns(tracker, lambda number: {"candidate": number})


def test_a_candidate_is_a_run_with_its_number_parameters_and_epochs(
    tracker: FakeTracker, runs: TrackedRuns
) -> None:
    runs.record(TrialEvent(kind="started", number=7))
    metrics = {"loss": 0.5, "hard": None}
    runs.record(TrialEvent(kind="epoch", number=7, epoch=4, metrics=metrics))
    runs.record(TrialEvent(kind="finished", number=7))
    assert tracker.calls == [
        ("start", "0007", {"candidate": 7}),
        ("log", "run 0007", 4, {"loss": 0.5}),
        ("end", "run 0007", False),
    ]


def test_runs_that_are_open_at_the_end_have_failed(tracker: FakeTracker, runs: TrackedRuns) -> None:
    for number in (1, 2):
        runs.record(TrialEvent(kind="started", number=number))
    runs.record(TrialEvent(kind="retried", number=1))
    runs.record(TrialEvent(kind="failed", number=2))
    runs.end_all()
    assert tracker.calls[-2:] == [("end", "run 0002", True), ("end", "run 0001", True)]


def test_a_run_whose_start_failed_begins_with_a_later_epoch(
    tracker: FakeTracker, runs: TrackedRuns
) -> None:
    tracker.fails = {"start"}
    with pytest.raises(ConnectionError):
        runs.record(TrialEvent(kind="started", number=1))
    tracker.fails = set()
    runs.record(TrialEvent(kind="epoch", number=1, epoch=2, metrics={"loss": 0.5}))
    assert [call[0] for call in tracker.calls] == ["start", "log"]


@pytest.mark.parametrize(("pause_s", "count"), [(300.0, 1), (0.0, 3)])
def test_a_failure_is_logged_once_and_followed_by_a_pause(pause_s: float, count: int) -> None:
    lines: list[str] = []
    call = Mock(side_effect=OSError("gone"))
    background = Background("--track", lines.append, pause_s)
    for _ in range(3):
        background.submit(call)
    background.close(10.0)
    assert call.call_count == count
    assert lines == ["--track: gone (further failures are not shown)"]


def test_a_search_is_shown_in_the_tracker(
    tracker: FakeTracker, search: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "require_tracker", lambda name: None)
    monkeypatch.setattr(tracking, "MLflow", lambda name: tracker)
    search.options = {"track": "mlflow"}
    set_faults(search.data, **{"raise": {"2": 1}})
    search.begin(2, retries=0)
    (_, name, parameters) = tracker.calls[0]
    assert name == "0001"
    assert parameters["hash"] == make_architecture(1).content_hash
    assert (parameters["epochs"], parameters["seed"], parameters["depth_c5"]) == (3, 0, 1)
    assert [call[1:] for call in tracker.calls if call[0] == "end"] == [
        ("run 0001", False),
        ("run 0002", True),
    ]


def test_a_tracker_that_does_not_answer_is_an_error_at_the_start(
    search: FakeSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "require_tracker", lambda name: None)
    unreachable = Mock(side_effect=ConnectionError("no server\nat all"))
    monkeypatch.setattr(tracking, "MLflow", unreachable)
    search.options = {"track": "mlflow"}
    message = r"--track mlflow cannot begin \(no server\); see MLFLOW_TRACKING_URI"
    with pytest.raises(ConfigError, match=message):
        search.begin(2)


def test_unknown_and_missing_trackers_are_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_data(tmp_path / "data")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    command = ["stage1", "--flops", "0.5G", "--data", "data", "--track"]
    for tracker, message in (
        ("neptune", "--track must be one of mlflow, wandb, got 'neptune'"),
        ("mlflow", "needs the package mlflow, which is not installed: pip install mlflow"),
    ):
        assert run([*command, tracker]) == 1
        assert message in capsys.readouterr().err
    assert not Path("runs").exists()
    with pytest.raises(ConfigError, match="pip install wandb"):
        require_tracker("wandb")
