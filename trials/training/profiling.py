"""Profile of a training step: the wall time of each of its parts.

The time of a part is read when the device has finished it. A GPU then overlaps less of its
work, so that the sum of the parts can be a little longer than a step of a training.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import torch

from search_spaces.errors import ConfigError
from trials.detection.folding import folded
from trials.device import (
    device_name,
    limited_threads,
    resolve_device,
    resolve_precision,
    synchronize,
)
from trials.evaluation.evaluated_images import load_validation
from trials.evaluation.inference import detect_files, input_size, usual_batch_size
from trials.training.batches import TrainingBatches
from trials.training.epoch import Batch, train_step
from trials.training.state import Training, start_training
from trials.trial import Trial

PARTS = ("input", "forward", "assignment_and_loss", "backward", "optimizer")
WARM_UP = 2
EVALUATED_IMAGES = 16
RATE = 1e-6  # small, so that the network stays untrained


@dataclass(frozen=True, kw_only=True)
class StepProfile:
    """Times of a training.

    Attributes:
        seconds: mean seconds of each part of a step (see `PARTS`).
        steps, images: number of steps timed and of images in them.
        evaluation_s: seconds of decoding, inference and NMS for a validation image.
        device: `cpu`, or the model of the GPU.
        threads: CPU threads of torch.
        precision: `fp32`, `bf16` or `fp16`.
        image_size, batch_size: those of the training.
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


def profile_training(trial: Trial, *, steps: int = 20) -> StepProfile:
    """Time `steps` training steps of a trial and the evaluation of some images.

    Nothing is written. Two more steps before these warm up.

    Raises:
        ConfigError: `steps` is below 1, or this machine has no such device.
        DataError: the training or the validation data cannot be read.
    """
    settings = trial.settings
    if steps < 1:
        raise ConfigError(f"steps must be at least 1, got {steps}")
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    with limited_threads(settings.threads):
        training = start_training(
            trial.architecture,
            trial.recipe,
            seed=settings.seed,
            device=device,
            precision=precision,
        )
        batches = _batches(TrainingBatches(trial, device))
        seconds, images = _time_steps(training, batches, steps)
        evaluation_s = _time_evaluation(training, trial)
        return StepProfile(
            seconds=seconds,
            steps=steps,
            images=images,
            evaluation_s=evaluation_s,
            device=device_name(device),
            threads=torch.get_num_threads(),
            precision=precision.name,
            image_size=settings.image_size,
            batch_size=trial.recipe.batch_size,
        )


def _time_steps(
    training: Training, batches: Iterator[Batch], steps: int
) -> tuple[dict[str, float], int]:
    """Return the mean seconds of each part and the number of images in the steps."""
    sums, images = dict.fromkeys(PARTS, 0.0), 0
    for number in range(WARM_UP + steps):
        watch = _Stopwatch(training.device)
        batch = next(batches)
        watch.lap("input")
        train_step(training, batch, RATE, watch.lap)
        if number >= WARM_UP:
            images += len(batch.images_B3HW)
            sums = {part: total + watch.seconds[part] for part, total in sums.items()}
    return {part: total / steps for part, total in sums.items()}, images


def _time_evaluation(training: Training, trial: Trial) -> float:
    """Return the seconds of a validation image, from its file to its detections."""
    paths = load_validation(trial.data_root).paths
    chosen, detector = paths[:EVALUATED_IMAGES], folded(training.evaluated)
    size, device = input_size("vga", trial.settings.image_size), training.device
    for some in (chosen[:1], chosen):  # the first pass warms up
        watch = _Stopwatch(device)
        found = detect_files(
            detector, some, size, device=device, batch_size=usual_batch_size(device)
        )
        done = sum(1 for _ in found)
        watch.lap("evaluation")
    return watch.seconds["evaluation"] / done


def _batches(source: TrainingBatches) -> Iterator[Batch]:
    """Yield batches without end; smaller last ones only where an epoch has no others."""
    for epoch in count(1):
        yield from islice(source.of_epoch(epoch), max(1, len(source) - 1))


class _Stopwatch:
    """Seconds of consecutive parts, each of which ends when the device has finished it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        synchronize(device)
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        """Record the seconds since the last lap as those of `part`."""
        synchronize(self.device)
        now = time.perf_counter()
        self.seconds[part], self._last = now - self._last, now
