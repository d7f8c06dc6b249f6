"""A trial trained in pieces: stopped at a rung, promoted, killed; the same end each time."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TINY, interrupt_after, make_data

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


def advance(data: Path, folder: Path, until: int, **options: Any) -> TrialResult | None:
    trial = Trial(architecture=TINY, recipe=RECIPE, data_root=data, settings=SETTINGS)
    return advance_trial(trial, folder, until=until, callbacks=Callbacks(**options))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return [
            {key: value for key, value in row.items() if key != "images_per_second"}
            for row in csv.DictReader(file)
        ]


def assert_same_end(folder: Path, other: Path) -> None:
    ours, theirs = (torch.load(path / "last.pt", weights_only=True) for path in (folder, other))
    for part in ("model", "average"):
        assert ours[part].keys() == theirs[part].keys()
        assert all(torch.equal(value, theirs[part][name]) for name, value in ours[part].items())
    assert rows(folder) == rows(other)
    one, two = load_result(folder), load_result(other)
    assert one is not None
    assert two is not None
    assert (one.aps, one.best_epoch, one.request) == (two.aps, two.best_epoch, two.request)


def test_rungs_and_the_end_are_evaluated(straight: Path) -> None:
    assert [bool(row["hard"]) for row in rows(straight)] == [True, True, False, True]


def test_the_rate_of_each_epoch_is_that_of_its_rungs_schedule(straight: Path) -> None:
    # 4 iterations an epoch; the last of epoch 1 is 3 of 4 after 1 of warm-up, of epoch 2
    # 7 of 8 after 2, of the epochs 3 and 4 11 and 15 of 16 after 3.
    shares = [(3 - 1) / 3, (7 - 2) / 6, (11 - 3) / 13, (15 - 3) / 13]
    cosines = [0.005 * (1 + torch.cos(torch.tensor(torch.pi * share)).item()) for share in shares]
    assert [float(row["learning_rate"]) for row in rows(straight)] == pytest.approx(
        cosines, rel=1e-4
    )


def test_from_rung_to_rung_it_ends_as_in_one_go(data: Path, straight: Path, tmp_path: Path) -> None:
    for until in (1, 2, 2):
        assert advance(data, tmp_path, until) is None
        assert load_outcome(tmp_path) is None
        assert rows(tmp_path) == rows(straight)[:until]
    assert advance(data, tmp_path, 4) == load_result(tmp_path)
    assert_same_end(tmp_path, straight)


def test_killed_between_rungs_it_ends_as_in_one_go(
    data: Path, straight: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        advance(data, tmp_path, 2, on_epoch=interrupt_after(1))
    assert advance(data, tmp_path, 2) is None
    with pytest.raises(KeyboardInterrupt):
        advance(data, tmp_path, 4, on_epoch=interrupt_after(3))
    assert advance(data, tmp_path, 4) is not None
    assert_same_end(tmp_path, straight)


def test_stopping_elsewhere_than_at_a_rung_changes_nothing(
    data: Path, straight: Path, tmp_path: Path
) -> None:
    assert advance(data, tmp_path, 3) is None
    assert advance(data, tmp_path, 4) is not None
    assert_same_end(tmp_path, straight)


def test_a_finished_trial_answers_for_every_rung(data: Path, straight: Path) -> None:
    assert advance(data, straight, 1) == load_result(straight)


def test_a_rung_ends_with_the_weights_of_a_training_of_that_length(
    data: Path, tmp_path: Path
) -> None:
    advance(data, tmp_path / "rung", 1)
    short = replace(SETTINGS, epochs=1, rungs=())
    run_trial(TINY, RECIPE, data, tmp_path / "short", settings=short)
    ours, theirs = (
        torch.load(tmp_path / name / "last.pt", weights_only=True)["model"]
        for name in ("rung", "short")
    )
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("until", [0, 5, 1.5])
def test_there_is_no_way_beyond_the_ends(data: Path, tmp_path: Path, until: Any) -> None:
    with pytest.raises(ConfigError, match="until must be an integer from 1 to 4"):
        advance(data, tmp_path / "new", until)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("rungs", "message"),
    [
        ((2, 1), r"rungs must ascend and stay below the 4 epochs, got \[2, 1\]"),
        ((1, 1), "rungs must ascend"),
        ((4,), "rungs must ascend"),
        ((0, 1), "must be an integer of at least 1, got 0"),
        ("12", "rungs must be a list of epochs"),
        (3, "rungs must be a list of epochs"),
    ],
)
def test_impossible_rungs_are_refused(rungs: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrialSettings(epochs=4, rungs=rungs)


def test_requests_without_rungs_are_what_they_were() -> None:
    plain = {"epochs": 80, "image_size": 640, "seed": 0, "precision": "auto", "workers": 1}
    assert TrialSettings().comparable() == plain
    assert TrialSettings(rungs=[20, 40]).comparable() == {**plain, "rungs": [20, 40]}  # type: ignore[arg-type]
