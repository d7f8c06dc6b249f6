"""Ending poor trials early: after which epochs they are compared, and Ray Tune's own classes.

`asha`, `hyperband` and `median` are Tune's schedulers on the hard AP of the evaluated epochs.
With complete rungs the trials are compared at the ends of complete short trainings, in rounds
that this program runs itself (`nas.early_stopping.rounds`): a rung then ranks networks that have
had their learning-rate drops.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

SCHEDULERS = ("fifo", "asha", "hyperband", "median")
RUNGS = ("shared", "complete")
METRIC, TIME = "hard", "epoch"
_MEDIAN_SAMPLES = 3  # trials that must have come as far before one is stopped


# Hard AP by evaluated epoch, ascending.
HardCurve: TypeAlias = Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Which trials are ended early.

    Attributes:
        epochs: of a whole trial.
        scheduler: one of `SCHEDULERS`; `fifo` ends none.
        rungs: `shared`: all comparisons lie on the learning-rate schedule of the whole trial;
            `complete`: each ends a schedule of its own (`TrialSettings.rungs`).
        reduction_factor: one in so many trials continues at a rung. Not used by `median`.
        grace_epochs: no trial ends before; None: epochs / reduction_factor^2, at least 1.
            Not used by `hyperband`, whose brackets have their own.
    """

    epochs: int
    scheduler: str = "fifo"
    rungs: str = "shared"
    reduction_factor: int = 3
    grace_epochs: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("scheduler", SCHEDULERS), ("rungs", RUNGS)):
            value = getattr(self, name)
            if value not in known:
                raise ConfigError(f"{name} must be one of {known}, got {value!r}")
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
        """Whether trials may end early at all."""
        return self.scheduler != "fifo"

    @property
    def grace(self) -> int:
        """The first epoch after which a trial may end."""
        return self.grace_epochs or max(1, self.epochs // self.reduction_factor**2)

    @property
    def milestones(self) -> tuple[int, ...]:
        """The epochs after which trials are compared, ascending, all before the last one."""
        found = {
            "fifo": (),
            "asha": self._halved() if self.is_complete else self._asha(),
            "hyperband": self._hyperband(),
            "median": range(self.grace, self.epochs, self.grace),
        }[self.scheduler]
        return tuple(sorted(epoch for epoch in set(found) if epoch < self.epochs))

    @property
    def complete_rungs(self) -> tuple[int, ...]:
        """The rungs that shape the learning rate: `TrialSettings.rungs`."""
        return self.milestones if self.is_complete else ()

    def _halved(self) -> Iterator[int]:
        """From the top: the last round continues into the whole training at the usual ratio."""
        rung = self.epochs // self.reduction_factor
        while rung >= self.grace:
            yield rung
            rung //= self.reduction_factor

    def _asha(self) -> Iterator[int]:
        """From the grace epochs up, as `ray.tune.schedulers.ASHAScheduler` places them."""
        rung = self.grace
        while rung < self.epochs:
            yield rung
            rung *= self.reduction_factor

    def _hyperband(self) -> Iterator[int]:
        """Those of all brackets, as `ray.tune.schedulers.HyperBandScheduler` computes them."""
        for bracket in range(round(math.log(self.epochs, self.reduction_factor)) + 1):
            rung = int(self.epochs * self.reduction_factor ** (-bracket))
            while 0 < rung < self.epochs:
                yield rung
                rung *= self.reduction_factor


def tune_scheduler(schedule: Schedule) -> "TrialScheduler":
    """A new scheduler of Ray Tune that maximises hard AP over epochs.

    Raises:
        ConfigError: complete rungs, which are not Tune's matter.
    """
    from ray.tune import schedulers

    if schedule.is_complete:
        raise ConfigError("complete rungs are run in rounds, not by a scheduler of Ray Tune")
    if schedule.scheduler == "asha":
        return schedulers.ASHAScheduler(
            time_attr=TIME,
            metric=METRIC,
            mode="max",
            max_t=schedule.epochs,
            grace_period=schedule.grace,
            reduction_factor=schedule.reduction_factor,
        )
    if schedule.scheduler == "hyperband":
        return schedulers.HyperBandScheduler(
            time_attr=TIME,
            metric=METRIC,
            mode="max",
            max_t=schedule.epochs,
            reduction_factor=schedule.reduction_factor,
        )
    if schedule.scheduler == "median":
        return schedulers.MedianStoppingRule(
            time_attr=TIME,
            metric=METRIC,
            mode="max",
            grace_period=schedule.grace,
            min_samples_required=_MEDIAN_SAMPLES,
            min_time_slice=math.inf,  # type: ignore[arg-type]  # never yields its place
        )
    return schedulers.FIFOScheduler()  # type: ignore[no-untyped-call]
