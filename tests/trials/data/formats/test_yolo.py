"""YOLO label files: relative boxes, key points with and without visibility, classes by number."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from search_spaces.errors import DataError
from trials.data.formats.yolo import labels_beside, read_yolo


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Write one image of 200 x 100 pixels and return its folder."""
    folder = tmp_path / "images" / "train"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), np.zeros((100, 200, 3), np.uint8))
    return folder


def label(images: Path, text: str) -> None:
    folder = labels_beside(images)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "a.txt").write_text(text)


def test_the_last_folder_images_becomes_labels() -> None:
    assert labels_beside(Path("/set/images/train")) == Path("/set/labels/train")
    assert labels_beside(Path("/images/set/images")) == Path("/images/set/labels")


def test_boxes_are_scaled_to_pixels(images: Path) -> None:
    label(images, "0 0.5 0.5 0.25 0.4\n\n")
    (image,) = read_yolo(images)
    assert image.name == "a.png"
    assert image.faces.boxes_N4[0] == pytest.approx([75, 30, 125, 70])


def test_pairs_are_visible_key_points_and_negative_ones_missing(images: Path) -> None:
    label(images, "0 .5 .5 .25 .4 .1 .1 .2 .2 -1 -1 .3 .3 0 0")
    (image,) = read_yolo(images)
    expected = [[20, 10, 0], [40, 20, 0], [-1] * 3, [60, 30, 0], [-1] * 3]
    assert image.faces.keypoints_N53[0] == pytest.approx(np.array(expected, float), abs=1e-4)


def test_visibility_is_read_where_it_is_given(images: Path) -> None:
    label(images, "0 .5 .5 .25 .4 .1 .1 2 .2 .2 1 .3 .3 0 .3 .3 2 0 0 0")
    (image,) = read_yolo(images)
    assert image.faces.keypoints_N53[0, :, 2].tolist() == [0, 1, -1, 0, -1]


def test_an_image_without_a_label_file_has_no_face(images: Path) -> None:
    label(images, "0 .5 .5 .1 .1")
    cv2.imwrite(str(images / "b.png"), np.zeros((10, 10, 3), np.uint8))
    assert [len(image.faces) for image in read_yolo(images)] == [1, 0]


def test_hidden_files_are_left_out(images: Path) -> None:
    label(images, "0 .5 .5 .1 .1")
    (images / "._a.png").write_bytes(b"not an image")
    assert len(read_yolo(images)) == 1


def test_several_classes_need_a_choice(images: Path) -> None:
    label(images, "0 .5 .5 .1 .1\n3 .5 .5 .2 .2")
    with pytest.raises(DataError, match="--class; there are 0, 3"):
        read_yolo(images)
    (image,) = read_yolo(images, wanted="3")
    assert len(image.faces) == 1
    with pytest.raises(DataError, match="there is no class 7; there are 0, 3"):
        read_yolo(images, wanted="7")
    with pytest.raises(DataError, match="classes by number, got --class 'face'"):
        read_yolo(images, wanted="face")


@pytest.mark.parametrize(
    "line",
    [
        *("0 1 2", "x 1 2 3 4", "0 nan 0 0 0", "0 10 20 30 40", "0.5 .5 .5 .1 .1", "0 " * 7),
        *("-1 .5 .5 .1 .1", "0 .5 .5 .1 .1" + " 90 50 2" * 5, "0 .5 .5 .1 .1" + " .5 50" * 5),
    ],
)
def test_a_faulty_line_is_named(images: Path, line: str) -> None:
    label(images, f"0 .5 .5 .1 .1\n{line}")
    with pytest.raises(DataError, match=r"a\.txt:2: "):
        read_yolo(images)


def test_a_folder_without_images_or_labels_is_named(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty: is no folder"):
        read_yolo(tmp_path / "empty")
    with pytest.raises(DataError, match="give it as --labels"):
        read_yolo(images)
    (tmp_path / "labels").mkdir()
    with pytest.raises(DataError, match=r"no image has a label file, such as .*labels/a\.txt"):
        read_yolo(images, tmp_path / "labels")
    with pytest.raises(DataError, match="there is no image"):
        read_yolo(tmp_path / "labels")
