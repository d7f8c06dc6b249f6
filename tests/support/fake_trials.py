"""Trials that cost nothing: what the search's tests run instead of training.

A fake trial writes the files of a real one, continues from its metrics, and ends with APs
that follow from the architecture alone. `faults.json` in the data folder makes it misbehave:

    {"epoch_s": 0.1, "raise": {"3": 2}, "kill": {"5": 2}, "kill_always": {"6": 1}}

raises in epoch 2 of candidate 3 at every attempt, kills the process in epoch 2 of
candidate 5 at the first attempt, and in epoch 1 of candidate 6 at every attempt.
"""

import csv
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.tasks import Resources, TrialEvent, TrialTask, run_task
from search_spaces.architecture import Architecture, Backbone, Head, Neck
from trials.metrics import METRICS_FILE, write_metrics
from trials.result import APs, EpochReport, TrialResult, failure_of, load_result, save_outcome
from trials.settings import TrialSettings

ENTRY = "fake_trials:run"


def make_data(root: Path, **faults: Any) -> Path:
    """The skeleton of a data folder, and its faults."""
    for split in ("train", "val"):
        (root / split / "images").mkdir(parents=True)
        (root / split / "labelv2.txt").write_text(f"# {split}.jpg 64 64\n")
    (root / "val" / "gt").mkdir()
    set_faults(root, **faults)
    return root


def set_faults(root: Path, **faults: Any) -> None:
    (root / "faults.json").write_text(json.dumps(faults))


def make_architecture(number: int) -> Architecture:
    backbone = Backbone(
        block="basic", stem_widths=(8,), depths=(1, 1, 1, number), widths=(8, 8, 8, 8)
    )
    return Architecture(
        backbone=backbone, neck=Neck(width=8), head=Head(convs=1, width=8, groups=8)
    )


@dataclass(frozen=True)
class Proposed:
    """Like `nas.proposals.Proposals`."""

    architectures: tuple[Architecture, ...]
    note: str | None = None


def propose(request: Any, template: Architecture | None) -> Proposed:
    """Candidates that differ in one depth; at most 6, as a small space would have."""
    first = 30 if request.stage == 2 else 0
    number = min(request.num_candidates, 6)
    architectures = tuple(make_architecture(first + n) for n in range(1, number + 1))
    return Proposed(architectures, "only 6; all taken" if number == 6 else None)


def hard_ap(architecture: Architecture) -> float:
    """Between 0.1 and 0.9, different for different architectures."""
    return round(0.1 + 0.8 * int(architecture.content_hash[:6], 16) / 0xFFFFFF, 6)


def run(
    architecture: Architecture,
    recipe: Any,
    data_root: Path,
    folder: Path,
    *,
    settings: TrialSettings,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> TrialResult:
    """A fake of `trials.run.run_trial`."""
    folder.mkdir(parents=True, exist_ok=True)
    finished = load_result(folder)
    if finished is not None:
        return finished
    faults = json.loads((data_root / "faults.json").read_text())
    attempt = _count(folder / "attempts")
    (folder / "pid").write_text(str(os.getpid()))
    reports = _finished_epochs(folder, settings.epochs)
    hard = hard_ap(architecture)
    for epoch in range(len(reports) + 1, settings.epochs + 1):
        time.sleep(faults.get("epoch_s", 0.0))
        _misbehave(faults, int(folder.name), epoch, attempt)
        aps = APs(easy=1.0, medium=hard, hard=hard) if epoch == settings.epochs else None
        reports.append(_report(epoch, settings.epochs, aps))
        write_metrics(reports, folder)
        if on_epoch is not None:
            on_epoch(reports[-1])
    result = TrialResult(
        easy=1.0,
        medium=hard,
        hard=hard,
        epochs=settings.epochs,
        best_epoch=settings.epochs,
        best_hard=hard,
        loss=1.0,
        duration_s=float(attempt),
        images_per_second=1.0,
        params=1,
    )
    save_outcome(result, folder)
    return result


def _misbehave(faults: dict[str, Any], number: int, epoch: int, attempt: int) -> None:
    def is_due(kind: str) -> bool:
        return faults.get(kind, {}).get(str(number)) == epoch

    if is_due("raise"):
        raise ValueError(f"epoch {epoch}\nis not to be")
    if is_due("kill_always") or (is_due("kill") and attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)


def _count(path: Path) -> int:
    attempt = 1 + (int(path.read_text()) if path.exists() else 0)
    path.write_text(str(attempt))
    return attempt


def _finished_epochs(folder: Path, epochs: int) -> list[EpochReport]:
    if not (folder / METRICS_FILE).exists():
        return []
    with (folder / METRICS_FILE).open() as file:
        return [_report(int(row["epoch"]), epochs, None) for row in csv.DictReader(file)]


def _report(epoch: int, epochs: int, aps: APs | None) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        epochs=epochs,
        loss=1.0,
        cls_loss=0.5,
        box_loss=0.5,
        keypoint_loss=0.0,
        learning_rate=0.01,
        images_per_second=10.0,
        aps=aps,
    )


@dataclass
class FakeCluster:
    """The executor's interface without Ray: one trial after the other, in this process."""

    cpus: float = 2.0
    gpus: float = 0.0
    asked: list[int] = field(default_factory=list)
    resources: Resources | None = None

    def default_resources(self, num_trials: int) -> Resources:
        return Resources(cpus_per_trial=1)

    def check(self, resources: Resources) -> None:
        pass

    def run(
        self,
        tasks: Sequence[TrialTask],
        resources: Resources,
        *,
        on_event: Callable[[TrialEvent], None],
        retries: int = 1,
    ) -> None:
        self.resources = resources
        for task in tasks:
            self.asked.append(task.number)
            for attempt in range(1, retries + 2):
                if self._attempt(task, on_event, attempt, is_last=attempt > retries):
                    break

    def _attempt(self, task: TrialTask, on_event: Any, attempt: int, is_last: bool) -> bool:
        on_event(TrialEvent(kind="started", number=task.number))

        def on_epoch(report: EpochReport) -> None:
            hard = report.aps.hard if report.aps else None
            epochs = {"epoch": report.epoch, "epochs": report.epochs}
            on_event(TrialEvent(kind="epoch", number=task.number, hard=hard, **epochs))

        try:
            run_task(task, on_epoch)
        except Exception as error:
            kind: Any = "failed" if is_last else "retried"
            failure = failure_of(error, attempt)
            on_event(TrialEvent(kind=kind, number=task.number, failure=failure))
            return False
        on_event(TrialEvent(kind="finished", number=task.number))
        return True

    def connect(self, address: str | None) -> Any:
        return nullcontext(self)
