import json
from functools import partial
from pathlib import Path

import fake_final
import fake_trials
import pytest
from fake_trials import FakeCluster

from nas import demo, stage, whole_search
from nas.cli.main import run


def test_the_demo_runs_both_stages_and_continues_with_the_same_faces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connect = FakeCluster().connect
    entry, propose = fake_trials.ENTRY, fake_trials.propose
    options = partial(stage.RunOptions, entry=entry, propose=propose, connect=connect)
    monkeypatch.setattr(stage, "RunOptions", options)
    monkeypatch.setattr(whole_search, "train", fake_final.train)
    monkeypatch.setattr(demo, "NUM_TRAIN", 2)
    monkeypatch.setattr(demo, "NUM_VAL", 2)
    monkeypatch.chdir(tmp_path)
    data = Path("runs/demo/data")
    assert run(["demo", "--num-candidates", "1", "--epochs", "1"]) == 0
    text = capsys.readouterr().out
    assert "Stage 1: 1 of 1 finished" in text
    assert "Stage 2: 1 of 1 finished" in text
    assert "runs/demo/data" in text
    assert "in runs/demo/stage2/leaderboard.csv" in text
    assert text.splitlines()[-1] == "next:   open runs/demo/report.html"
    assert "they do not show which network finds faces in photos best" in text
    assert Path("runs/demo/report.html").is_file()
    assert Path("runs/demo/final-1/model.onnx").is_file()
    assert "Confirmed with more seeds" in text
    for command in (["status"], ["report", "--json"], ["list", "--json"]):
        assert run(command) == 0
        assert "runs/demo" in capsys.readouterr().out
    drawn = {path: path.stat().st_mtime_ns for path in data.rglob("*.jpg")}
    assert len(drawn) == 4
    assert run(["demo", "--num-candidates", "2", "--epochs", "1", "--json"]) == 0
    assert {path: path.stat().st_mtime_ns for path in drawn} == drawn
    content = json.loads(capsys.readouterr().out)
    assert [len(content[f"stage{stage}"]) for stage in (1, 2)] == [2, 2]
    assert content["report"] == "runs/demo/report.html"
