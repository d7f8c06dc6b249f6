"""Trials in a tracker: what it is shown, and that its failures do not end a search."""

import importlib.util
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_trials import make_data
from ray import tune
from ray.tune.logger import LoggerCallback

from nas.cli.main import run
from nas.recording.tracking import PAUSE_S, Patience, Tracking, require_tracker
from nas.recording.tracking_callbacks import _made
from search_spaces.errors import ConfigError


class Recording(LoggerCallback):
    """What one of Tune's callbacks would be told; fails where it is told to."""

    def __init__(self, experiment_name: str) -> None:
        self.told: list[Any] = []
        self.fails: set[str] = set()
        self.name = experiment_name

    def _tell(self, kind: str, *values: Any) -> None:
        if kind in self.fails:
            raise ConnectionError(f"no server\nfor {kind}")
        self.told.append((kind, *values))

    def setup(self, *args: Any, **kwargs: Any) -> None:
        self._tell("setup")

    def log_trial_start(self, trial: Any) -> None:
        self._tell("start", str(trial), dict(trial.config))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        self._tell("result", str(trial), result)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        self._tell("end", str(trial), failed)


@dataclass(eq=False)
class Trial:
    number: int
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.config = {"number": self.number, "task": "a long text"}

    def __str__(self) -> str:
        return f"{self.number:04d}"


def result(epoch: int, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "training_iteration": 1, "metrics": {}} | more


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def callback(notes: list[str]) -> Any:
    shown = Tracking(
        tracker="mlflow",
        name="s/stage1",
        parameters=lambda number: {"candidate": number, "block": "basic"},
        note=notes.append,
    )
    made = _made(Recording, shown, {"experiment_name": shown.name})
    made.setup()
    return made


def test_a_candidate_is_shown_by_its_numbers_and_epochs(callback: Any) -> None:
    trial = Trial(7)
    callback.on_trial_start(1, [], trial)
    callback.on_trial_result(1, [], trial, result(4, metrics={"loss": 0.5, "hard": None}))
    callback.on_trial_complete(1, [], trial)
    assert callback.told == [
        ("setup",),
        ("start", "0007", {"candidate": 7, "block": "basic"}),
        ("result", "0007", {"loss": 0.5, "epoch": 4, "training_iteration": 4}),
        ("end", "0007", False),
    ]
    assert trial.config["task"] == "a long text"


def test_what_is_open_at_the_end_was_interrupted(callback: Any) -> None:
    for number in (1, 2):
        callback.on_trial_start(1, [], trial := Trial(number))
    callback.on_trial_error(1, [], trial)
    callback.leave()
    assert callback.told[-2:] == [("end", "0002", True), ("end", "0001", True)]


def test_a_trial_whose_start_was_missed_is_begun_later(callback: Any, notes: list[str]) -> None:
    clock = [0.0]
    callback.patience._clock = lambda: clock[0]
    callback.fails = {"start"}
    trial = Trial(1)
    callback.on_trial_start(1, [], trial)
    callback.fails = set()
    callback.on_trial_result(1, [], trial, result(1))
    assert callback.told == [("setup",)]
    clock[0] = PAUSE_S
    callback.on_trial_result(1, [], trial, result(2))
    assert [item[0] for item in callback.told] == ["setup", "start", "result"]
    assert notes == ["--track: no server; the search goes on without it for now"]


def test_a_tracker_that_does_not_answer_at_the_start_is_an_error(callback: Any) -> None:
    callback.fails = {"setup"}
    message = r"--track mlflow cannot begin \(no server\); see MLFLOW_TRACKING_URI"
    with pytest.raises(ConfigError, match=message):
        callback.setup()


def test_tune_can_pickle_it(callback: Any) -> None:
    assert type(pickle.loads(pickle.dumps(callback))) is tune.Callback  # noqa: S301


def test_failures_are_noted_once_and_followed_by_a_pause() -> None:
    notes, calls, clock = [], [], [0.0]

    def fail() -> None:
        calls.append(clock[0])
        raise OSError("gone")

    patience = Patience(notes.append, lambda: clock[0])
    for now in (0.0, 1.0, PAUSE_S - 1, PAUSE_S, PAUSE_S + 1):
        clock[0] = now
        patience.call(fail)
    assert calls == [0.0, PAUSE_S]
    assert len(notes) == 1


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
