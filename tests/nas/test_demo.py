import json
from functools import partial
from pathlib import Path

import fake_trials
import pytest
from fake_trials import FakeCluster

from nas import demo, stage
from nas.cli.main import run


@pytest.fixture(autouse=True)
def without_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = partial(stage.RunOptions, entry=fake_trials.ENTRY, propose=fake_trials.propose)
    monkeypatch.setattr(demo, "RunOptions", options)
    monkeypatch.setattr(demo.cluster, "connected", lambda: FakeCluster().connect(None))
    monkeypatch.setattr(demo, "NUM_TRAIN", 2)
    monkeypatch.setattr(demo, "NUM_VAL", 2)
    monkeypatch.chdir(tmp_path)
    fake_trials.set_faults(_data(tmp_path))


def _data(root: Path) -> Path:
    data = root / "runs" / "demo" / "data"
    data.mkdir(parents=True)
    return data


def test_the_demo_runs_both_stages_and_prints_its_folders(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["demo", "--num-candidates", "2", "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert "Stage 1: 2 of 2 finished" in text
    assert "Stage 2: 2 of 2 finished" in text
    for place in ("runs/demo/data", "runs/demo/search", "runs/demo/search/stage2/leaderboard.csv"):
        assert place in text


def test_the_demo_continues_with_the_same_faces(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--num-candidates", "1", "--epochs", "1"]) == 0
    drawn = {path: path.stat().st_mtime_ns for path in Path("runs/demo/data").rglob("*.jpg")}
    assert len(drawn) == 4
    capsys.readouterr()
    assert run(["demo", "--num-candidates", "2", "--epochs", "1", "--json"]) == 0
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    content = json.loads(capsys.readouterr().out)
    assert [len(content[f"stage{stage}"]) for stage in (1, 2)] == [2, 2]
