"""The epochs of one trial: train, evaluate, put on disk; to be killed and continued at will."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch

from search_spaces.architecture import Architecture
from search_spaces.errors import IncomparableError, TrialError
from trials.device import Precision
from trials.evaluation.validation import evaluate_detector, load_evaluated
from trials.model_file import save_model
from trials.recipe import Recipe
from trials.result import APs, EpochReport, TrialFault, TrialInterrupted, TrialResult, save_outcome
from trials.settings import TrialSettings
from trials.training.batches import TrainingBatches
from trials.training.checkpoint import BEST, PREVIOUS, Checkpoint, load_checkpoint, save_checkpoint
from trials.training.epoch import Training, start_training, train_epoch
from trials.training.epoch_sums import EpochLosses, EpochSums
from trials.training.metrics import write_metrics
from trials.training.parallel import Workers

log = logging.getLogger(__name__)

OnEpoch: TypeAlias = Callable[[EpochReport], None]
OnStep: TypeAlias = Callable[[int, int], None]
ShouldStop: TypeAlias = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What does not change during a trial; the fields are `run_trial`'s arguments.

    Attributes:
        device, precision: of the settings, as torch's objects.
        until: the last epoch of this call.
        request: fingerprint of what was asked for.
    """

    architecture: Architecture
    recipe: Recipe
    data_root: Path
    folder: Path
    settings: TrialSettings
    device: torch.device
    precision: Precision
    request: str
    until: int
    workers: Workers
    on_epoch: OnEpoch | None
    on_step: OnStep | None
    should_stop: ShouldStop | None


@dataclass(frozen=True, kw_only=True)
class _Progress:
    """What a trial has behind it; `begun` is of the epoch after the finished ones."""

    reports: tuple[EpochReport, ...] = ()
    train_s: float = 0.0
    images_trained: int = 0
    step_s: float = 0.0
    begun: EpochSums | None = None

    @property
    def epoch(self) -> int:
        return len(self.reports)

    @property
    def best(self) -> EpochReport | None:
        """The evaluated epoch with the highest hard AP, the first among equals."""
        evaluated = [report for report in self.reports if report.aps]
        return max(evaluated, key=_hard, default=None)


def run_epochs(trial: Trial) -> TrialResult | None:
    """Train up to epoch `trial.until` what the folder's checkpoint has not behind it.

    Returns the result, put on disk, or None where that was not the last epoch.

    Raises: as `trials.run.run_trial`.
    """
    settings = trial.settings
    training = start_training(
        trial.architecture,
        trial.recipe,
        seed=settings.seed,
        device=trial.device,
        precision=trial.precision,
        workers=trial.workers,
    )
    progress = _restore(trial, training)
    where = f"{trial.device}, {torch.get_num_threads()} threads, {trial.precision.name}"
    log.info("epochs %d to %d on %s", progress.epoch + 1, trial.until, where)
    if progress.begun:
        log.info(
            "epoch %d goes on after %s iterations", progress.epoch + 1, progress.begun.iterations
        )
    if progress.epoch < trial.until:
        # What cannot be evaluated is refused before training.
        load_evaluated(trial.data_root, held_out=settings.held_out)
        batches = TrainingBatches(
            trial.data_root, trial.recipe, settings, trial.device, trial.workers
        )
        while progress.epoch < trial.until:
            progress = _run_epoch(trial, training, batches, progress)
    if progress.epoch < settings.epochs:
        return None
    return trial.workers.share(lambda: _finish(trial, training, progress))


def _finish(trial: Trial, training: Training, progress: _Progress) -> TrialResult:
    """The result, put on disk."""
    result = _result(trial, training, progress)
    save_outcome(result, trial.folder)
    (trial.folder / PREVIOUS).unlink(missing_ok=True)
    log.info("finished: hard AP %.4f", result.hard)
    return result


def _restore(trial: Trial, training: Training) -> _Progress:
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
        begun=checkpoint.begun,
    )


