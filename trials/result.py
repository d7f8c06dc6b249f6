"""Outcomes of a trial: finished with APs, failed with a reason, or stopped by a scheduler."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from search_spaces.checks import require_fields, require_integer, require_number, store_checked
from search_spaces.errors import ConfigError, DataError, TrialError
from search_spaces.files import read_json, write_json

# Names of the files in a trial's folder.
ARCHITECTURE_FILE = "architecture.yaml"
RESULT_FILE = "result.json"
METRICS_FILE = "metrics.csv"
LOG_FILE = "trial.log"
BEST = "best.pt"  # the model of the best evaluated epoch
LAST, PREVIOUS = "last.pt", "previous.pt"  # training states

SUBSETS = ("easy", "medium", "hard")
FAILURE_KINDS = ("diverged", "memory", "data", "disk", "node", "killed", "error")


class TrialFault(TrialError):  # noqa: N818  (a fault, not a bug)
    """Failure of a trial with its kind and epoch.

    Attributes:
        kind: one of `FAILURE_KINDS`: `diverged` (loss not finite), `memory` (host or GPU),
            `data`, `disk` (no space left), `node` (the machine lacks what a trial needs),
            `killed`, `error`.
        epoch: the epoch that was running, from 1; 0 before the first.
    """

    def __init__(self, message: str, kind: str = "error", epoch: int = 0) -> None:
        super().__init__(message, kind, epoch)  # all three, for pickling
        self.message, self.kind, self.epoch = message, kind, epoch

    def __str__(self) -> str:
        return self.message


class TrialInterrupted(TrialError):  # noqa: N818  (not an error of the trial)
    """A trial stopped on request; its folder holds the checkpoint to resume from."""


@dataclass(frozen=True, kw_only=True)
class APs:
    """Average precision in each WIDER FACE subset, as fractions of 1.

    Raises:
        DataError: a value outside 0..1.
    """

    easy: float
    medium: float
    hard: float

    def __post_init__(self) -> None:
        for name in SUBSETS:
            value = getattr(self, name)
            if not 0 <= value <= 1:  # NaN fails as well
                raise DataError(f"AP must be a fraction from 0 to 1, got {name}={value}")

    def as_dict(self) -> dict[str, float]:
        """Return `{"easy": .., "medium": .., "hard": ..}` for JSON."""
        return {name: float(getattr(self, name)) for name in SUBSETS}


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One finished epoch: mean losses, the last learning rate, and APs if it was evaluated.

    Attributes:
        epoch: from 1 to `epochs`.
        loss: mean total loss over the epoch's iterations; the sum of the three terms.
        images_per_second: throughput of training, without evaluation.
        aps: None if the epoch was not evaluated.
    """

    epoch: int
    epochs: int
    loss: float
    cls_loss: float
    box_loss: float
    keypoint_loss: float
    learning_rate: float
    images_per_second: float
    aps: APs | None = None

    @property
    def hard(self) -> float | None:
        """The hard AP, None if the epoch was not evaluated."""
        return self.aps.hard if self.aps else None


LOSSES = tuple(field.name for field in fields(EpochReport) if field.name.endswith("loss"))


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """A finished trial.

    Attributes:
        easy, medium, hard: APs of the last epoch's weights, as fractions of 1.
        epochs: number of epochs trained.
        best_epoch, best_hard: the evaluated epoch with the highest hard AP (`best.pt`).
        loss: mean training loss of the last epoch.
        duration_s: seconds of training and evaluation, over all attempts.
        images_per_second: throughput of the training.
        params: number of the network's parameters.
        request: fingerprint of the request (architecture, recipe, settings, data).
    """

    state: ClassVar[str] = "finished"
    easy: float
    medium: float
    hard: float
    epochs: int
    best_epoch: int
    best_hard: float
    loss: float
    duration_s: float
    images_per_second: float
    params: int
    request: str = ""

    def __post_init__(self) -> None:
        store_checked(self, require_number, ("easy", "medium", "hard", "best_hard"), 0, 1)
        store_checked(self, require_number, ("loss", "duration_s", "images_per_second"), 0)
        store_checked(self, require_integer, ("epochs", "best_epoch", "params"), 1)
        if self.best_epoch > self.epochs:
            rule = f"best_epoch must not exceed epochs of {self.epochs}"
            raise ConfigError(f"{rule}, got {self.best_epoch}")

    @property
    def aps(self) -> APs:
        """The three APs as one value."""
        return APs(easy=self.easy, medium=self.medium, hard=self.hard)


