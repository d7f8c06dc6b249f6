"""One epoch of training: batches in, mean losses out.

Shape letters: B images, H and W their size.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.network.detector import Detector, build_detector
from trials.detection.anchors import ANCHOR_SIZES, STRIDES
from trials.device import Precision
from trials.recipe import Recipe
from trials.result import TrialFault, TrialInterrupted
from trials.training.ema import AveragedModel
from trials.training.epoch_sums import TERMS, EpochLosses, EpochSums
from trials.training.losses import LossTerms, detection_loss
from trials.training.parallel import ALONE, Workers
from trials.training.schedule import learning_rate
from trials.training.targets import Targets

CHECK_EVERY = 16  # iterations between looks at the loss on a GPU, which each wait for it


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Normalised images (B, 3, H, W), their faces, and names for error messages."""

    images_B3HW: torch.Tensor
    targets: Sequence[Targets]
    names: Sequence[str]


@dataclass(kw_only=True)
class Training:
    """What changes while a network is trained, and what decides how."""

    model: Detector
    optimizer: torch.optim.Optimizer
    average: AveragedModel[Detector] | None
    scaler: torch.amp.GradScaler
    recipe: Recipe
    precision: Precision
    device: torch.device
    workers: Workers = ALONE

    @property
    def evaluated(self) -> Detector:
        """The network to evaluate: the moving average if there is one."""
        return self.average.module if self.average else self.model


def start_training(
    architecture: Architecture,
    recipe: Recipe,
    *,
    seed: int,
    device: torch.device,
    precision: Precision,
    workers: Workers = ALONE,
) -> Training:
    """A network with the initial weights of `seed`, and its optimiser.

    Channels-last memory is what convolutions are fast in, on CPUs and GPUs alike (measured
    on a CPU: 1.6 to 2 times).
    """
    model = build_detector(architecture, torch.Generator().manual_seed(seed))
    if recipe.boxes_from_anchors:
        start_from_anchors(model)
    model = model.to(memory_format=torch.channels_last).to(device).train()
    return Training(
        model=model,
        optimizer=build_optimizer(model, recipe),
        average=AveragedModel(model, recipe.ema_decay) if recipe.ema_decay else None,
        scaler=torch.amp.GradScaler(device.type, enabled=precision.scaled),
        recipe=recipe,
        precision=precision,
        device=device,
        workers=workers,
    )


