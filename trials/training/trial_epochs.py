"""The epochs of one trial: train, evaluate, save; resumable at any iteration."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from search_spaces.errors import IncomparableError, TrialError
from trials.evaluation.detector_ap import evaluate_detector
from trials.evaluation.evaluated_images import load_evaluated
from trials.evaluation.inference import input_size
from trials.evaluation.record import record_evaluation
from trials.evaluation.record_file import save_record
from trials.model_file import save_model
from trials.result import (
    BEST,
    PREVIOUS,
    APs,
    EpochReport,
    TrialFault,
    TrialInterrupted,
    TrialResult,
    save_outcome,
)
from trials.training.batches import TrainingBatches
from trials.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trials.training.epoch import train_epoch
from trials.training.metrics import write_metrics
from trials.training.progress import Progress
from trials.training.schedule import Schedule
from trials.training.state import Training
from trials.trial import Callbacks, Trial

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TrialRun:
    """One call that advances a trial from its checkpoint.

    Attributes:
        trial: inputs of the trial.
        folder: where its files are written.
        request: fingerprint of the trial's request.
        training: the network in training, replaced by the checkpoint's state.
        callbacks: functions to call meanwhile.
        progress: what the trial has done so far.
    """

    trial: Trial
    folder: Path
    request: str
    training: Training
    callbacks: Callbacks
    progress: Progress = field(default_factory=Progress)

    def advance(self, until: int) -> TrialResult | None:
        """Train up to epoch `until`; return and record the result if it is the last one.

        Raises: as `trials.run.run_trial`.
        """
        training, settings = self.training, self.trial.settings
        self._restore()
        where = f"{training.device}, {torch.get_num_threads()} threads, {training.precision.name}"
        log.info("epochs %d to %d on %s", self.progress.epoch + 1, until, where)
        if self.progress.epoch < until:
            # Data that cannot be evaluated is refused before training.
            load_evaluated(self.trial.data_root, held_out=settings.held_out)
            batches = TrainingBatches(self.trial, training.device, training.workers)
            while self.progress.epoch < until:
                self._run_epoch(batches)
        if self.progress.epoch < settings.epochs:
            return None
        return training.workers.share(self._finish)

    def _restore(self) -> None:
        """Load the newest checkpoint, if there is one."""
        workers = self.training.workers
        checkpoint = workers.share(lambda: load_checkpoint(self.folder, log.warning))
        if checkpoint is None:
            return
        if checkpoint.request != self.request:
            raise IncomparableError(
                f"{self.folder}: its checkpoint is of request {checkpoint.request}, this is "
                f"{self.request}; choose another folder or remove it"
            )
        self.training.load_state_dict(checkpoint.state)
        self.progress = checkpoint.progress
        if self.progress.sums.iterations:
            log.info("epoch resumes after %d iterations", self.progress.sums.iterations)
        if workers.leads:
            write_metrics(self.progress.reports, self.folder)

    def _run_epoch(self, batches: TrainingBatches) -> None:
        """Train the rest of the current epoch, evaluate it if it is due, and save both.

        Raises:
            TrialInterrupted: `should_stop` returned True; the progress is saved.
        """
        settings, progress = self.trial.settings, self.progress
        epoch, leads = progress.epoch + 1, self.training.workers.leads
        started = time.perf_counter() - progress.sums.seconds
        try:
            self._train(batches, epoch)
            aps = self._evaluate(epoch) if leads and settings.is_evaluated(epoch) else None
        except TrialInterrupted as stop:
            self._save_checkpoint()
            log.info("%s; it resumes there", stop)
            raise
        report = progress.end_epoch(settings.epochs, aps, time.perf_counter() - started)
        if leads:
            if progress.best is report:
                self._save_best(report)
            self._save_checkpoint()
            self._report(report)

    def _train(self, batches: TrainingBatches, epoch: int) -> None:
        settings, sums = self.trial.settings, self.progress.sums
        schedule = Schedule(
            recipe=self.trial.recipe,
            epoch_iterations=len(batches),
            epochs=settings.epochs,
            rungs=settings.rungs,
        )
        rest = batches.of_epoch(epoch, sums.iterations)
        train_epoch(self.training, rest, schedule, epoch=epoch, sums=sums, callbacks=self.callbacks)

    def _evaluate(self, epoch: int) -> APs:
        """Evaluate the network; the last evaluation is recorded."""
        root, settings = self.trial.data_root, self.trial.settings
        images = load_evaluated(root, held_out=settings.held_out)
        size = input_size("vga", settings.image_size)
        try:
            evaluation = evaluate_detector(
                self.training.evaluated,
                images,
                size,
                device=self.training.device,
                progress=self._stop_evaluation(epoch),
            )
        except TrialInterrupted:
            raise
        except TrialError as error:
            raise TrialFault(f"epoch {epoch}: {error}", kind="diverged", epoch=epoch) from error
        if epoch == settings.epochs:
            record = record_evaluation(evaluation.predictions, images, size, root)
            save_record(record, self.folder)
        return evaluation.aps

    def _stop_evaluation(self, epoch: int) -> Callable[[int, int], None] | None:
        """Return what interrupts an evaluation; other workers would wait for it for ever."""
        should_stop = self.callbacks.should_stop
        if should_stop is None or self.training.workers.count > 1:
            return None

        def check(done: int, images: int) -> None:
            if should_stop():
                raise TrialInterrupted(f"stopped while epoch {epoch} was evaluated")

        return check

    def _save_best(self, report: EpochReport) -> None:
        meta: dict[str, Any] = {"epoch": report.epoch, "request": self.request}
        meta["seed"] = self.trial.settings.seed
        if report.aps is not None:
            meta |= report.aps.as_dict()
        weights = self.training.evaluated.state_dict()
        save_model(self.folder / BEST, self.trial.architecture, weights, meta)

    def _save_checkpoint(self) -> None:
        if self.training.workers.leads:
            state = self.training.state_dict()
            checkpoint = Checkpoint(request=self.request, progress=self.progress, state=state)
            save_checkpoint(checkpoint, self.folder)

    def _report(self, report: EpochReport) -> None:
        """Write the metrics, log the epoch, and call `on_epoch`."""
        write_metrics(self.progress.reports, self.folder)
        text = f"epoch {report.epoch}/{report.epochs}: loss {report.loss:.4f}"
        text += f", {report.images_per_second:.1f} images/s"
        if report.aps is not None:
            text += f", hard AP {report.aps.hard:.4f}"
        log.info("%s", text)
        if self.callbacks.on_epoch is not None:
            self.callbacks.on_epoch(report)

    def _finish(self) -> TrialResult:
        """Record the result."""
        params = sum(parameter.numel() for parameter in self.training.model.parameters())
        result = self.progress.result(params, self.request)
        save_outcome(result, self.folder)
        (self.folder / PREVIOUS).unlink(missing_ok=True)
        log.info("finished: hard AP %.4f", result.hard)
        return result
