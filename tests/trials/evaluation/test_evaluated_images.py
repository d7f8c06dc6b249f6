"""The images that a detector is evaluated on, with and without official lists."""

import shutil
from pathlib import Path

import pytest
import tiny

from search_spaces.errors import DataError
from trials.data.labels import read_labelv2
from trials.evaluation.evaluated_images import load_validation, subset_rule


def test_without_official_lists_the_height_of_a_face_decides(tmp_path: Path) -> None:
    data = tiny.make_data(tmp_path / "data", 2, 3)
    official = load_validation(data)
    shutil.rmtree(data / "val" / "gt")
    images = load_validation(data)
    assert images.truth.names == official.truth.names
    assert images.paths == official.paths
    labels = read_labelv2(data / "val" / "labelv2.txt", data / "val" / "images")
    heights = [y2 - y1 for image in labels for _, y1, _, y2 in image.faces.boxes_N4.tolist()]
    assert images.truth.face_counts == {
        "easy": sum(height > 50 for height in heights),
        "medium": sum(height > 30 for height in heights),
        "hard": sum(height > 10 for height in heights),
    }


def test_the_rule_is_stated_for_each_kind_of_data(tmp_path: Path) -> None:
    data = tiny.make_data(tmp_path / "data", 2, 2)
    assert subset_rule(data) == "easy, medium and hard are those of val/gt"
    heights = "easy, medium and hard are faces higher than 50, 30 and 10 pixels"
    assert subset_rule(data, held_out=0.1) == heights
    for file in (data / "val" / "gt").iterdir():
        file.rename(file.with_name(f"._{file.name}"))  # hidden files do not count
    assert subset_rule(data) == heights


def test_neither_labels_nor_lists_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither .*labelv2\.txt nor the ground truth gt/\*\.mat"):
        load_validation(tmp_path)