@torch.no_grad()
def start_from_anchors(model: Detector) -> None:
    """Set the biases of the box convs to the anchors' half sides, in units of the stride.

    A network that starts at boxes of no size spends its first epochs on a plateau: IoU 0
    makes every score's target 0, and scores near 0 take the weight from the boxes' loss.
    """
    sides = [size / (2 * STRIDES[0]) for size in ANCHOR_SIZES[0]]  # the same on every level
    for conv in model.head.boxes:
        bias = conv.get_parameter("bias")
        bias.copy_(torch.tensor(sides).repeat_interleave(len(bias) // len(sides)))


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters, weight decay on each, as in the reference."""
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            model.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
        fused=True,
    )


def train_epoch(
    training: Training,
    batches: Iterable[Batch],
    *,
    epoch: int,
    first_iteration: int,
    iterations: int,
    rungs: Sequence[int] = (),
    on_step: Callable[[int], None] | None = None,
    sums: EpochSums | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> EpochLosses:
    """Train on `batches`, the epoch's first of which is iteration `first_iteration`.

    Args:
        training: is changed.
        batches: one epoch's, without those that `sums` has counted.
        epoch: from 1, for messages.
        first_iteration: position of the epoch's first batch in the whole training, from 0.
        iterations: of the whole training.
        rungs: iterations that end a schedule before that (see `trials.training.schedule`).
        on_step: called with the number of iterations done in the whole training.
        sums: what the epoch had added up when it was interrupted; is changed.
        should_stop: asked after each iteration, or, among several workers, whenever they
            look at the loss, so that all of them stop at the same one.

    Raises:
        TrialFault: the loss is not a finite number (`diverged`); names iteration and images.
        TrialInterrupted: `should_stop` said so; `sums` counts what was done.
    """
    sums = EpochSums() if sums is None else sums
    started = time.perf_counter() - sums.seconds
    every = 1 if training.device.type == "cpu" else CHECK_EVERY
    watch = _LossWatch(epoch, every, training.workers, sums)
    for iteration, batch in enumerate(batches, first_iteration + sums.iterations):
        sums.learning_rate = learning_rate(training.recipe, iteration, iterations, rungs)
        is_seen = watch.add(iteration, batch.names, train_step(training, batch, sums.learning_rate))
        sums.images += len(batch.images_B3HW)
        sums.seconds = time.perf_counter() - started
        if on_step is not None:
            on_step(iteration + 1)
        if should_stop is not None and _all_stop(training.workers, is_seen, should_stop):
            watch.flush()
            raise TrialInterrupted(f"stopped in epoch {epoch} after iteration {iteration + 1}")
    watch.flush()
    return EpochLosses(
        **sums.means(),
        learning_rate=sums.learning_rate,
        images=training.workers.total(sums.images),
        seconds=time.perf_counter() - started,
    )


def _all_stop(workers: Workers, is_seen: bool, should_stop: Callable[[], bool]) -> bool:
    """Whether any worker is asked to stop; several talk about it only at times."""
    if workers.count == 1:
        return should_stop()
    return is_seen and workers.total(int(should_stop())) > 0


def train_step(training: Training, batch: Batch, rate: float) -> torch.Tensor:
    """One iteration at learning rate `rate`; returns the losses (4,) in the order of `TERMS`."""
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    terms = batch_loss(training, batch)
    training.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(training.scaler.scale(terms.total))
    training.workers.average_gradients(training.model.parameters())
    update_weights(training)
    return torch.stack([terms.total, terms.cls, terms.box, terms.keypoint]).detach()


def update_weights(training: Training) -> None:
    """Clip the gradients, step the optimiser, and move the average of the weights."""
    if training.recipe.gradient_clip:
        training.scaler.unscale_(training.optimizer)
        nn.utils.clip_grad_norm_(training.model.parameters(), training.recipe.gradient_clip)
    training.scaler.step(training.optimizer)
    training.scaler.update()
    if training.average is not None:
        training.average.update(training.model)


def batch_loss(training: Training, batch: Batch) -> LossTerms:
    """Forward pass, in the training's precision, and the losses, in float32."""
    images_B3HW = batch.images_B3HW.to(
        training.device, memory_format=torch.channels_last, non_blocking=True
    )
    dtype = training.precision.dtype
    with torch.autocast(training.device.type, dtype=dtype, enabled=dtype is not None):
        outputs = training.model(images_B3HW)
    targets = [_moved(target, training.device) for target in batch.targets]
    return detection_loss(outputs, targets, reduce=training.workers.mean)


def _moved(target: Targets, device: torch.device) -> Targets:
    """The target on `device`; itself if it is there."""
    if target.boxes_G4.device == device:
        return target
    keypoints = target.keypoints_G53
    return Targets(
        boxes_G4=target.boxes_G4.to(device, non_blocking=True),
        keypoints_G53=None if keypoints is None else keypoints.to(device, non_blocking=True),
    )


class _LossWatch:
    """Adds the losses of an epoch to its sums and stops it when one is not finite.

    The losses are means over all workers, so that all of them stop together.
    """

    def __init__(self, epoch: int, every: int, workers: Workers, sums: EpochSums) -> None:
        self.epoch, self.every, self.workers, self.sums = epoch, every, workers, sums
        self.pending: list[tuple[int, Sequence[str], torch.Tensor]] = []

    def add(self, iteration: int, names: Sequence[str], losses: torch.Tensor) -> bool:
        """Note the losses (4,); returns whether those noted so far were looked at now."""
        self.pending.append((iteration, names, losses))
        if len(self.pending) < self.every:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        if not self.pending:
            return
        rows = torch.stack([losses for _, _, losses in self.pending])
        rows = self.workers.mean(rows).cpu().double()
        finite, table = torch.isfinite(rows).all(dim=1).tolist(), rows.tolist()
        for (iteration, names, _), is_finite, row in zip(self.pending, finite, table, strict=True):
            if not is_finite:
                self._fail(iteration, names, row)
            pairs = zip(self.sums.losses, row, strict=True)
            self.sums.losses = [total + value for total, value in pairs]
            self.sums.iterations += 1
        self.pending.clear()

    def _fail(self, iteration: int, names: Sequence[str], row: Sequence[float]) -> None:
        losses = ", ".join(f"{name} {value:g}" for name, value in zip(TERMS, row, strict=True))
        raise TrialFault(
            f"the loss must be finite, got {losses} in epoch {self.epoch}, iteration "
            f"{iteration} (images {', '.join(names)}); lower the learning rate or clip gradients",
            kind="diverged",
            epoch=self.epoch,
        )
