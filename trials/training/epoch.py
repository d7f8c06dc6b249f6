"""One epoch of training: batches in, sums of the losses out.

Shape letters: B images, H and W their size.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trials.result import LOSSES, TrialFault, TrialInterrupted
from trials.training.losses import LossTerms, detection_loss
from trials.training.parallel import Workers
from trials.training.progress import EpochSums
from trials.training.schedule import Schedule
from trials.training.state import Training
from trials.training.targets import Targets
from trials.trial import NO_CALLBACKS, Callbacks, ShouldStop

READ_EVERY = 16  # iterations on a GPU between two reads of the losses, which wait for the GPU

OnPart = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Normalised images (B, 3, H, W), their faces, and names for error messages."""

    images_B3HW: torch.Tensor
    targets: Sequence[Targets]
    names: Sequence[str]


def train_epoch(
    training: Training,
    batches: Iterable[Batch],
    schedule: Schedule,
    *,
    epoch: int,
    sums: EpochSums,
    callbacks: Callbacks = NO_CALLBACKS,
) -> None:
    """Train on the rest of an epoch and add it to `sums`.

    Args:
        training: changed by every step.
        batches: those of the epoch that `sums` does not count yet.
        schedule: learning rate of every iteration of the whole training.
        epoch: number of the epoch, from 1.
        sums: sums of the epoch so far; changed.
        callbacks: `on_step` and `should_stop` are called after each iteration; several
            workers call `should_stop` only when they read the losses, so that all of them
            stop at the same iteration.

    Raises:
        TrialFault: the loss is not finite (`diverged`); names iteration and images.
        TrialInterrupted: `should_stop` returned True; `sums` counts the iterations done.
    """
    started = time.perf_counter() - sums.seconds
    losses = _LossReader(epoch, training, sums)
    first = schedule.epoch_iterations * (epoch - 1) + sums.iterations
    for iteration, batch in enumerate(batches, first):
        sums.learning_rate = schedule.rate(iteration)
        step = train_step(training, batch, sums.learning_rate)
        are_read = losses.add(iteration, batch.names, step)
        sums.seconds = time.perf_counter() - started
        if callbacks.on_step is not None:
            callbacks.on_step(iteration + 1, schedule.iterations)
        if _all_stop(training.workers, are_read, callbacks.should_stop):
            losses.read()
            raise TrialInterrupted(f"stopped in epoch {epoch} after iteration {iteration + 1}")
    losses.read()
    sums.seconds = time.perf_counter() - started


def _all_stop(workers: Workers, are_read: bool, should_stop: ShouldStop | None) -> bool:
    """Return whether any worker has to stop; several exchange it only at reads."""
    if should_stop is None:
        return False
    if workers.count == 1:
        return should_stop()
    return are_read and workers.total(int(should_stop())) > 0


def train_step(
    training: Training, batch: Batch, rate: float, on_part: OnPart = lambda part: None
) -> torch.Tensor:
    """Train one iteration at learning rate `rate` on this worker's images.

    `on_part` is called with the name of each part of the step when it has been issued.

    Returns:
        (4,) float32 losses in the order of `trials.result.LOSSES`.
    """
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    terms = batch_loss(training, batch, on_part)
    training.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(training.scaler.scale(terms.total))
    training.workers.average_gradients(training.model.parameters())
    on_part("backward")
    _update_weights(training)
    on_part("optimizer")
    return terms.stacked()


def batch_loss(training: Training, batch: Batch, on_part: OnPart = lambda part: None) -> LossTerms:
    """Return the losses of a batch: forward in the training's precision, loss in float32."""
    images_B3HW = batch.images_B3HW.to(
        training.device, memory_format=torch.channels_last, non_blocking=True
    )
    dtype = training.precision.dtype
    with torch.autocast(training.device.type, dtype=dtype, enabled=dtype is not None):
        outputs = training.model(images_B3HW)
    on_part("forward")
    targets = [target.to(training.device) for target in batch.targets]
    terms = detection_loss(outputs, targets, reduce=training.workers.mean)
    on_part("assignment_and_loss")
    return terms


def _update_weights(training: Training) -> None:
    """Clip the gradients, step the optimiser, and update the moving average."""
    if training.recipe.gradient_clip:
        training.scaler.unscale_(training.optimizer)
        nn.utils.clip_grad_norm_(training.model.parameters(), training.recipe.gradient_clip)
    training.scaler.step(training.optimizer)
    training.scaler.update()
    if training.average is not None:
        training.average.update(training.model)


class _LossReader:
    """Adds the losses of iterations to the sums of an epoch, several at a time on a GPU.

    The losses are means over all workers, so that a loss that is not finite stops all.
    """

    def __init__(self, epoch: int, training: Training, sums: EpochSums) -> None:
        self.epoch, self.workers, self.sums = epoch, training.workers, sums
        self.every = 1 if training.device.type == "cpu" else READ_EVERY
        self.pending: list[tuple[int, Sequence[str], torch.Tensor]] = []

    def add(self, iteration: int, names: Sequence[str], losses: torch.Tensor) -> bool:
        """Add the losses (4,) of an iteration; return whether they have been read."""
        self.pending.append((iteration, names, losses))
        if len(self.pending) < self.every:
            return False
        self.read()
        return True

    def read(self) -> None:
        """Read the pending losses from the device and add them to the sums."""
        if not self.pending:
            return
        losses = torch.stack([row for _, _, row in self.pending])
        images = losses.new_tensor([[len(names)] for _, names, _ in self.pending])
        rows = self.workers.mean(torch.cat([losses, images], dim=1)).cpu().double()
        finite, table = torch.isfinite(rows).all(dim=1).tolist(), rows.tolist()
        for (iteration, names, _), is_finite, row in zip(self.pending, finite, table, strict=True):
            *values, mean_images = row
            if not is_finite:
                self._fail(iteration, names, values)
            pairs = zip(self.sums.losses, values, strict=True)
            self.sums.losses = [total + value for total, value in pairs]
            self.sums.images += round(mean_images * self.workers.count)
            self.sums.iterations += 1
        self.pending.clear()

    def _fail(self, iteration: int, names: Sequence[str], values: Sequence[float]) -> None:
        losses = ", ".join(f"{name} {v:g}" for name, v in zip(LOSSES, values, strict=True))
        raise TrialFault(
            f"the loss must be finite, got {losses} in epoch {self.epoch}, iteration "
            f"{iteration} (images {', '.join(names)}); lower the learning rate or clip gradients",
            kind="diverged",
            epoch=self.epoch,
        )
