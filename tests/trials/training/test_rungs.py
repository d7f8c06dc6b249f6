"""A trial advanced in several calls ends as one that is trained in a single call."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TINY, assert_same_outcome, interrupt_after, make_data, metrics_of

from search_spaces.errors import ConfigError
from trials.recipe import Recipe
from trials.result import TrialResult, load_outcome, load_result
from trials.run import advance_trial, run_trial
from trials.settings import TrialSettings
from trials.trial import Callbacks, Trial

RECIPE = Recipe(batch_size=2, schedule="cosine", ema_decay=0.9, warmup_fraction=0.2)
SETTINGS = TrialSettings(epochs=4, rungs=(1, 2), image_size=64, device="cpu", threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), num_train=8, num_val=2)


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    run_trial(TINY, RECIPE, data, folder, settings=SETTINGS)
    return folder


def advance(data: Path, folder: Path, until: int, **callbacks: Any) -> TrialResult | None:
    trial = Trial(architecture=TINY, recipe=RECIPE, data_root=data, settings=SETTINGS)
    return advance_trial(trial, folder, until=until, callbacks=Callbacks(**callbacks))


def test_rungs_and_the_last_epoch_are_evaluated(straight: Path) -> None:
    evaluated = [report.aps is not None for report in metrics_of(straight)]
    assert evaluated == [True, True, False, True]


def test_the_rate_of_each_epoch_is_that_of_its_rungs_schedule(straight: Path) -> None:
    # 4 iterations an epoch; the last of epoch 1 is 3 of 4 after 1 of warm-up, of epoch 2
    # 7 of 8 after 2, of the epochs 3 and 4 11 and 15 of 16 after 3.
    shares = [(3 - 1) / 3, (7 - 2) / 6, (11 - 3) / 13, (15 - 3) / 13]
    cosines = [0.005 * (1 + torch.cos(torch.tensor(torch.pi * share)).item()) for share in shares]
    rates = [report.learning_rate for report in metrics_of(straight)]
    assert rates == pytest.approx(cosines, rel=1e-4)


@pytest.mark.parametrize("stops", [(1, 2, 2), (3,)])
def test_a_trial_advanced_in_steps_ends_as_in_one_call(
    data: Path, straight: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    for until in stops:
        assert advance(data, tmp_path, until) is None
        assert load_outcome(tmp_path) is None
        assert metrics_of(tmp_path) == metrics_of(straight)[:until]
    assert advance(data, tmp_path, 4) == load_result(tmp_path)
    assert_same_outcome(tmp_path, straight)


def test_a_trial_interrupted_between_rungs_ends_as_in_one_call(
    data: Path, straight: Path, tmp_path: Path
) -> None:
    for until, interrupted in ((2, 1), (4, 3)):
        with pytest.raises(KeyboardInterrupt):
            advance(data, tmp_path, until, on_epoch=interrupt_after(interrupted))
        advance(data, tmp_path, until)
    assert_same_outcome(tmp_path, straight)


def test_a_finished_trial_returns_its_result_at_every_rung(data: Path, straight: Path) -> None:
    assert advance(data, straight, 1) == load_result(straight)


@pytest.mark.parametrize("until", [0, 5, 1.5])
def test_an_epoch_outside_the_trial_is_refused(data: Path, tmp_path: Path, until: Any) -> None:
    with pytest.raises(ConfigError, match="until must be an integer from 1 to 4"):
        advance(data, tmp_path / "new", until)
    assert not (tmp_path / "new").exists()
