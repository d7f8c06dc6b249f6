"""Fixtures for the tests of `nas`."""

from functools import partial
from pathlib import Path

import pytest
from fake_trials import ENTRY, FakeCluster, propose


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCluster:
    """The stage commands run fake trials on the returned cluster, in an empty folder."""
    from nas import stage

    cluster = FakeCluster()
    options = partial(stage.RunOptions, entry=ENTRY, propose=propose, connect=cluster.connect)
    monkeypatch.setattr(stage, "RunOptions", options)
    monkeypatch.chdir(tmp_path)
    return cluster
