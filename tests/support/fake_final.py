"""Final trainings that cost nothing, for the tests of whole searches."""

import torch
from fake_trials import hard_ap
from tiny import make_result

from nas.running.final_training import FinalTraining
from search_spaces.network.detector import build_detector
from trials.model_file import save_model
from trials.result import BEST, TrialResult, save_outcome
from trials.trial import Callbacks


def train(training: FinalTraining, callbacks: Callbacks) -> TrialResult:
    """A fake of `nas.running.final_training.train`, with an untrained model."""
    trial, folder = training.trial, training.folder
    folder.mkdir(parents=True, exist_ok=True)
    network = build_detector(trial.architecture, torch.Generator().manual_seed(0))
    save_model(folder / BEST, trial.architecture, network.state_dict())
    result = make_result(hard_ap(trial.architecture), trial.settings.epochs)
    save_outcome(result, folder)
    return result
