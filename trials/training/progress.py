"""Progress of a trial: finished epochs and the sums of the current one. Checkpoints store it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.checks import require_fields, require_integer, require_number
from search_spaces.errors import ConfigError
from trials.result import LOSSES, APs, EpochReport, TrialFault, TrialResult


@dataclass(kw_only=True)
class EpochSums:
    """Sums over the finished iterations of an epoch.

    Attributes:
        iterations: number of finished iterations.
        images: number of images, of all workers together.
        seconds: wall time of the iterations.
        losses: sum of each loss in the order of `LOSSES`.
        learning_rate: rate of the last iteration.
    """

    iterations: int = 0
    images: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=lambda: [0.0] * len(LOSSES))
    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        """Check the values, since a checkpoint may come from elsewhere. Raises ConfigError."""
        for name in ("iterations", "images"):
            require_integer(getattr(self, name), name, 0)
        for name in ("seconds", "learning_rate"):
            require_number(getattr(self, name), name, 0.0)
        if len(self.losses) != len(LOSSES):
            raise ConfigError(f"losses must be {len(LOSSES)} numbers, got {len(self.losses)}")
        for value in self.losses:
            require_number(value, "each of losses", -math.inf)


@dataclass(kw_only=True)
class Progress:
    """Everything that a trial has done so far.

    Attributes:
        reports: one report for each finished epoch.
        duration_s: seconds of training and evaluation in the finished epochs.
        images: number of images trained on in them.
        step_s: seconds of their training iterations.
        sums: sums of the current epoch, zero until its first iteration ends.
    """

    reports: list[EpochReport] = field(default_factory=list)
    duration_s: float = 0.0
    images: int = 0
    step_s: float = 0.0
    sums: EpochSums = field(default_factory=EpochSums)

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.reports)

    @property
    def best(self) -> EpochReport | None:
        """Report with the highest hard AP, the first among equals; None without an AP."""
        evaluated = [report for report in self.reports if report.aps]
        return max(evaluated, key=lambda report: report.hard or 0.0, default=None)

    def end_epoch(self, epochs: int, aps: APs | None, duration_s: float) -> EpochReport:
        """Turn the sums of the current epoch into its report, and start the next epoch."""
        sums, count = self.sums, max(self.sums.iterations, 1)
        means = {name: total / count for name, total in zip(LOSSES, sums.losses, strict=True)}
        report = EpochReport(
            epoch=self.epoch + 1,
            epochs=epochs,
            **means,
            learning_rate=sums.learning_rate,
            images_per_second=sums.images / max(sums.seconds, 1e-9),
            aps=aps,
        )
        self.reports.append(report)
        self.duration_s += duration_s
        self.images += sums.images
        self.step_s += sums.seconds
        self.sums = EpochSums()
        return report

    def result(self, params: int, request: str) -> TrialResult:
        """Return the result of a trial whose last epoch is finished.

        Raises:
            TrialFault: the last epoch was not evaluated.
        """
        best, last = self.best, self.reports[-1]
        if best is None or last.aps is None:
            raise TrialFault("the evaluation of the last epoch is missing", epoch=self.epoch)
        return TrialResult(
            **last.aps.as_dict(),
            epochs=last.epoch,
            best_epoch=best.epoch,
            best_hard=best.hard or 0.0,
            loss=last.loss,
            duration_s=self.duration_s,
            images_per_second=self.images / max(self.step_s, 1e-9),
            params=params,
            request=request,
        )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Progress":
        """Build from the result of `dataclasses.asdict`. Raises ConfigError or TypeError."""
        values = require_fields(cls, content, "progress")
        values["reports"] = [_report(report) for report in values["reports"]]
        values["sums"] = EpochSums(**values["sums"])
        return cls(**values)


def _report(content: Mapping[str, Any]) -> EpochReport:
    values = require_fields(EpochReport, content, "an epoch's report")
    aps = values["aps"]
    return EpochReport(**{**values, "aps": APs(**aps) if aps is not None else None})
