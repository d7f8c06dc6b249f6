"""Outcomes of trials: explicit states, and no impossible combinations."""

import errno
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import make_result

from search_spaces.errors import ConfigError, DataError
from trials.failure import failure_of
from trials.result import (
    FAILURE_KINDS,
    Outcome,
    TrialFailure,
    TrialFault,
    TrialStopped,
    load_outcome,
    load_result,
    outcome_from_dict,
    outcome_to_dict,
    save_outcome,
)

FINISHED = make_result(0.125, epochs=3, best_epoch=2, best_hard=0.2, request="abc")
FAILED = TrialFailure(reason="loss is inf", kind="diverged", epoch=2, attempts=2)
STOPPED = TrialStopped(epoch=1, epochs=3, hard=0.25, reason="below the best half at epoch 1")


@pytest.mark.parametrize("outcome", [FINISHED, FAILED, STOPPED, replace(STOPPED, hard=None)])
def test_outcomes_round_trip_through_their_file(tmp_path: Path, outcome: Outcome) -> None:
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
    ("outcome", "change", "message"),
    [
        (FINISHED, {"hard": float("nan")}, "hard must be a finite number from 0 to 1, got nan"),
        (FINISHED, {"hard": 1.01}, "hard must be a finite number"),
        (FINISHED, {"easy": None}, "easy must be a finite number"),
        (FINISHED, {"loss": float("inf")}, "loss must be a finite number"),
        (FINISHED, {"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        (FINISHED, {"epochs": 2.5}, "epochs must be an integer"),
        (FINISHED, {"best_epoch": 4}, "best_epoch must not exceed epochs of 3, got 4"),
        (FAILED, {"reason": " "}, "reason must be text and not empty"),
        (FAILED, {"kind": "tired"}, "kind must be one of"),
        (FAILED, {"attempts": 0}, "attempts must be an integer of at least 1"),
        (STOPPED, {"epoch": 0}, "epoch must be an integer of at least 1, got 0"),
        (STOPPED, {"epoch": 3}, "a stopped trial's epoch must be below its 3 epochs, got 3"),
        (STOPPED, {"hard": 1.5}, "hard must be a finite number from 0 to 1"),
        (STOPPED, {"reason": ""}, "reason must be text and not empty"),
    ],
)
def test_impossible_outcomes_are_refused(
    outcome: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(outcome, **change)


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


def test_a_pickled_fault_keeps_its_kind_and_epoch() -> None:
    fault = pickle.loads(pickle.dumps(TrialFault("loss is nan", "diverged", 7)))  # noqa: S301
    assert (str(fault), fault.kind, fault.epoch) == ("loss is nan", "diverged", 7)
