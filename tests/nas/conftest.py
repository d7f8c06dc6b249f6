"""Fixtures for the tests of `nas`."""

from functools import partial
from pathlib import Path

import pytest
from fake_search import FakeSearch
from fake_trials import ENTRY, FakeCluster, make_data, propose


@pytest.fixture
def without_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeCluster:
    """The stage commands run fake trials on the returned cluster, in an empty folder."""
    from nas import stage

    cluster = FakeCluster()
    options = partial(stage.RunOptions, entry=ENTRY, propose=propose, connect=cluster.connect)
    monkeypatch.setattr(stage, "RunOptions", options)
    monkeypatch.chdir(tmp_path)
    return cluster


@pytest.fixture
def search(tmp_path: Path) -> FakeSearch:
    """A search of fake trials that has not begun."""
    return FakeSearch(tmp_path, make_data(tmp_path / "data"))
