"""Label files: every rule of the format, and faces in memory."""

from pathlib import Path

import numpy as np
import pytest

from search_spaces.errors import DataError
from trials.data.labels import (
    AnnotatedImage,
    Faces,
    Fault,
    LabelRecord,
    read_labelv2,
    scan_labelv2,
    write_labelv2,
)

KEYPOINTS = "10 11 0 20 11 1 15 16 0 -1 -1 -1 18 21 0"


def read(tmp_path: Path, text: str | bytes) -> list[AnnotatedImage]:
    path = tmp_path / "labelv2.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_labelv2(path, tmp_path / "images")


def scan(tmp_path: Path, text: bytes) -> tuple[list[AnnotatedImage], list[Fault]]:
    path = tmp_path / "labelv2.txt"
    path.write_bytes(text)
    items = list(scan_labelv2(path, tmp_path))
    faults = [f for item in items for f in ([item] if isinstance(item, Fault) else item.faults)]
    return [item.image for item in items if isinstance(item, LabelRecord)], faults


def test_boxes_flags_and_key_points_are_read(tmp_path: Path) -> None:
    text = f"# a/b.jpg 640 480\n1 2 3.5 4\n5 6 7 8 1\n5 6 7 8 0\n1 2 30 40 {KEYPOINTS}\n"
    (image,) = read(tmp_path, text)
    assert (image.name, image.width, image.height) == ("a/b.jpg", 640, 480)
    assert image.path == tmp_path / "images" / "a/b.jpg"
    faces = image.faces
    assert faces.boxes_N4.tolist() == [[1, 2, 3.5, 4], [5, 6, 7, 8], [5, 6, 7, 8], [1, 2, 30, 40]]
    assert faces.ignored_N.tolist() == [False, True, False, False]
    assert faces.annotated.tolist()[3] == [True, True, True, False, True]
    assert not faces.annotated[:3].any()
    assert faces.keypoints_N53[3, 1].tolist() == [20, 11, 1]


def test_path_may_hold_spaces_and_an_image_may_have_no_faces(tmp_path: Path) -> None:
    images = read(tmp_path, "# two words.jpg 10 20\n\n# b.jpg 3 4\r\n1 1 2 2\r\n")
    assert [(i.name, i.width, i.height, len(i.faces)) for i in images] == [
        ("two words.jpg", 10, 20, 0),
        ("b.jpg", 3, 4, 1),
    ]


def test_empty_file_has_no_images_and_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    assert read(tmp_path, "") == []
    assert read(tmp_path, "\ufeff# a.jpg 1 1\n")[0].name == "a.jpg"


def test_a_very_long_line_is_left_out_and_the_next_one_read(tmp_path: Path) -> None:
    long = "1 " * 50_000
    images, faults = scan(
        tmp_path, f"# a.jpg 9 9\n{long}\n1 1 2 2\n# {long}\n3 3 4 4\n# b.jpg 1 1\n".encode()
    )
    assert [(image.name, len(image.faces)) for image in images] == [("a.jpg", 1), ("b.jpg", 0)]
    assert [(fault.line, fault.message) for fault in faults] == [
        (2, "a line may have 16384 bytes"),
        (4, "a line may have 16384 bytes"),
    ]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("1 2 3", "4, 5 or 19 numbers, got 3"),
        ("1 2 3 4 5 6", "4, 5 or 19 numbers, got 6"),
        ("1 2 3 nan", "within"),
        ("1 2 inf 4", "within"),
        ("1 2 3 1e30", "within"),
        ("1 2 3 four", "numbers only"),
        ("1 2 3 4 0.5", "ignore flag"),
        ("1 2 3 4 " + "5 5 -1 " * 5, "all three numbers are -1"),
        ("# ../secret.jpg 1 1", "without `..`"),
        ("# /etc/passwd 1 1", "relative"),
        ("# a\0b.jpg 1 1", "relative"),
        ("# a.jpg 1", "path width height"),
        ("# a.jpg 0 5", "path width height"),
        ("# a.jpg 99999999999999 5", "path width height"),
        ("#", "path width height"),
    ],
)
def test_a_fault_names_file_line_and_rule(tmp_path: Path, line: str, rule: str) -> None:
    with pytest.raises(DataError) as raised:
        read(tmp_path, f"# ok.jpg 5 5\n{line}\n")
    assert f"{tmp_path / 'labelv2.txt'}:2: " in str(raised.value)
    assert rule in str(raised.value)
    assert len(str(raised.value)) < 500


