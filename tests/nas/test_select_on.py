"""A search that ranks on held-out training images names them in its tables."""

import json
from pathlib import Path

import pandas as pd
import pytest
from fake_search import stage1_command
from fake_trials import make_data

from nas.cli.main import run
from nas.search.directory import SearchDir


@pytest.mark.usefixtures("without_training")
def test_tables_name_held_out_images_and_not_the_validation_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage1 = stage1_command(make_data(tmp_path / "data"), num=2)
    directory = SearchDir(Path("runs/scrfdgen0.5g"))
    assert run([*stage1, "--select-on", "holdout:0.10"]) == 0
    assert "on holdout:0.1 of the training images" in capsys.readouterr().out
    assert directory.requests()[1].settings(1).held_out == 0.1
    assert run(["stage2", "--num-candidates", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["stage2"]
    assert [row["select_on"] for row in rows] == ["holdout:0.1"] * 2
    assert set(pd.read_csv(directory.leaderboard_file(1))["select_on"]) == {"holdout:0.1"}
    plain = [*stage1, "--search-dir", "plain"]
    assert run(plain) == 0
    assert "of the training images" not in capsys.readouterr().out
    assert run([*plain, "--json"]) == 0
    assert "select_on" not in json.loads(capsys.readouterr().out)["stage1"][0]
