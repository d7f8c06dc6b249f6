import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from nas.cli import score
from search_spaces.errors import DataError
from trials.data.widerface_mat import write_ground_truth
from trials.evaluation.prediction_files import write_predictions

FACE = [0, 0, 9, 9]


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    application.callback()(lambda: None)  # so that `score` stays a command of its own
    score.register(application)
    return application


@pytest.fixture
def gt(tmp_path: Path) -> Path:
    images = {"e/a": [FACE], "e/b": [FACE]}
    every = {"e/a": [0], "e/b": [0]}
    write_ground_truth(tmp_path / "gt", images, easy={"e/a": [0]}, medium=every, hard=every)
    return tmp_path / "gt"


def put(folder: Path, *names: str) -> Path:
    write_predictions(folder, {name: np.array([[*FACE, 0.9]]) for name in names})
    return folder


def test_json_is_the_three_fractions_and_nothing_else(
    app: typer.Typer, gt: Path, tmp_path: Path
) -> None:
    found = put(tmp_path / "found", "e/a", "e/b")
    result = CliRunner().invoke(app, ["score", str(found), "--gt", str(gt), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"easy": 1.0, "medium": 1.0, "hard": 1.0}
    assert result.stderr == ""


def test_missing_predictions_count_as_empty_and_are_reported(
    app: typer.Typer, gt: Path, tmp_path: Path
) -> None:
    found = put(tmp_path / "found", "e/a", "e/extra")
    result = CliRunner().invoke(app, ["score", str(found), "--gt", str(gt), "--json"])
    assert json.loads(result.stdout) == {"easy": 1.0, "medium": 0.5, "hard": 0.5}
    assert "1 of 2 images have no prediction file" in result.stderr
    assert "first e/b" in result.stderr
    assert "1 prediction files belong to no image" in result.stderr


def test_the_table_shows_ap_and_faces(app: typer.Typer, gt: Path, tmp_path: Path) -> None:
    found = put(tmp_path / "found", "e/a")
    result = CliRunner().invoke(app, ["score", str(found), "--gt", str(gt)])
    assert result.exit_code == 0
    for cell in ("easy", "1.0000", "hard", "0.5000"):
        assert cell in result.stdout


def test_a_subset_without_faces_is_said(app: typer.Typer, tmp_path: Path) -> None:
    images = {"e/a": [FACE]}
    write_ground_truth(tmp_path / "gt", images, easy={}, medium={}, hard={"e/a": [0]})
    found = put(tmp_path / "found", "e/a")
    result = CliRunner().invoke(app, ["score", str(found), "--gt", str(tmp_path / "gt"), "--json"])
    assert json.loads(result.stdout) == {"easy": 0.0, "medium": 0.0, "hard": 1.0}
    assert "no face counts as easy" in result.stderr


def test_predictions_of_other_images_only_are_an_error(
    app: typer.Typer, gt: Path, tmp_path: Path
) -> None:
    found = put(tmp_path / "found", "x/a")
    result = CliRunner().invoke(app, ["score", str(found), "--gt", str(gt)])
    assert isinstance(result.exception, DataError)
    assert "no prediction file belongs to an image" in str(result.exception)
    assert result.stdout == ""


def test_folders_that_are_not_there_are_errors(app: typer.Typer, gt: Path, tmp_path: Path) -> None:
    for found, truth in ((tmp_path / "none", gt), (put(tmp_path / "f", "e/a"), tmp_path / "none")):
        result = CliRunner().invoke(app, ["score", str(found), "--gt", str(truth)])
        assert isinstance(result.exception, DataError)
        assert str(tmp_path / "none") in str(result.exception)


def test_the_ground_truth_is_required(app: typer.Typer, tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["score", str(tmp_path)]).exit_code == 2


def test_a_folder_around_the_event_folders_does_not_matter(
    app: typer.Typer, gt: Path, tmp_path: Path
) -> None:
    put(tmp_path / "run" / "detections", "e/a")
    asked = [["score", str(tmp_path / path), "--gt", str(gt)] for path in ("run", "run/detections")]
    outer, inner = (json.loads(CliRunner().invoke(app, [*a, "--json"]).stdout) for a in asked)
    assert outer == inner == {"easy": 1.0, "medium": 0.5, "hard": 0.5}
