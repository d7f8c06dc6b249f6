"""The life of one candidate: train, evaluate, record; to be killed and continued at will."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, IncomparableError, TrialError
from trials.batches import TrainingBatches
from trials.checkpoint import BEST, PREVIOUS, Checkpoint, load_checkpoint, save_checkpoint
from trials.device import (
    keep_freed_memory,
    limited_threads,
    resolve_device,
    resolve_precision,
)
from trials.evaluation import evaluate_detector, load_validation
from trials.fingerprint import request_fingerprint
from trials.lock import exclusive
from trials.metrics import write_metrics
from trials.model_file import save_model
from trials.parallel import ALONE, Workers
from trials.recipe import Recipe
from trials.request import claim, trial_request
from trials.result import EpochReport, TrialFault, TrialResult, load_result, save_outcome
from trials.settings import TrialSettings
from trials.training import EpochLosses, Training, start_training, train_epoch
from trials.widerface_ap import APs

LOCK_FILE, LOG_FILE = "lock", "trial.log"
EVALUATION_BATCH = 8
LOCK_WAIT_S = 60.0

log = logging.getLogger(__name__)

OnEpoch: TypeAlias = Callable[[EpochReport], None]
OnStep: TypeAlias = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """What does not change during a trial."""

    architecture: Architecture
    recipe: Recipe
    data_root: Path
    folder: Path
    settings: TrialSettings
    device: torch.device
    request: str
    workers: Workers
    on_epoch: OnEpoch | None
    on_step: OnStep | None


@dataclass(frozen=True, kw_only=True)
class _Progress:
    """What a trial has behind it."""

    reports: tuple[EpochReport, ...] = ()
    train_s: float = 0.0
    images_trained: int = 0
    step_s: float = 0.0

    @property
    def epoch(self) -> int:
        return len(self.reports)

    @property
    def best(self) -> EpochReport | None:
        """The evaluated epoch with the highest hard AP, the first among equals."""
        evaluated = [report for report in self.reports if report.aps]
        return max(evaluated, key=_hard, default=None)


def run_trial(
    architecture: Architecture,
    recipe: Recipe,
    data_root: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    settings: TrialSettings,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    lock_wait_s: float = LOCK_WAIT_S,
    workers: Workers = ALONE,
) -> TrialResult:
    """Train and evaluate one candidate, or continue where an interrupted call stopped.

    On the same machine, on a CPU with the same number of threads, a trial that was killed
    at any moment ends with the same weights as one that was not. A finished trial is not
    run again: its result is returned.

    Args:
        architecture: the candidate.
        recipe: how to train it.
        data_root: folder with `train` and `val` in the labelv2 layout.
        folder: of this trial alone; gets `request.json`, `metrics.csv`, `trial.log`,
            `last.pt`, `best.pt` and at the end `result.json`.
        settings: length, size, seed, and the machine's share.
        on_epoch: called after every epoch of this call, when its checkpoint is on disk.
        on_step: called after every iteration with (iterations done, of all).
        lock_wait_s: how long to wait for another process to leave the folder.
        workers: this process's place among `settings.workers` data-parallel ones, each of
            which makes this call; only the leading one touches the folder and calls back.

    Raises:
        IncomparableError: the folder belongs to a different request.
        TrialFault: diverged, out of memory, or the folder is in use.
        DataError: the data cannot be read.
    """
    path = Path(folder)
    request = trial_request(architecture, recipe, data_root, settings)
    if workers.count != settings.workers:
        raise ConfigError(f"settings ask for {settings.workers} workers, got {workers.count}")
    with _owned(path, request, lock_wait_s) if workers.leads else nullcontext():
        finished = workers.share(lambda: load_result(path))
        if finished is not None:
            return finished
        log_to = _log_to(path / LOG_FILE) if workers.leads else nullcontext()
        with log_to, limited_threads(settings.threads):
            trial = _Trial(
                architecture=architecture,
                recipe=recipe,
                data_root=Path(data_root),
                folder=path,
                settings=settings,
                device=resolve_device(settings.device),
                request=request_fingerprint(request),
                workers=workers,
                on_epoch=on_epoch,
                on_step=on_step,
            )
            return _logged(trial)


def _logged(trial: _Trial) -> TrialResult:
    """Run the trial; what ends it goes to its log too."""
    try:
        return _run(trial)
    except (torch.OutOfMemoryError, MemoryError) as error:
        log.exception("out of memory")
        advice = "choose a smaller batch_size in the recipe or a smaller image size"
        raise TrialFault(f"out of memory ({error}); {advice}", kind="memory") from error
    except BaseException:
        log.exception("stopped")
        raise


def _run(trial: _Trial) -> TrialResult:
    settings = trial.settings
    precision = resolve_precision(settings.precision, trial.device)
    training = start_training(
        trial.architecture,
        trial.recipe,
        seed=settings.seed,
        device=trial.device,
        precision=precision,
        workers=trial.workers,
    )
    if trial.device.type == "cpu":
        keep_freed_memory()
    progress = _restore(trial, training)
    where = f"{trial.device}, {torch.get_num_threads()} threads, {precision.name}"
    log.info("epochs %d to %d on %s", progress.epoch + 1, settings.epochs, where)
    if progress.epoch < settings.epochs:
        load_validation(trial.data_root)  # what cannot be evaluated is refused before training
        batches = TrainingBatches(
            trial.data_root, trial.recipe, settings, trial.device, trial.workers
        )
        while progress.epoch < settings.epochs:
            progress = _run_epoch(trial, training, batches, progress)
    return trial.workers.share(lambda: _finish(trial, training, progress))


def _finish(trial: _Trial, training: Training, progress: _Progress) -> TrialResult:
    """The result, put on disk."""
    result = _result(trial, training, progress)
    save_outcome(result, trial.folder)
    (trial.folder / PREVIOUS).unlink(missing_ok=True)
    log.info("finished: hard AP %.4f", result.hard)
    return result


def _restore(trial: _Trial, training: Training) -> _Progress:
    """Put the newest checkpoint, if there is one, into `training`."""
    checkpoint = trial.workers.share(lambda: load_checkpoint(trial.folder, log.warning))
    if checkpoint is None:
        return _Progress()
    if checkpoint.request != trial.request:
        raise IncomparableError(
            f"{trial.folder}: its checkpoint is of request {checkpoint.request}, this is "
            f"{trial.request}; choose another folder or remove it"
        )
    training.model.load_state_dict(checkpoint.model)
    training.optimizer.load_state_dict(checkpoint.optimizer)
    training.scaler.load_state_dict(checkpoint.scaler)
    if training.average is not None and checkpoint.average is not None:
        training.average.module.load_state_dict(checkpoint.average)
        training.average.updates = checkpoint.average_updates
    if trial.workers.leads:
        write_metrics(checkpoint.reports, trial.folder)
    return _Progress(
        reports=checkpoint.reports,
        train_s=checkpoint.train_s,
        images_trained=checkpoint.images_trained,
        step_s=checkpoint.step_s,
    )


def _run_epoch(
    trial: _Trial, training: Training, batches: TrainingBatches, progress: _Progress
) -> _Progress:
    """Train one epoch, evaluate if it is due, and put both on disk."""
    started = time.perf_counter()
    epoch, steps = progress.epoch + 1, len(batches)
    total = steps * trial.settings.epochs
    losses = train_epoch(
        training,
        batches.of_epoch(epoch),
        epoch=epoch,
        first_iteration=steps * (epoch - 1),
        iterations=total,
        on_step=lambda done: trial.on_step(done, total) if trial.on_step else None,
    )
    leads = trial.workers.leads
    is_due = leads and trial.settings.is_evaluated(epoch)
    aps = _evaluate(trial, training, epoch) if is_due else None
    report = _report(epoch, trial.settings.epochs, losses, aps)
    before = progress.best
    progress = replace(
        progress,
        reports=(*progress.reports, report),
        train_s=progress.train_s + time.perf_counter() - started,
        images_trained=progress.images_trained + losses.images,
        step_s=progress.step_s + losses.seconds,
    )
    if aps is not None and (before is None or aps.hard > _hard(before)):
        _save_best(trial, training, report)
    if leads:
        save_checkpoint(_checkpoint(trial, training, progress), trial.folder)
        _announce(trial, progress)
    return progress


def _evaluate(trial: _Trial, training: Training, epoch: int) -> APs:
    try:
        evaluation = evaluate_detector(
            training.evaluated,
            trial.data_root,
            image_size=trial.settings.image_size,
            device=trial.device,
            batch_size=EVALUATION_BATCH,
        )
    except TrialError as error:
        raise TrialFault(f"epoch {epoch}: {error}", kind="diverged", epoch=epoch) from error
    return evaluation.aps


def _save_best(trial: _Trial, training: Training, report: EpochReport) -> None:
    aps = report.aps
    meta = {"epoch": report.epoch, "request": trial.request, "seed": trial.settings.seed}
    if aps is not None:
        meta |= {"easy": aps.easy, "medium": aps.medium, "hard": aps.hard}
    weights = training.evaluated.state_dict()
    save_model(trial.folder / BEST, trial.architecture, weights, meta)


def _checkpoint(trial: _Trial, training: Training, progress: _Progress) -> Checkpoint:
    average = training.average
    return Checkpoint(
        request=trial.request,
        reports=progress.reports,
        train_s=progress.train_s,
        images_trained=progress.images_trained,
        step_s=progress.step_s,
        model=training.model.state_dict(),
        optimizer=training.optimizer.state_dict(),
        average=average.module.state_dict() if average else None,
        average_updates=average.updates if average else 0,
        scaler=training.scaler.state_dict(),
    )


def _announce(trial: _Trial, progress: _Progress) -> None:
    report = progress.reports[-1]
    write_metrics(progress.reports, trial.folder)
    text = f"epoch {report.epoch}/{report.epochs}: loss {report.loss:.4f}"
    text += f", {report.images_per_second:.1f} images/s"
    if report.aps is not None:
        text += f", hard AP {report.aps.hard:.4f}"
    log.info("%s", text)
    if trial.on_epoch is not None:
        trial.on_epoch(report)


def _report(epoch: int, epochs: int, losses: EpochLosses, aps: APs | None) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        epochs=epochs,
        loss=losses.total,
        cls_loss=losses.cls,
        box_loss=losses.box,
        keypoint_loss=losses.keypoint,
        learning_rate=losses.learning_rate,
        images_per_second=losses.images / max(losses.seconds, 1e-9),
        aps=aps,
    )


def _result(trial: _Trial, training: Training, progress: _Progress) -> TrialResult:
    last, best = progress.reports[-1], progress.best
    if last.aps is None or best is None:
        raise TrialFault(f"{trial.folder}: the last epoch's evaluation is missing")
    return TrialResult(
        easy=last.aps.easy,
        medium=last.aps.medium,
        hard=last.aps.hard,
        epochs=last.epoch,
        best_epoch=best.epoch,
        best_hard=_hard(best),
        loss=last.loss,
        duration_s=progress.train_s,
        images_per_second=progress.images_trained / max(progress.step_s, 1e-9),
        params=sum(parameter.numel() for parameter in training.model.parameters()),
        request=trial.request,
    )


def _hard(report: EpochReport) -> float:
    return report.aps.hard if report.aps is not None else -1.0


@contextmanager
def _owned(folder: Path, request: dict[str, Any], lock_wait_s: float) -> Iterator[None]:
    """Have the folder for oneself, and for this request alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / LOCK_FILE, lock_wait_s):
        claim(folder, request)
        yield


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Append what this package logs to `path`."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("trials")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()
