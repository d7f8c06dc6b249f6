"""The code paths of a GPU, on a stand-in that has the CPU's values (see `stand_in_gpu`)."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_in_gpu import DEVICE, NAME, PACKAGES, Gpu, one_gpu
from tiny import TINY, interrupt_after, make_architecture, make_data, metrics_of

from search_spaces.architecture import BLOCKS, Architecture
from search_spaces.network.detector import build_detector
from trials.detection.decoding import Thresholds, decode
from trials.detection.folding import folded
from trials.device import Precision, limited_threads, resolve_precision
from trials.model_file import load_model
from trials.recipe import Recipe
from trials.result import BEST
from trials.run import run_trial
from trials.settings import TrialSettings
from trials.training.batches import TrainingBatches
from trials.training.epoch import Batch, train_step
from trials.training.state import Training, start_training
from trials.training.targets import Targets
from trials.trial import Callbacks, Trial

gpu = pytest.fixture(one_gpu)
CPU = torch.device("cpu")
RECIPE = Recipe(batch_size=2, ema_decay=0.9, gradient_clip=1.0)
EXACT = Precision(name="fp32")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with limited_threads(1):
        yield


def start(
    device: torch.device,
    architecture: Architecture,
    recipe: Recipe = RECIPE,
    precision: Precision = EXACT,
) -> Training:
    return start_training(architecture, recipe, seed=0, device=device, precision=precision)


def a_batch() -> Batch:
    """Return two images, one of them without faces."""
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[16.0, 16.0, 48.0, 48.0], [2.0, 2.0, 20.0, 24.0]])
    points = torch.cat([torch.full((2, 5, 2), 30.0), torch.ones(2, 5, 1)], dim=2)
    targets = [Targets(boxes_G4=boxes, keypoints_G53=points), Targets(boxes_G4=boxes[:0])]
    return Batch(images_B3HW=images, targets=targets, names=["a", "b"])


def steps(training: Training, count: int = 2) -> list[list[float]]:
    return [train_step(training, a_batch(), 0.01).cpu().tolist() for _ in range(count)]


@pytest.mark.parametrize(
    ("block", "keypoints", "optimizer"),
    [*((block, 5, "sgd") for block in BLOCKS), ("basic", 0, "adamw")],
)
def test_steps_on_a_gpu_agree_with_those_on_the_cpu(
    gpu: Gpu, block: str, keypoints: int, optimizer: str
) -> None:
    architecture = make_architecture(block, keypoints=keypoints)
    recipe = replace(RECIPE, optimizer=optimizer)
    there, here = (start(device, architecture, recipe) for device in (DEVICE, CPU))
    # Not to the bit: the order of sums follows the threads and the alignment of the memory.
    assert np.allclose(steps(there), steps(here), rtol=1e-5, atol=1e-7)
    weights = there.evaluated.state_dict()
    assert {value.device for value in weights.values()} == {DEVICE}
    for name, expected in here.evaluated.state_dict().items():
        torch.testing.assert_close(weights[name].cpu(), expected, rtol=1e-4, atol=1e-6)


def test_tensors_of_both_devices_are_refused(gpu: Gpu) -> None:
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(2, device=DEVICE) + torch.ones(2)


def test_a_trial_on_a_gpu_is_that_on_the_cpu(gpu: Gpu, tmp_path: Path) -> None:
    """Device augmentation, pinned batches, evaluation, checkpoints and resumption."""
    data = make_data(tmp_path / "data", num_train=5, num_val=3)
    settings = TrialSettings(epochs=2, image_size=64, threads=1, loader_workers=0, precision="fp32")
    for device in ("auto", "cpu"):
        chosen = replace(settings, device=device, augment_on="device")
        folder = tmp_path / device
        callbacks = Callbacks(on_epoch=interrupt_after(1))
        with pytest.raises(KeyboardInterrupt):
            run_trial(TINY, RECIPE, data, folder, settings=chosen, callbacks=callbacks)
        run_trial(TINY, RECIPE, data, folder, settings=chosen)
    there, here = (metrics_of(tmp_path / device)[-1] for device in ("auto", "cpu"))
    assert there.loss == pytest.approx(here.loss, abs=1e-5)
    weights, others = (load_model(tmp_path / d / BEST)[1].state_dict() for d in ("auto", "cpu"))
    torch.testing.assert_close(weights, others, rtol=1e-4, atol=1e-5)
    assert f"on {NAME}, 1 threads, fp32" in (tmp_path / "auto" / "trial.log").read_text()
    assert gpu.calls["pin_memory"] == 6  # three batches in each epoch


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_steps_in_half_precision_stay_finite(gpu: Gpu, name: str) -> None:
    training = start(DEVICE, TINY, precision=resolve_precision(name, DEVICE))
    assert all(math.isfinite(value) for row in steps(training) for value in row)


def test_detections_on_a_gpu_are_those_on_the_cpu(gpu: Gpu) -> None:
    images_B3HW, found = a_batch().images_B3HW, []
    for device in (DEVICE, CPU):
        detector = folded(build_detector(make_architecture(keypoints=5)).eval().to(device))
        with torch.inference_mode():
            outputs = detector(images_B3HW.to(device))
            found.append(decode(outputs, [(64, 60)] * 2, Thresholds(score=0.005)))
    for there, here in zip(*found, strict=True):
        assert len(here) > 2
        for name in ("boxes_N4", "scores_N", "keypoints_N52"):
            np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=1e-4)


@pytest.mark.parametrize(
    ("act", "waits"),
    [
        (lambda t: t.sum().item(), 1),
        (lambda t: bool(t.any()), 1),
        (lambda t: t.cpu(), 1),
        (lambda t: t.nonzero(), 1),
        (lambda t: t[t > 0], 1),
        (lambda t: t.masked_select(t > 0), 1),
        (lambda t: t.new_tensor([1.0]), 1),
        (lambda t: torch.ones(2).to(DEVICE), 1),
        (lambda t: torch.ones(2).to(DEVICE, non_blocking=True), 0),
        (lambda t: t[torch.zeros(1, dtype=torch.int64, device=DEVICE)], 0),
        (lambda t: (t + 1).sum(), 0),
    ],
)
def test_the_stand_in_records_waits(
    gpu: Gpu, act: Callable[[torch.Tensor], object], waits: int
) -> None:
    act(torch.ones(2, device=DEVICE))
    assert gpu.waits.total() == waits


WAITS = {
    ("losses._find_positives", "aten.nonzero.default"): "what follows is as long as the positives",
}


def test_a_training_step_waits_for_the_gpu_only_where_it_must(gpu: Gpu, tmp_path: Path) -> None:
    """A step that waits leaves the GPU without work until the next calls have been issued."""
    data = make_data(tmp_path / "data", num_train=4, num_val=1)
    settings = TrialSettings(image_size=64, threads=1, loader_workers=0)
    trial = Trial(architecture=TINY, recipe=RECIPE, data_root=data, settings=settings)
    training, batches = start(DEVICE, TINY), TrainingBatches(trial, DEVICE).of_epoch(1)
    train_step(training, next(batches), 0.01)  # copies the anchors of this size once
    gpu.waits.clear()
    train_step(training, next(batches), 0.01)
    assert gpu.waits == dict.fromkeys(WAITS, 1)


def test_only_one_module_names_a_kind_of_gpu() -> None:
    root = Path(__file__).resolve().parents[2]
    files = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    naming = [path for path in files if re.search(r"torch\.cuda|\"cuda", path.read_text())]
    assert naming == [root / "trials" / "device.py"]
