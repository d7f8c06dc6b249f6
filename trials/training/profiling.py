"""Where the time of a training step goes.

Wall time of each part, read after the device has finished it. Waiting for the device after
every part costs a GPU some of its overlap, so that the parts together can take a little
longer than a step of a training.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import torch

from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError
from trials.detection.folding import folded
from trials.detection.head_layout import Outputs
from trials.device import limited_threads, resolve_device, resolve_precision
from trials.evaluation.inference import detect_files, input_size
from trials.evaluation.validation import load_validation, usual_batch_size
from trials.recipe import Recipe
from trials.settings import TrialSettings
from trials.training.batches import TrainingBatches
from trials.training.epoch import Batch, Training, start_training, update_weights
from trials.training.losses import detection_loss
from trials.training.targets import Targets

PARTS = ("input", "forward", "assignment_and_loss", "backward", "optimizer")
WARM_UP = 2
EVALUATED_IMAGES = 16
RATE = 1e-6  # small, so that the untrained network stays what it is


@dataclass(frozen=True, kw_only=True)
class StepProfile:
    """Times of a training.

    Attributes:
        seconds: mean of a step by part (see `PARTS`).
        steps, images: that were timed.
        evaluation_s: decoding, inference and NMS of a validation image.
        device: `cpu`, or the GPU's name.
        threads: CPU threads of torch.
        precision: `fp32`, `bf16` or `fp16`.
        image_size, batch_size: of the training.
    """

    seconds: dict[str, float]
    steps: int
    images: int
    evaluation_s: float
    device: str
    threads: int
    precision: str
    image_size: int
    batch_size: int

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        return sum(self.seconds.values())

    @property
    def images_per_second(self) -> float:
        """Training images a second."""
        return self.images / (self.steps * self.step_s)

    @property
    def shares(self) -> dict[str, float]:
        """Each part's share of a step."""
        return {part: seconds / self.step_s for part, seconds in self.seconds.items()}


def profile_training(
    architecture: Architecture,
    recipe: Recipe,
    data_root: str | os.PathLike[str],
    settings: TrialSettings,
    *,
    steps: int = 20,
) -> StepProfile:
    """Train `steps` batches as a trial would and time the parts, then some of the evaluation.

    Nothing is written. Two steps before the first do not count.

    Raises:
        ConfigError: `steps` is below 1, or no such device.
        DataError: the training or the validation data cannot be read.
    """
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, got {steps}")
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    with limited_threads(settings.threads):
        training = start_training(
            architecture, recipe, seed=settings.seed, device=device, precision=precision
        )
        batches = _batches(TrainingBatches(data_root, recipe, settings, device))
        seconds, images = _time_steps(training, batches, steps)
        evaluation_s = _time_evaluation(training, data_root, settings.image_size)
        return StepProfile(
            seconds=seconds,
            steps=steps,
            images=images,
            evaluation_s=evaluation_s,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            threads=torch.get_num_threads(),
            precision=precision.name,
            image_size=settings.image_size,
            batch_size=recipe.batch_size,
        )


def timed_step(training: Training, batch: Batch, rate: float) -> dict[str, float]:
    """`trials.training.epoch.train_step`, part by part: seconds of all parts but the input."""
    for group in training.optimizer.param_groups:
        group["lr"] = rate
    watch = _Watch(training.device)
    outputs = _forward(training, batch)
    times = {"forward": watch.lap()}
    targets = [_moved(target, training.device) for target in batch.targets]
    terms = detection_loss(outputs, targets, reduce=training.workers.mean)
    times["assignment_and_loss"] = watch.lap()
    training.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(training.scaler.scale(terms.total))
    times["backward"] = watch.lap()
    update_weights(training)
    times["optimizer"] = watch.lap()
    return times


def _time_steps(
    training: Training, batches: Iterator[Batch], steps: int
) -> tuple[dict[str, float], int]:
    """Mean seconds of each part, and the images that the steps held."""
    sums, images = dict.fromkeys(PARTS, 0.0), 0
    for number in range(WARM_UP + steps):
        watch = _Watch(training.device)
        batch = next(batches)
        times = {"input": watch.lap(), **timed_step(training, batch, RATE)}
        if number >= WARM_UP:
            images += len(batch.images_B3HW)
            sums = {part: total + times[part] for part, total in sums.items()}
    return {part: total / steps for part, total in sums.items()}, images


def _time_evaluation(
    training: Training, data_root: str | os.PathLike[str], image_size: int
) -> float:
    """Seconds that a validation image takes, from its file to its detections."""
    _, paths = load_validation(data_root)
    chosen, detector = paths[:EVALUATED_IMAGES], folded(training.evaluated)
    size, device = input_size("vga", image_size), training.device
    for some in (chosen[:1], chosen):  # the first does not count
        watch = _Watch(device)
        found = detect_files(
            detector, some, size, device=device, batch_size=usual_batch_size(device)
        )
        done = sum(1 for _ in found)
        seconds = watch.lap() / done
    return seconds


def _batches(source: TrainingBatches) -> Iterator[Batch]:
    """Batches without end, epoch after epoch; smaller last ones only where there are no others."""
    for epoch in count(1):
        yield from islice(source.of_epoch(epoch), max(1, len(source) - 1))


def _forward(training: Training, batch: Batch) -> Outputs:
    images_B3HW = batch.images_B3HW.to(
        training.device, memory_format=torch.channels_last, non_blocking=True
    )
    dtype = training.precision.dtype
    with torch.autocast(training.device.type, dtype=dtype, enabled=dtype is not None):
        outputs: Outputs = training.model(images_B3HW)
    return outputs


def _moved(target: Targets, device: torch.device) -> Targets:
    keypoints = target.keypoints_G53
    return Targets(
        boxes_G4=target.boxes_G4.to(device),
        keypoints_G53=None if keypoints is None else keypoints.to(device),
    )


class _Watch:
    """Seconds between laps, each of which waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._last = self._now()

    def lap(self) -> float:
        now = self._now()
        passed, self._last = now - self._last, now
        return passed

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
