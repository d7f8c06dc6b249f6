"""A trial that is evaluated on held-out training images."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import TINY, make_data

from search_spaces.errors import IncomparableError
from trials.data.holdout import is_held_out, load_holdout
from trials.evaluation.detector_ap import evaluate_detector
from trials.evaluation.evaluated_images import load_evaluated
from trials.evaluation.inference import input_size
from trials.model_file import load_model
from trials.recipe import Recipe
from trials.run import run_trial
from trials.settings import TrialSettings
from trials.training.batches import TrainingBatches
from trials.trial import Trial

RECIPE = Recipe(batch_size=2)
SETTINGS = TrialSettings(epochs=1, image_size=64, device="cpu", threads=1, select_on="holdout:0.3")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), num_train=12, num_val=2)


def test_held_out_images_are_never_trained_on(data: Path) -> None:
    held = load_holdout(data, 0.3)[0].names
    trial = Trial(architecture=TINY, recipe=RECIPE, data_root=data, settings=SETTINGS)
    batches = TrainingBatches(trial, torch.device("cpu"))
    trained = {name for batch in batches.of_epoch(1) for name in batch.names}
    assert held
    assert trained
    assert not trained & set(held)
    assert all(is_held_out(name, 0.3) for name in held)


def test_the_aps_are_measured_on_the_held_out_images_alone(data: Path, tmp_path: Path) -> None:
    copy, folder = tmp_path / "copy", tmp_path / "trial"
    shutil.copytree(data / "train", copy / "train")  # validation images are not needed
    result = run_trial(TINY, RECIPE, copy, folder, settings=SETTINGS)
    _, detector = load_model(folder / "best.pt")
    evaluation = evaluate_detector(detector, load_evaluated(copy, held_out=0.3), input_size("64"))
    assert result.aps == evaluation.aps
    assert set(evaluation.predictions) == set(load_holdout(copy, 0.3)[0].names)
    with pytest.raises(IncomparableError, match=r"settings.select_on: 'holdout:0.3' -> None"):
        run_trial(TINY, RECIPE, copy, folder, settings=replace(SETTINGS, select_on="val"))
