"""A search that ranks on held-out training images says so on its tables."""

import csv
import json
from pathlib import Path

import pytest
from fake_trials import make_data

from nas.cli.main import run
from nas.search.directory import SearchDir

pytestmark = pytest.mark.usefixtures("without_training")


@pytest.fixture
def stage1(tmp_path: Path) -> list[str]:
    command = ["stage1", "--flops", "0.5G", "--data", str(make_data(tmp_path / "data"))]
    return [*command, "--num-candidates", "2", "--epochs", "2", "--image-size", "64"]


def test_tables_name_the_held_out_images(
    stage1: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    directory = SearchDir(Path("runs/scrfdgen0.5g"))
    assert run([*stage1, "--select-on", "holdout:0.10"]) == 0
    assert "on holdout:0.1 of the training images" in capsys.readouterr().out
    assert directory.requests()[1].settings(1).held_out == 0.1
    assert run(["stage2", "--num-candidates", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["stage2"]
    assert [row["select_on"] for row in rows] == ["holdout:0.1"] * 2
    with directory.leaderboard_file(1).open() as file:
        assert [row["select_on"] for row in csv.DictReader(file)] == ["holdout:0.1"] * 2


def test_tables_do_not_name_the_validation_images(
    stage1: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(stage1) == 0
    assert "of the training images" not in capsys.readouterr().out
    assert run([*stage1, "--json"]) == 0
    assert "select_on" not in json.loads(capsys.readouterr().out)["stage1"][0]