@dataclass(frozen=True, kw_only=True)
class TrialFailure:
    """A failed trial, which has a reason and, by construction, no AP.

    Attributes:
        reason: one line for the leaderboard.
        kind: one of `FAILURE_KINDS`.
        epoch: the epoch that was running at the last failure; 0 before the first.
        attempts: number of attempts.
    """

    state: ClassVar[str] = "failed"
    reason: str
    kind: str = "error"
    epoch: int = 0
    attempts: int = 1

    def __post_init__(self) -> None:
        if self.kind not in FAILURE_KINDS:
            raise ConfigError(f"kind must be one of {FAILURE_KINDS}, got {self.kind!r}")
        object.__setattr__(self, "reason", _one_line(self.reason))
        store_checked(self, require_integer, ["epoch"], 0)
        store_checked(self, require_integer, ["attempts"], 1)


@dataclass(frozen=True, kw_only=True)
class TrialStopped:
    """A trial that a scheduler ended early; its checkpoint remains, so that it can be resumed.

    Attributes:
        epoch: number of epochs trained, of `epochs`.
        hard: hard AP of the last evaluated epoch, None if there was none.
        reason: one line for the leaderboard.
    """

    state: ClassVar[str] = "stopped"
    epoch: int
    epochs: int
    hard: float | None
    reason: str

    def __post_init__(self) -> None:
        store_checked(self, require_integer, ("epoch", "epochs"), 1)
        if self.epoch >= self.epochs:
            rule = f"a stopped trial's epoch must be below its {self.epochs} epochs"
            raise ConfigError(f"{rule}, got {self.epoch}")
        if self.hard is not None:
            store_checked(self, require_number, ["hard"], 0, 1)
        object.__setattr__(self, "reason", _one_line(self.reason))


Outcome: TypeAlias = TrialResult | TrialFailure | TrialStopped


def _one_line(reason: object) -> str:
    """Return `reason` without line breaks. Raises ConfigError if it is empty or no text."""
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigError(f"reason must be text and not empty, got {reason!r}")
    return " ".join(reason.split())


def outcome_to_dict(outcome: Outcome) -> dict[str, Any]:
    """Return plain data with `state` first; only a finished trial has the three APs."""
    return {"state": outcome.state, **asdict(outcome)}


def outcome_from_dict(content: object, source: str = "result") -> Outcome:
    """Return the outcome in the plain data of `outcome_to_dict`.

    Raises:
        ConfigError: the data are not an outcome; the message begins with `source`.
    """
    kinds: dict[object, type[Any]] = {
        kind.state: kind for kind in (TrialResult, TrialFailure, TrialStopped)
    }
    if not isinstance(content, Mapping):
        raise ConfigError(f"{source}: a result must be a mapping, got {type(content).__name__}")
    state = content.get("state")
    if not isinstance(state, str) or state not in kinds:
        raise ConfigError(f"{source}: state must be one of {list(kinds)}, got {state!r}")
    values = {key: value for key, value in content.items() if key != "state"}
    require_fields(kinds[state], values, f"{source}: a {state} result")
    try:
        outcome: Outcome = kinds[state](**values)
        return outcome
    except (ConfigError, TypeError) as error:
        raise ConfigError(f"{source}: {error}") from error


def save_outcome(outcome: Outcome, folder: str | os.PathLike[str]) -> None:
    """Write `folder/result.json` atomically."""
    write_json(Path(folder) / RESULT_FILE, outcome_to_dict(outcome))


def load_outcome(folder: str | os.PathLike[str]) -> Outcome | None:
    """Return the outcome in `folder/result.json` or None. Raises ConfigError if it is damaged."""
    path = Path(folder) / RESULT_FILE
    return outcome_from_dict(read_json(path), str(path)) if path.exists() else None


def load_result(folder: str | os.PathLike[str]) -> TrialResult | None:
    """Return the result of a finished trial, None if it has failed, was stopped or still runs."""
    outcome = load_outcome(folder)
    return outcome if isinstance(outcome, TrialResult) else None
