"""Trials that cost nothing: what the search's tests run instead of training.

A fake trial writes the files of a real one, continues from its metrics, and ends with APs
that follow from the architecture alone. `faults.json` in the data folder makes it misbehave:

    {"epoch_s": 0.1, "raise": {"3": 2}, "kill": {"5": 2}, "kill_always": {"6": 1}}

raises in epoch 2 of candidate 3 at every attempt (`diverge` does so as a loss would), kills
the process in epoch 2 of candidate 5 at the first attempt, and in epoch 1 of candidate 6 at
every attempt.
`"curves": {"3": [0.2, 0.3]}` gives hard APs by epoch, the last one for all epochs after.
`"kill_epochs": {"7": 3}` kills the process once in each epoch of candidate 7 up to epoch 3.
`"images_mb": 60` holds as many megabytes of images while it trains, and leaves its process's
memory before that in the file `resident_mb`.
Candidate 3's training with seed 1 (`nas.results.confirm`) goes by "3/1".
"""

import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tiny
from tiny import make_report, make_result

from nas.running.nodes import Node
from nas.running.remote_trial_folder import local_folder
from nas.running.tasks import TrialJob, TrialTask, run_task
from nas.search.events import TrialEvent
from nas.search.request import Stage1Request
from nas.study.trials import Entry
from search_spaces.architecture import Architecture
from search_spaces.files import write_text
from trials.failure import failure_of
from trials.recipe import Recipe
from trials.result import (
    EpochReport,
    TrialFault,
    TrialInterrupted,
    TrialResult,
    load_result,
    save_outcome,
)
from trials.settings import TrialSettings
from trials.training.metrics import read_metrics, write_metrics
from trials.trial import NO_CALLBACKS, Callbacks, Trial

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


def make_request(**changes: Any) -> Stage1Request:
    """Return the request of a stage 1 at 1 GFLOPs."""
    recipe = Recipe.named("quick").to_dict()
    common = {"flops": 10**9, "data": "/data", "data_fingerprint": "0", "recipe": recipe}
    return Stage1Request(**{**common, **changes})


def make_architecture(number: int) -> Architecture:
    """A small network of which the last stage has `number` blocks."""
    return tiny.make_architecture(depths=(1, 1, 1, number))


def make_entries(*numbers: int) -> dict[int, Entry]:
    """Return entries of a study of stage 1."""
    return {
        number: Entry(
            architecture=make_architecture(number),
            file=f"stage1/{number:04d}/architecture.yaml",
            flops=100 + number,
            params=10 + number,
        )
        for number in numbers
    }


@dataclass(frozen=True)
class Proposed:
    """Like `nas.candidates.proposals.Proposals`."""

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
    trial: Trial, folder: Path, *, until: int, callbacks: Callbacks = NO_CALLBACKS
) -> TrialResult | None:
    """A fake of `trials.run.advance_trial`."""
    folder.mkdir(parents=True, exist_ok=True)
    finished = load_result(folder)
    if finished is not None:
        return finished
    settings = trial.settings
    file = trial.data_root / "faults.json"
    faults = json.loads(file.read_text()) if file.exists() else {}
    attempt = _count(folder / "attempts")
    (folder / "pid").write_text(str(os.getpid()))
    with (folder / "parents").open("a") as parents:  # a worker's parent is its node's raylet
        parents.write(f"{os.getppid()}\n")
    images = _hold_images(faults.get("images_mb", 0), folder)
    reports = read_metrics(folder, settings.epochs)
    curve = faults.get("curves", {}).get(_key(folder), [hard_ap(trial.architecture)])
    hard = curve[-1]
    for epoch in range(len(reports) + 1, until + 1):
        _sleep(faults.get("epoch_s", 0.0), callbacks.should_stop, folder)
        _misbehave(faults, folder, epoch, attempt)
        hard = curve[min(epoch, len(curve)) - 1]
        evaluated = hard if settings.is_evaluated(epoch) else None
        reports.append(make_report(epoch, settings.epochs, evaluated))
        write_metrics(reports, folder)
        if callbacks.on_epoch is not None:
            callbacks.on_epoch(reports[-1])
    if reports[-1].epoch < settings.epochs:
        return None
    result = make_result(hard, settings.epochs, duration_s=float(attempt))
    save_outcome(result, folder)
    del images
    return result


