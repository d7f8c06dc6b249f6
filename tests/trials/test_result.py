"""Results: explicit states; impossible combinations cannot be made."""

import errno
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search_spaces.errors import ConfigError, DataError
from trials.result import (
    FAILURE_KINDS,
    Outcome,
    TrialFailure,
    TrialFault,
    TrialResult,
    TrialStopped,
    failure_of,
    load_outcome,
    load_result,
    outcome_from_dict,
    outcome_to_dict,
    save_outcome,
)

FINISHED = TrialResult(
    easy=0.5,
    medium=0.25,
    hard=0.125,
    epochs=3,
    best_epoch=2,
    best_hard=0.2,
    loss=1.5,
    duration_s=12.0,
    images_per_second=20.0,
    params=1000,
    request="abc",
)
FAILED = TrialFailure(reason="loss is inf", kind="diverged", epoch=2, attempts=2)
STOPPED = TrialStopped(epoch=1, epochs=3, hard=0.25, reason="below the best half at epoch 1")


@pytest.mark.parametrize("outcome", [FINISHED, FAILED, STOPPED, replace(STOPPED, hard=None)])
def test_outcomes_survive_the_disk(tmp_path: Path, outcome: Outcome) -> None:
    save_outcome(outcome, tmp_path)
    assert load_outcome(tmp_path) == outcome
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_only_a_finished_trial_has_a_result(tmp_path: Path) -> None:
    assert load_result(tmp_path) is None
    for outcome in (FAILED, STOPPED):
        save_outcome(outcome, tmp_path)
        assert load_result(tmp_path) is None
    save_outcome(FINISHED, tmp_path)
    assert load_result(tmp_path) == FINISHED


def test_a_failure_has_no_ap() -> None:
    assert not {"easy", "medium", "hard"} & set(outcome_to_dict(FAILED))
    with pytest.raises(ConfigError, match=r"unknown keys \['hard'\]"):
        outcome_from_dict({**outcome_to_dict(FAILED), "hard": 0.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hard": float("nan")}, "hard must be a finite number from 0 to 1, got nan"),
        ({"hard": 1.01}, "hard must be a finite number"),
        ({"easy": None}, "easy must be a finite number"),
        ({"loss": float("inf")}, "loss must be a finite number"),
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"epochs": 2.5}, "epochs must be an integer"),
        ({"best_epoch": 4}, "best_epoch must not exceed epochs of 3, got 4"),
    ],
)
def test_impossible_results_cannot_be_made(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(FINISHED, **change)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"reason": " "}, "reason must be text and not empty"),
        ({"reason": "x", "kind": "tired"}, "kind must be one of"),
        ({"reason": "x", "attempts": 0}, "attempts must be an integer of at least 1"),
    ],
)
def test_impossible_failures_cannot_be_made(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrialFailure(**values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 0}, "epoch must be an integer of at least 1, got 0"),
        ({"epoch": 3}, "a stopped trial's epoch must be below its 3 epochs, got 3"),
        ({"hard": 1.5}, "hard must be a finite number from 0 to 1"),
        ({"reason": ""}, "reason must be text and not empty"),
    ],
)
def test_impossible_stops_cannot_be_made(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(STOPPED, **change)


def test_a_reason_is_one_line() -> None:
    assert TrialFailure(reason="a\n  b\tc").reason == "a b c"
    assert replace(STOPPED, reason="a\n  b").reason == "a b"


@pytest.mark.parametrize(
    "text", ["", "[1]", "{}", '{"state": "running"}', '{"state": "finished"}', '{"state": ["x"]}']
)
def test_a_damaged_result_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ConfigError, match=r"result\.json"):
        load_outcome(tmp_path)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TrialFault("x", "diverged", 3), "diverged"),
        (MemoryError(), "memory"),
        (torch.OutOfMemoryError("x"), "memory"),
        (OSError(errno.ENOMEM, "x"), "memory"),
        (OSError(errno.ENOSPC, "x"), "disk"),
        (OSError(errno.EDQUOT, "x"), "disk"),
        (OSError(errno.EIO, "x"), "error"),
        (DataError("x"), "data"),
        (KeyboardInterrupt(), "killed"),
        (ValueError("x"), "error"),
    ],
)
def test_errors_are_classified(error: BaseException, kind: str) -> None:
    failure = failure_of(error, attempts=2)
    assert (failure.kind, failure.attempts) == (kind, 2)
    assert kind in FAILURE_KINDS


def test_a_fault_crosses_processes_with_its_kind_and_epoch() -> None:
    fault = pickle.loads(pickle.dumps(TrialFault("loss is nan", "diverged", 7)))  # noqa: S301
    assert (str(fault), fault.kind, fault.epoch) == ("loss is nan", "diverged", 7)
