"""Writes training_losses.json: the losses of 20 iterations on generated faces.

Run it after a change that is meant to change training, and say so in docs/LOG.md:

    python tests/golden/make_training_losses.py
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from trials.data.generated.generate import generate
from trials.device import limited_threads, resolve_precision
from trials.recipe import Recipe
from trials.settings import TrialSettings
from trials.training.batches import TrainingBatches
from trials.training.epoch import train_step
from trials.training.schedule import learning_rate
from trials.training.state import start_training
from trials.trial import Trial

GOLDEN = Path(__file__).with_name("training_losses.json")
EPOCHS, IMAGES, BATCH = 4, 20, 4
ARCHITECTURE = Architecture(
    backbone=Backbone(block="basic", stem_widths=(8,), depths=(1, 1, 1, 1), widths=(8, 8, 16, 16)),
    neck=Neck(width=8),
    head=Head(convs=1, width=16, groups=8, keypoints=5),
)


def training_losses(folder: Path, name: str) -> list[list[float]]:
    """Total, score, box and key-point loss of each iteration of a recipe, on one CPU thread."""
    data = folder / "data"
    generate(data, num_train=IMAGES, num_val=1, seed=1, long_side=(96, 128))
    recipe = replace(Recipe.named(name), batch_size=BATCH)
    settings = TrialSettings(epochs=EPOCHS, image_size=64, seed=2, device="cpu", loader_workers=0)
    device = torch.device("cpu")
    precision = resolve_precision("fp32", device)
    training = start_training(ARCHITECTURE, recipe, seed=2, device=device, precision=precision)
    losses = []
    trial = Trial(architecture=ARCHITECTURE, recipe=recipe, data_root=data, settings=settings)
    batches = TrainingBatches(trial, device)
    with limited_threads(1):
        steps = EPOCHS * len(batches)
        for epoch in range(1, EPOCHS + 1):
            for batch in batches.of_epoch(epoch):
                rate = learning_rate(recipe, len(losses), steps)
                losses.append(train_step(training, batch, rate).tolist())
    return losses


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        losses = {n: training_losses(Path(scratch) / n, n) for n in ("reference", "quick")}
    GOLDEN.write_text(json.dumps(losses, indent=0) + "\n", encoding="utf-8")
