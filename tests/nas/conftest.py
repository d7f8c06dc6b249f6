"""Makes `tests/support` importable here and in the Ray workers that tests start."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest

SUPPORT = str(Path(__file__).resolve().parents[1] / "support")

if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (SUPPORT, inherited)))


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
