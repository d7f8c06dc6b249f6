"""A search that ranks on held-out training images: bound to its request, said on its tables."""

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import fake_trials
import pytest
from fake_trials import FakeCluster, make_data

from nas import stage
from nas.cli.main import run
from nas.search.directory import SearchDir
from nas.search.request import Stage1Request
from search_spaces.errors import ConfigError


@pytest.fixture
def stage1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    options = partial(
        stage.RunOptions,
        entry=fake_trials.ENTRY,
        propose=fake_trials.propose,
        connect=FakeCluster().connect,
    )
    monkeypatch.setattr(stage, "RunOptions", options)
    monkeypatch.chdir(tmp_path)
    command = ["stage1", "--flops", "0.5G", "--data", str(make_data(tmp_path / "data"))]
    return [*command, "--num-candidates", "2", "--epochs", "2", "--image-size", "64"]


def request() -> Stage1Request:
    found = SearchDir(Path("runs/scrfdgen0.5g")).requests()[1]
    assert isinstance(found, Stage1Request)
    return found


def test_the_tables_say_what_was_ranked_on(
    stage1: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*stage1, "--select-on", "holdout:0.10"]) == 0
    assert "on holdout:0.1 of the training images" in capsys.readouterr().out
    assert request().settings(1).held_out == 0.1
    assert run(["stage2", "--num-candidates", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["stage2"]
    assert [row["select_on"] for row in rows] == ["holdout:0.1"] * 2
    with SearchDir(Path("runs/scrfdgen0.5g")).leaderboard_file(1).open() as file:
        assert [row["select_on"] for row in csv.DictReader(file)] == ["holdout:0.1"] * 2


def test_validation_is_the_default_and_needs_no_words(
    stage1: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stage1) == 0
    assert "of the training images" not in capsys.readouterr().out
    assert run([*stage1, "--json"]) == 0
    assert "select_on" not in json.loads(capsys.readouterr().out)["stage1"][0]


def test_a_search_keeps_what_it_selects_on(
    stage1: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*stage1, "--select-on", "holdout:0.1"]) == 0
    capsys.readouterr()
    assert run([*stage1, "--select-on", "val"]) == 1
    assert "select_on: 'holdout:0.1' -> 'val'" in capsys.readouterr().err
    assert run(["stage2", "--num-candidates", "2", "--select-on", "holdout:0.2"]) == 1
    assert "select_on: 'holdout:0.1' -> 'holdout:0.2'" in capsys.readouterr().err


def test_a_share_that_cannot_be_is_refused_at_once(
    stage1: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*stage1, "--select-on", "holdout:0.9"]) == 1
    assert "select_on must be val, or holdout:SHARE" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_search_from_before_is_one_on_validation(stage1: list[str]) -> None:
    assert run(stage1) == 0
    content = request().to_dict()
    del content["select_on"]
    assert Stage1Request(**content) == request()
    with pytest.raises(ConfigError, match="select_on must be"):
        replace(request(), select_on="train")
