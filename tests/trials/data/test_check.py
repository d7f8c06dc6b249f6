"""Check of a data set: its counts, and every kind of fault."""

import json
from pathlib import Path

import numpy as np
import pytest
from images import save_image

from search_spaces.errors import DataError
from trials.data.check import CheckReport, check
from trials.data.widerface_mat import write_ground_truth

KEYPOINTS = " ".join(["5 5 0"] * 5)


def make_set(root: Path, train: str, val: str = "# e/v.png 40 30\n5 5 15 25\n") -> Path:
    """Write a data set with an image of 40 x 30 pixels for every image line of the labels."""
    for split, text in (("train", train), ("val", val)):
        for line in text.splitlines():
            if line.startswith("#"):
                path = root / split / "images" / line.split()[1]
                save_image(path, np.zeros((30, 40, 3), np.uint8))
        (root / split / "labelv2.txt").write_text(text)
    write_truth(root, {"e/v": [[5, 5, 10, 20]]})
    return root


def write_truth(root: Path, boxes: dict[str, list[list[float]]]) -> None:
    counted = {name: range(len(rows)) for name, rows in boxes.items()}
    write_ground_truth(root / "val/gt", boxes, easy={}, medium=counted, hard=counted)


def faults(report: CheckReport) -> list[tuple[str, int, str]]:
    return [(Path(f.file).name, f.line, f.message) for f in report.faults]


def test_counts_and_sizes_by_hand(tmp_path: Path) -> None:
    train = f"# a.png 40 30\n1 1 9 8\n1 1 9 9 1\n1 1 9 25 {KEYPOINTS}\n# b.png 40 30\n"
    report = check(make_set(tmp_path, train))
    assert report.faults == ()
    counts = report.splits["train"]
    assert (counts.images, counts.faces, counts.without_faces) == (2, 3, 1)
    assert (counts.with_keypoints, counts.ignored) == (1, 1)
    # heights 7, 8 and 24
    assert counts.heights == {
        "<8": 1, "8-16": 1, "16-32": 1, "32-64": 0, "64-128": 0, ">=128": 0,
    }  # fmt: skip
    assert report.truth == {"easy": 0, "medium": 1, "hard": 1}


def test_report_is_plain_json(tmp_path: Path) -> None:
    report = check(make_set(tmp_path, "# a.png 40 30\n1 1 2\n"))
    document = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert document["splits"]["train"]["images"] == 1
    (fault,) = document["faults"]
    assert fault["file"] == str(tmp_path / "train/labelv2.txt")
    assert fault["line"] == 2


def test_faults_of_lines_and_boxes_are_found_with_their_lines(tmp_path: Path) -> None:
    train = (
        "# a.png 40 30\n1 1 2\n9 9 9 20\n9 9 20 5\n30 20 45 25\n-9 0 5 5\n-1 0 41 31\n"
        "# a.png 40 30\n1 1 5 x\n"
    )
    found = faults(check(make_set(tmp_path, train)))
    assert [(name, line) for name, line, _ in found] == [
        ("labelv2.txt", line) for line in (2, 9, 3, 4, 5, 6, 8)
    ]
    text = {line: message for _, line, message in found}
    assert "4, 5 or 19 numbers, got 3" in text[2]
    assert "x1 < x2" in text[3]
    assert "x1 < x2" in text[4]
    assert "(30, 20, 45, 25) leaves its image of 40 x 30" in text[5]
    assert "listed already in line 1" in text[8]
    assert "numbers only" in text[9]


@pytest.mark.parametrize(
    ("point", "is_far"),
    [
        ("-20 -40 0", False),
        ("-21 0 1", True),
        ("0 -41 0", True),
        ("40 80 0", False),
        ("0 81 0", True),
    ],
)
def test_a_key_point_more_than_a_box_from_its_box_is_a_fault(
    tmp_path: Path, point: str, is_far: bool
) -> None:
    # the box is 20 x 40 pixels; the missing key points are at (-1, -1)
    face = f"0 0 20 40 {' '.join(['-1 -1 -1'] * 4)} {point}"
    train = f"# a.png 40 30\n{face}\n# b.png 40 30\n1 1 9 9\n".replace("40 30", "40 90")
    found = [
        line for _, line, text in faults(check(make_set(tmp_path, train))) if "key point" in text
    ]
    assert found == [2] * is_far


def test_images_that_training_leaves_out_are_told(tmp_path: Path) -> None:
    train = "# a.png 40 30\n1 1 9\n# b.png 40 30\n1 1 9 9 1\n# c.png 40 30\n1 1 9 9\n"
    found = check(make_set(tmp_path, train)).left_out
    assert (found.listed, found.faceless) == (3, ("b.png",))
    assert [text.rpartition("labelv2.txt")[2][:3] for text in found.faulty] == [":2:"]
    assert str(found).startswith("training leaves out 2 of 3 images")


def test_missing_broken_and_resized_images_are_found(tmp_path: Path) -> None:
    train = "# a.png 40 30\n1 1 5 5\n# b.png 40 30\n# c.png 30 40\n# d.png 40 30\n"
    root = make_set(tmp_path, train)
    (root / "train/images/a.png").unlink()
    content = (root / "train/images/b.png").read_bytes()
    (root / "train/images/b.png").write_bytes(content[: len(content) - 30])
    found = faults(check(root))
    assert [line for _, line, _ in found] == [1, 3, 4]
    assert "missing" in found[0][2]
    assert "cannot be decoded" in found[1][2]
    assert "is labelled as 30 x 40: width and height are exchanged" in found[2][2]
    # headers alone do not show the broken end of b.png
    assert [line for _, line, _ in faults(check(root, decode=False))] == [1, 4]


def test_missing_ground_truth_is_a_fault(tmp_path: Path) -> None:
    root = make_set(tmp_path, "# a.png 40 30\n")
    (root / "val/gt/wider_hard_val.mat").unlink()
    report = check(root)
    assert report.truth is None
    ((name, line, message),) = faults(report)
    assert (name, line) == ("gt", 0)
    assert message.startswith("wider_hard_val.mat")


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ({"e/x": [[5, 5, 10, 20]]}, ["lacks e/v, which", "lists e/x, which"]),
        ({"e/v": []}, ["e/v: 0 faces, the label file has 1"]),
        ({"e/v": [[5, 5, 10, 22.5]]}, ["e/v: face 1 is 2.5 pixels off"]),
    ],
)
def test_ground_truth_of_other_images_or_boxes_is_a_fault(
    tmp_path: Path, boxes: dict[str, list[list[float]]], expected: list[str]
) -> None:
    root = make_set(tmp_path, "# a.png 40 30\n")
    write_truth(root, boxes)
    found = [message for _, _, message in faults(check(root))]
    assert len(found) == len(expected)
    assert all(start in message for start, message in zip(expected, found, strict=True))


def test_missing_splits_and_empty_label_files_are_faults(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train/labelv2.txt").write_text("")
    messages = [message for _, _, message in faults(check(tmp_path))]
    assert messages[:2] == ["lists no image", "the label file is missing"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data folder"):
        check(tmp_path / "nowhere")


def test_progress_counts_every_image(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = make_set(tmp_path, "# a.png 40 30\n# b.png 40 30\n")
    check(root, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2), (1, 1)]