def _sleep(seconds: float, should_stop: Callable[[], bool] | None, folder: Path) -> None:
    """As long as an epoch takes; leaves the file `interrupted` if it is stopped in it."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
        if should_stop is not None and should_stop():
            (folder / "interrupted").touch()
            raise TrialInterrupted("stopped")


def _hold_images(megabytes: int, folder: Path) -> list[Any]:
    """As `trials.loading.training_set.TrainingSet` keeps decoded images of 300 kB each."""
    if not megabytes:
        return []
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    (folder / "resident_mb").write_text(str(pages * os.sysconf("SC_PAGE_SIZE") // 2**20))
    return [np.full(300_000, 1, np.uint8) for _ in range(megabytes * 10 // 3)]


def _key(folder: Path) -> str:
    """The candidate's number; of its training with another seed `number/seed`."""
    number = int(folder.name)
    if folder.parent.name == "seeds":
        return f"{int(folder.parents[1].name)}/{number}"
    return str(number)


def _misbehave(faults: dict[str, Any], folder: Path, epoch: int, attempt: int) -> None:
    def due(kind: str) -> int:
        return int(faults.get(kind, {}).get(_key(folder), 0))

    if due("raise") == epoch:
        raise ValueError(f"epoch {epoch}\nis not to be")
    if due("diverge") == epoch:
        raise TrialFault("the loss must be finite", kind="diverged", epoch=epoch)
    first = due("kill") == epoch and attempt == 1
    if first or due("kill_always") == epoch or (due("kill_epochs") >= epoch and attempt == epoch):
        os.kill(os.getpid(), signal.SIGKILL)


def _count(path: Path) -> int:
    attempt = 1 + (int(path.read_text()) if path.exists() else 0)
    write_text(path, str(attempt))  # whole or not at all, also when the process is killed
    return attempt


def make_task(root: Path, number: int = 1, *, epochs: int = 3, **changes: Any) -> TrialTask:
    """A fake trial in `root`, whose data are in `root/data`."""
    settings = TrialSettings(epochs=epochs, image_size=64, threads=1)
    task = TrialTask(
        number=number,
        architecture=make_architecture(number).to_dict(),
        recipe={},
        settings=asdict(settings),
        data_root=str(root / "data"),
        folder=str(root / f"{number:04d}"),
        entry=ENTRY,
    )
    return replace(task, **changes)


@dataclass
class FakeDisplay:
    """What a display was given; `on_show` is called with every status."""

    lines: list[str] = field(default_factory=list)
    statuses: list[Any] = field(default_factory=list)
    on_show: Callable[[Any], None] = lambda status: None

    def log(self, text: str) -> None:
        self.lines.append(text)

    def show(self, status: Any) -> None:
        self.statuses.append(status)
        self.on_show(status)


@dataclass
class FakeCluster:
    """The executor's interface without Ray: one trial after the other, in this process."""

    nodes: tuple[Node, ...] = (Node(cpus=2.0),)
    asked: list[int] = field(default_factory=list)
    job: Any = None

    def run(self, job: TrialJob) -> None:
        self.job = job
        job.check()
        for task in job.tasks:
            self.asked.append(task.number)
            for attempt in range(1, job.retries + 2):
                if self._attempt(task, job.publish, attempt, is_last=attempt > job.retries):
                    break

    def _attempt(self, task: TrialTask, publish: Any, attempt: int, is_last: bool) -> bool:
        publish(TrialEvent(kind="started", number=task.number))
        try:
            with local_folder(task) as (near, put):

                def on_epoch(report: EpochReport) -> None:
                    put()
                    hard = report.aps.hard if report.aps else None
                    epochs = {"epoch": report.epoch, "epochs": report.epochs}
                    publish(TrialEvent(kind="epoch", number=task.number, hard=hard, **epochs))

                run_task(near, on_epoch)
        except Exception as error:
            kind: Any = "failed" if is_last else "retried"
            failure = failure_of(error, attempt)
            publish(TrialEvent(kind=kind, number=task.number, failure=failure))
            return False
        kind = "reached" if task.is_partial else "finished"
        publish(TrialEvent(kind=kind, number=task.number))
        return True

    def connect(self, address: str | None) -> Any:
        return nullcontext(self)
