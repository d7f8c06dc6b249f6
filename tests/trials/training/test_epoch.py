"""One epoch of training: it learns, is reproducible, and reports divergence."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny import TINY

from search_spaces.errors import ConfigError
from trials.device import limited_threads, resolve_device, resolve_precision
from trials.recipe import Recipe
from trials.result import EpochReport, TrialFault
from trials.training.epoch import Batch, train_epoch
from trials.training.progress import Progress
from trials.training.schedule import Schedule
from trials.training.state import Training, start_training
from trials.training.targets import Targets
from trials.trial import Callbacks

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with limited_threads(1):
        yield


def make_training(recipe: Recipe, precision: str = "fp32") -> Training:
    chosen = resolve_precision(precision, CPU)
    return start_training(TINY, recipe, seed=0, device=CPU, precision=chosen)


def make_batches(count: int, faces: int = 1) -> list[Batch]:
    """Return batches of grey noise with a bright square of 32 px where the face is."""
    generator = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(count):
        images = 0.1 * torch.randn(2, 3, 64, 64, generator=generator)
        images[:, :, 16:48, 16:48] += 1.0
        boxes = torch.tensor([[16.0, 16.0, 48.0, 48.0]])[:faces]
        targets = [Targets(boxes_G4=boxes) for _ in range(2)]
        batches.append(Batch(images_B3HW=images, targets=targets, names=("a.jpg", "b.jpg")))
    return batches


def run(training: Training, batches: list[Batch], epoch: int = 1, **callbacks: Any) -> EpochReport:
    """Train one of ten epochs."""
    schedule = Schedule(recipe=training.recipe, epoch_iterations=len(batches), epochs=10)
    progress, options = Progress(), Callbacks(**callbacks)
    train_epoch(training, batches, schedule, epoch=epoch, sums=progress.sums, callbacks=options)
    return progress.end_epoch(10, None, 0.0)


def test_the_loss_falls_on_one_easy_image() -> None:
    training = make_training(Recipe(warmup_fraction=0.0, schedule="cosine", learning_rate=0.02))
    batches = make_batches(20)
    first = run(training, batches)
    for epoch in range(2, 6):
        last = run(training, batches, epoch)
    assert last.loss < 0.7 * first.loss
    terms = last.cls_loss + last.box_loss + last.keypoint_loss
    assert last.loss == pytest.approx(terms, rel=1e-5)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(optimizer="adamw", learning_rate=0.001, ema_decay=0.9, gradient_clip=1.0),
        Recipe(nesterov=True, schedule="linear"),
    ],
)
def test_the_same_seed_gives_the_same_weights(recipe: Recipe) -> None:
    one, other = make_training(recipe), make_training(recipe)
    assert run(one, make_batches(3)).loss == run(other, make_batches(3)).loss
    weights, others = one.evaluated.state_dict(), other.evaluated.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_another_seed_gives_other_weights() -> None:
    precision = resolve_precision("fp32", CPU)
    one, other = (
        start_training(TINY, Recipe(), seed=seed, device=CPU, precision=precision)
        for seed in (0, 1)
    )
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    assert all(not torch.equal(a, b) for a, b in pairs if a.ndim == 4)


def test_batches_without_faces_train_and_stay_finite() -> None:
    report = run(make_training(Recipe()), make_batches(3, faces=0))
    assert report.box_loss == 0.0
    assert 0.0 < report.cls_loss < 10.0


def test_bfloat16_is_close_to_float32() -> None:
    exact = run(make_training(Recipe()), make_batches(3))
    mixed = run(make_training(Recipe(), "bf16"), make_batches(3))
    assert mixed.loss == pytest.approx(exact.loss, rel=0.05)
    assert mixed.loss != exact.loss


def test_a_step_of_sgd_follows_its_definition() -> None:
    """The first step with weight decay is w - lr * (gradient + decay * w)."""
    recipe = Recipe(warmup_fraction=0.0, learning_rate=0.5, weight_decay=0.1, momentum=0.9)
    plain = replace(recipe, weight_decay=0.0)
    decayed, free = make_training(recipe), make_training(plain)
    before = {name: value.clone() for name, value in free.model.named_parameters()}
    for training in (decayed, free):
        run(training, make_batches(1))
    after = dict(decayed.model.named_parameters())
    for name, value in free.model.named_parameters():
        expected = value - 0.5 * 0.1 * before[name]
        torch.testing.assert_close(after[name], expected, rtol=1e-5, atol=1e-6)


def test_gradient_clipping_bounds_the_step() -> None:
    recipe = Recipe(
        warmup_fraction=0.0, learning_rate=1.0, momentum=0.0, weight_decay=0.0, gradient_clip=0.01
    )
    training = make_training(recipe)
    before = [value.detach().clone() for value in training.model.parameters()]
    run(training, make_batches(1))
    moved = [b - a for a, b in zip(before, training.model.parameters(), strict=True)]
    norm = torch.stack([step.norm() for step in moved]).norm().item()
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_not_finite_is_a_fault_with_iteration_and_images() -> None:
    batches = make_batches(3)
    batches[1].images_B3HW[0, 0, 0, 0] = float("nan")
    with pytest.raises(TrialFault, match=r"epoch 2, iteration 4 \(images a.jpg, b.jpg\)") as fault:
        run(make_training(Recipe()), batches, epoch=2)
    assert (fault.value.kind, fault.value.epoch) == ("diverged", 2)


def test_on_step_counts_iterations_of_the_whole_training() -> None:
    steps: list[tuple[int, int]] = []
    training, batches = make_training(Recipe()), make_batches(2)
    run(training, batches, epoch=3, on_step=lambda done, total: steps.append((done, total)))
    assert steps == [(5, 20), (6, 20)]


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99", ""])
def test_devices_that_do_not_exist_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        resolve_device(name)


def test_automatic_precision_on_a_cpu_is_float32() -> None:
    assert resolve_precision("auto", CPU).dtype is None
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        resolve_precision("fp16", CPU)
