"""`scrfd-nas score`: AP of predictions in text files."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import CommandLine

from trials.data.widerface_mat import write_ground_truth
from trials.evaluation.prediction_files import write_predictions

FACE = [0, 0, 9, 9]
HALF = {"easy": 1.0, "medium": 0.5, "hard": 0.5}


@pytest.fixture
def gt(tmp_path: Path) -> Path:
    """Two images with a face each, one of which counts as easy."""
    images, every = {"e/a": [FACE], "e/b": [FACE]}, {"e/a": [0], "e/b": [0]}
    write_ground_truth(tmp_path / "gt", images, easy={"e/a": [0]}, medium=every, hard=every)
    return tmp_path / "gt"


def put(folder: Path, *names: str) -> Path:
    write_predictions(folder, {name: np.array([[*FACE, 0.9]]) for name in names})
    return folder


def score(found: Path, truth: Path) -> list[object]:
    return ["score", found, "--gt", truth]


def test_json_holds_three_fractions(gt: Path, tmp_path: Path, cli: CommandLine) -> None:
    shown = cli.run([*score(put(tmp_path / "found", "e/a", "e/b"), gt), "--json"])
    assert json.loads(shown.out) == {"easy": 1.0, "medium": 1.0, "hard": 1.0}
    assert shown.err == ""


def test_missing_predictions_count_as_empty_and_are_reported(
    gt: Path, tmp_path: Path, cli: CommandLine
) -> None:
    found = put(tmp_path / "found", "e/a", "e/extra")
    shown = cli.run([*score(found, gt), "--json"])
    assert json.loads(shown.out) == HALF
    assert "1 of 2 images without a prediction file" in shown.err
    assert "first e/b" in shown.err
    assert "1 prediction files belong to no image" in shown.err
    table = cli.run(score(found, gt)).out
    for cell in ("easy", "1.0000", "hard", "0.5000"):
        assert cell in table


def test_subset_without_faces_is_reported(tmp_path: Path, cli: CommandLine) -> None:
    truth = tmp_path / "gt"
    write_ground_truth(truth, {"e/a": [FACE]}, easy={}, medium={}, hard={"e/a": [0]})
    shown = cli.run([*score(put(tmp_path / "found", "e/a"), truth), "--json"])
    assert json.loads(shown.out) == {"easy": 0.0, "medium": 0.0, "hard": 1.0}
    assert "no face counts as easy" in shown.err


def test_folder_around_the_event_folders_is_accepted(
    gt: Path, tmp_path: Path, cli: CommandLine
) -> None:
    put(tmp_path / "run" / "detections", "e/a")
    for folder in ("run", "run/detections"):
        assert cli.json(score(tmp_path / folder, gt)) == HALF


def test_folders_that_cannot_be_scored_are_errors(
    gt: Path, tmp_path: Path, cli: CommandLine
) -> None:
    message = cli.fail(score(put(tmp_path / "other", "x/a"), gt))
    assert "no prediction file belongs to an image" in message
    for found, truth in ((tmp_path / "none", gt), (put(tmp_path / "f", "e/a"), tmp_path / "none")):
        assert str(tmp_path / "none") in cli.fail(score(found, truth))
    cli.run(["score", tmp_path], 2)