def _run_epoch(
    trial: Trial, training: Training, batches: TrainingBatches, progress: _Progress
) -> _Progress:
    """Train one epoch, or the rest of it, evaluate if it is due, and put both on disk.

    Raises:
        TrialInterrupted: `trial.should_stop` said so; what was done is on disk.
    """
    epoch, sums = progress.epoch + 1, _own_sums(trial, progress)
    started = time.perf_counter() - sums.seconds
    leads = trial.workers.leads
    try:
        losses = _train(trial, training, batches, epoch, sums)
        is_due = leads and trial.settings.is_evaluated(epoch)
        aps = _evaluate(trial, training, epoch) if is_due else None
    except TrialInterrupted as stop:
        _save_begun(trial, training, replace(progress, begun=sums))
        log.info("%s; it goes on there", stop)
        raise
    report = _report(epoch, trial.settings.epochs, losses, aps)
    before = progress.best
    progress = replace(
        progress,
        reports=(*progress.reports, report),
        train_s=progress.train_s + time.perf_counter() - started,
        images_trained=progress.images_trained + losses.images,
        step_s=progress.step_s + losses.seconds,
        begun=None,
    )
    if aps is not None and (before is None or aps.hard > _hard(before)):
        _save_best(trial, training, report)
    if leads:
        save_checkpoint(_checkpoint(trial, training, progress), trial.folder)
        _announce(trial, progress)
    return progress


def _own_sums(trial: Trial, progress: _Progress) -> EpochSums:
    """This worker's sums of the epoch begun; the leader has all workers' images."""
    if progress.begun is None:
        return EpochSums()
    return replace(progress.begun, images=progress.begun.images if trial.workers.leads else 0)


def _train(
    trial: Trial, training: Training, batches: TrainingBatches, epoch: int, sums: EpochSums
) -> EpochLosses:
    """What `sums` does not count of an epoch."""
    steps = len(batches)
    total = steps * trial.settings.epochs
    return train_epoch(
        training,
        batches.of_epoch(epoch, sums.iterations),
        epoch=epoch,
        first_iteration=steps * (epoch - 1),
        iterations=total,
        rungs=[steps * rung for rung in trial.settings.rungs],
        on_step=lambda done: trial.on_step(done, total) if trial.on_step else None,
        sums=sums,
        should_stop=trial.should_stop,
    )


def _save_begun(trial: Trial, training: Training, progress: _Progress) -> None:
    sums = progress.begun or EpochSums()
    progress = replace(progress, begun=replace(sums, images=trial.workers.total(sums.images)))
    if trial.workers.leads:
        save_checkpoint(_checkpoint(trial, training, progress), trial.folder)


def _evaluate(trial: Trial, training: Training, epoch: int) -> APs:
    def look_up(done: int, images: int) -> None:
        alone = trial.workers.count == 1  # others would wait for this one for ever
        if alone and trial.should_stop is not None and trial.should_stop():
            raise TrialInterrupted(f"stopped while epoch {epoch} was evaluated")

    try:
        evaluation = evaluate_detector(
            training.evaluated,
            trial.data_root,
            image_size=trial.settings.image_size,
            device=trial.device,
            held_out=trial.settings.held_out,
            progress=look_up,
        )
    except TrialInterrupted:
        raise
    except TrialError as error:
        raise TrialFault(f"epoch {epoch}: {error}", kind="diverged", epoch=epoch) from error
    return evaluation.aps


def _save_best(trial: Trial, training: Training, report: EpochReport) -> None:
    aps = report.aps
    meta = {"epoch": report.epoch, "request": trial.request, "seed": trial.settings.seed}
    if aps is not None:
        meta |= {"easy": aps.easy, "medium": aps.medium, "hard": aps.hard}
    weights = training.evaluated.state_dict()
    save_model(trial.folder / BEST, trial.architecture, weights, meta)


def _checkpoint(trial: Trial, training: Training, progress: _Progress) -> Checkpoint:
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
        begun=progress.begun,
    )


def _announce(trial: Trial, progress: _Progress) -> None:
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


def _result(trial: Trial, training: Training, progress: _Progress) -> TrialResult:
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
