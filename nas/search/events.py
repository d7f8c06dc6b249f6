"""Events of a running stage: what happens to its trials, and the type of their subscribers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from nas.early_stopping.asha import RungDecision
from trials.result import TrialFailure

EventKind = Literal[
    "started", "epoch", "retried", "finished", "failed", "reached", "promoted", "stopped"
]


@dataclass(frozen=True, kw_only=True)
class TrialEvent:
    """Something that happened to a trial, in the order in which the driver learns of it.

    Attributes:
        kind: `started`, `epoch` (with `epoch` and the evaluated `hard`, if any), `retried`
            (an attempt failed, another follows), `finished`, `failed` (no attempt is left),
            `reached` (its task's `until`); and a scheduler's decisions at an evaluated epoch:
            `promoted` (continues past a rung), `stopped` (ends here).
        epoch, epochs: Number of the epoch and epochs of a whole trial, for `epoch` and
            decisions; 0 otherwise.
        hard: Hard AP of an evaluated epoch.
        failure: Failure of `retried` and `failed`.
        metrics: Losses, rates and APs of an `epoch`, by name.
    """

    kind: EventKind
    number: int
    epoch: int = 0
    epochs: int = 0
    hard: float | None = None
    failure: TrialFailure | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """Whether the trial occupies its machine after this event."""
        return self.kind in ("started", "epoch")

    @property
    def leaves(self) -> bool:
        """Whether the trial has left its machine with this event."""
        return not self.is_running and self.kind != "promoted"

    @property
    def is_end(self) -> bool:
        """Whether the trial has an outcome with this event."""
        return self.kind in ("finished", "failed", "stopped")


def decision_event(decision: RungDecision, epochs: int) -> TrialEvent:
    """Return the event of a decision about a trial of `epochs` epochs."""
    return TrialEvent(
        kind="promoted" if decision.continues else "stopped",
        number=decision.number,
        epoch=decision.rung,
        epochs=epochs,
        hard=decision.hard,
    )


Subscriber: TypeAlias = Callable[[TrialEvent], None]


def publisher(subscribers: Sequence[Subscriber]) -> Subscriber:
    """Return a function that passes an event to the subscribers in their order."""

    def publish(event: TrialEvent) -> None:
        for subscriber in subscribers:
            subscriber(event)

    return publish
