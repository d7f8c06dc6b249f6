"""Fixtures for the tests of `nas`."""

from functools import partial
from pathlib import Path

import pytest


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stage commands run fake trials without Ray, in an empty folder."""
    import fake_trials

    from nas import stage

    options = partial(
        stage.RunOptions,
        entry=fake_trials.ENTRY,
        propose=fake_trials.propose,
        connect=fake_trials.FakeCluster().connect,
    )
    monkeypatch.setattr(stage, "RunOptions", options)
    monkeypatch.chdir(tmp_path)
