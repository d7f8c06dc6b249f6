"""Events of a running stage: what happens to its trials."""

from dataclasses import dataclass
from typing import Literal

from trials.result import TrialFailure

EventKind = Literal[
    "started", "epoch", "retried", "finished", "failed", "reached", "promoted", "stopped"
]


@dataclass(frozen=True, kw_only=True)
class TrialEvent:
    """Something that happened to a trial, in the order in which the driver hears of it.

    Attributes:
        kind: `started`, `epoch` (with `epoch` and the evaluated `aps`, if any), `retried`
            (an attempt failed, another follows), `finished`, `failed` (no attempt is left),
            `reached` (its task's `until`); and a scheduler's decisions at an evaluated epoch:
            `promoted` (continues past a rung), `stopped` (ends here).
        epoch, epochs: of an `epoch` event and of a decision; 0 otherwise.
        hard: hard AP of an evaluated epoch.
        failure: of `retried` and `failed`.
    """

    kind: EventKind
    number: int
    epoch: int = 0
    epochs: int = 0
    hard: float | None = None
    failure: TrialFailure | None = None