def test_missing_file_and_folder_in_its_place_are_data_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.txt", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            read_labelv2(path, tmp_path)


def test_scanning_continues_after_faults(tmp_path: Path) -> None:
    images, faults = scan(
        tmp_path,
        b"1 1 2 2\n3 3 4 4\n# a.jpg 5 5\n1 1 2\n1 1 2 2\n"
        b"# \xff\xfe.jpg 5 5\n7 7 8 8\n# bad\n7 7 8 8\n# b.jpg 5 5\n\xff\n1 1 3 3\n",
    )
    assert [(image.name, len(image.faces)) for image in images] == [("a.jpg", 1), ("b.jpg", 1)]
    assert [fault.line for fault in faults] == [1, 4, 6, 8, 11]
    assert faults[0].message == "face before any image line"


def test_written_labels_read_back_the_same(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = Faces(
        boxes_N4=rng.uniform(-5, 2000, (6, 4)).astype(np.float32),
        keypoints_N53=np.abs(rng.normal(0, 300, (6, 5, 3))).astype(np.float32),
        ignored_N=np.zeros(6, np.bool_),
    )
    faces.keypoints_N53[2] = -1
    image = AnnotatedImage(name="x y.jpg", path=tmp_path, width=7, height=9, faces=faces)
    write_labelv2(tmp_path / "l.txt", [image])
    (again,) = read_labelv2(tmp_path / "l.txt", tmp_path)
    assert (again.name, again.width, again.height) == ("x y.jpg", 7, 9)
    np.testing.assert_array_equal(again.faces.boxes_N4, faces.boxes_N4)
    np.testing.assert_array_equal(again.faces.keypoints_N53, faces.keypoints_N53)


def test_ignored_faces_keep_their_flag_when_written(tmp_path: Path) -> None:
    faces = Faces.of_boxes([[1, 2, 3, 4], [5, 6, 7, 8.25]])
    faces.ignored_N[1] = True
    image = AnnotatedImage(name="a.jpg", path=tmp_path, width=9, height=9, faces=faces)
    write_labelv2(tmp_path / "l.txt", [image])
    lines = (tmp_path / "l.txt").read_text().splitlines()
    assert lines == ["# a.jpg 9 9", "1 2 3 4" + " -1" * 15, "5 6 7 8.25 1"]


@pytest.mark.parametrize("name", ["../a", "a\nb.jpg", " a.jpg", "\ufeffa.jpg", "a\udcff.jpg"])
def test_a_path_that_a_label_file_cannot_hold_is_not_written(tmp_path: Path, name: str) -> None:
    image = AnnotatedImage(name=name, path=tmp_path, width=1, height=1, faces=Faces.of_boxes([]))
    with pytest.raises(DataError):
        write_labelv2(tmp_path / "l.txt", [image])


def test_faces_refuse_shapes_that_do_not_fit() -> None:
    boxes = np.zeros((2, 4), np.float32)
    points = np.zeros((2, 5, 3), np.float32)
    with pytest.raises(DataError, match="ignored_N must be bool"):
        Faces(boxes_N4=boxes, keypoints_N53=points, ignored_N=np.zeros(3, np.bool_))
    with pytest.raises(DataError, match="boxes_N4 must be float32"):
        Faces(boxes_N4=boxes.astype(float), keypoints_N53=points, ignored_N=np.zeros(2, np.bool_))  # type: ignore[arg-type]


def test_select_takes_masks_and_indices() -> None:
    faces = Faces.of_boxes([[0, 0, 1, 1], [1, 1, 2, 2], [2, 2, 3, 3]])
    assert faces.select(np.array([True, False, True])).boxes_N4[:, 0].tolist() == [0, 2]
    assert faces.select(np.array([2, 0])).boxes_N4[:, 0].tolist() == [2, 0]
    assert len(Faces.of_boxes([])) == 0


@pytest.mark.parametrize("missing", ["0 0 0", "-1 -1 0", "-1 -1 -1", "-1.0 -1.0 -1.0"])
def test_missing_key_points_are_read_however_they_are_written(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "labelv2.txt"
    path.write_text(f"# a.jpg 100 100\n1 2 30 40 {missing} 5 6 0 7 8 1 {missing} 9 9 0\n")
    (image,) = read_labelv2(path, tmp_path)
    assert image.faces.annotated.tolist() == [[False, True, True, False, True]]
    assert (image.faces.keypoints_N53[0, [0, 3]] == -1).all()
