"""Settings of a trial: what they accept, and which of them define the result."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces.errors import ConfigError
from trials.settings import TrialSettings

SETTINGS = TrialSettings(epochs=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rungs": (2, 1)}, r"rungs must ascend and stay below the 4 epochs, got \[2, 1\]"),
        ({"rungs": (1, 1)}, "rungs must ascend"),
        ({"rungs": (4,)}, "rungs must ascend"),
        ({"rungs": (0, 1)}, "must be an integer of at least 1, got 0"),
        ({"rungs": "12"}, "rungs must be a list of epochs"),
        ({"rungs": 3}, "rungs must be a list of epochs"),
        ({"cache": ""}, "cache must be auto, off or a folder, got ''"),
        ({"cache": 3}, "cache must be auto, off or a folder, got 3"),
        ({"cache_gb": -1}, "cache_gb must be a finite number"),
        ({"cache_gb": float("nan")}, "cache_gb must be a finite number"),
        ({"augment_on": "gpu"}, "augment_on must be one of .*, got 'gpu'"),
    ],
)
def test_settings_that_break_a_rule_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SETTINGS, **settings)


def test_only_settings_that_define_the_result_are_compared(tmp_path: Path) -> None:
    plain = {"epochs": 4, "image_size": 640, "seed": 0, "precision": "auto", "workers": 1}
    resources = {"cache": str(tmp_path), "cache_gb": 3, "augment_on": "device", "threads": 2}
    assert replace(SETTINGS, **resources).comparable() == plain
    assert replace(SETTINGS, rungs=[1, 2]).comparable() == {**plain, "rungs": [1, 2]}
    held_out = replace(SETTINGS, select_on="holdout:.30")
    assert held_out == replace(SETTINGS, select_on="holdout:0.3")
    assert held_out.comparable() == {**plain, "select_on": "holdout:0.3"}


def test_a_cache_folder_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    assert replace(SETTINGS, cache="images").cache == str(tmp_path / "images")
    assert replace(SETTINGS, cache="~/images").cache == "/home/someone/images"
    assert [replace(SETTINGS, cache=word).cache for word in ("auto", "off")] == ["auto", "off"]
    assert replace(SETTINGS, cache=False).cache == "off"  # YAML reads the word off as False
