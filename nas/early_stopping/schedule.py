"""Epochs after which trials are compared and the poor ones stopped."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError

SCHEDULERS = ("fifo", "asha")
RUNGS = ("shared", "complete")
METRIC, TIME = "hard", "epoch"  # keys of a trial's reports
_REMOVED = ("hyperband", "median")

# Hard AP by evaluated epoch, ascending.
HardCurve: TypeAlias = Mapping[int, float]


def check_scheduler(name: str) -> None:
    """Refuse an unknown scheduler. Raises ConfigError."""
    if name in _REMOVED:
        raise ConfigError(
            f"scheduler {name!r} was removed, as asha found the best candidates in fewer epochs "
            "in every replay; use asha"
        )
    if name not in SCHEDULERS:
        raise ConfigError(f"scheduler must be one of {SCHEDULERS}, got {name!r}")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Rule by which trials end early.

    Attributes:
        epochs: epochs of a whole trial.
        scheduler: `fifo` stops no trial; `asha` is successive halving.
        rungs: `shared`: rungs are epochs of the whole trial's learning-rate schedule, and trials
            are compared as they arrive (`nas.early_stopping.asha`); `complete`: each rung ends a
            learning-rate schedule of its own (`TrialSettings.rungs`), and all trials are
            compared at once (`nas.early_stopping.rounds`).
        reduction_factor: one in this many trials continues at a rung.
        grace_epochs: first epoch after which a trial may stop; None: epochs /
            reduction_factor^2, at least 1.
    """

    epochs: int
    scheduler: str = "fifo"
    rungs: str = "shared"
    reduction_factor: int = 3
    grace_epochs: int | None = None

    def __post_init__(self) -> None:
        check_scheduler(self.scheduler)
        if self.rungs not in RUNGS:
            raise ConfigError(f"rungs must be one of {RUNGS}, got {self.rungs!r}")
        require_integer(self.epochs, "epochs", 1)
        require_integer(self.reduction_factor, "reduction_factor", 2)
        if self.grace_epochs is not None:
            require_integer(self.grace_epochs, "grace_epochs", 1, self.epochs)
        if self.is_complete and self.scheduler != "asha":
            rule = "complete rungs need --scheduler asha (successive halving)"
            raise ConfigError(f"{rule}, got {self.scheduler}")
        if self.is_complete and not self.milestones:
            rule = f"complete rungs need an epoch from the grace epochs ({self.grace}) to below "
            rule += f"epochs / reduction_factor ({self.epochs / self.reduction_factor:g})"
            raise ConfigError(f"{rule}; choose more --epochs or fewer --grace-epochs")

    @property
    def is_complete(self) -> bool:
        """Whether rungs are complete short trainings."""
        return self.rungs == "complete"

    @property
    def stops_trials(self) -> bool:
        """Whether trials may end early."""
        return self.scheduler != "fifo"

    @property
    def grace(self) -> int:
        """First epoch after which a trial may end."""
        return self.grace_epochs or max(1, self.epochs // self.reduction_factor**2)

    @property
    def milestones(self) -> tuple[int, ...]:
        """Epochs of the rungs, ascending, all below `epochs`."""
        if not self.stops_trials:
            return ()
        return tuple(sorted(self._complete() if self.is_complete else self._shared()))

    @property
    def complete_rungs(self) -> tuple[int, ...]:
        """Rungs that shape the learning rate (`TrialSettings.rungs`)."""
        return self.milestones if self.is_complete else ()

    def _complete(self) -> Iterator[int]:
        """From the top, so that the last rung continues into the whole training at the factor."""
        rung = self.epochs // self.reduction_factor
        while rung >= self.grace:
            yield rung
            rung //= self.reduction_factor

    def _shared(self) -> Iterator[int]:
        """From the grace epochs up, as in `ray.tune.schedulers.ASHAScheduler`."""
        rung = self.grace
        while rung < self.epochs:
            yield rung
            rung *= self.reduction_factor
