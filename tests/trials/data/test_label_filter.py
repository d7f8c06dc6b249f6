"""Images of a faulty label file that can still be trained on."""

import logging
from pathlib import Path

import pytest

from search_spaces.errors import DataError
from trials.data.dataset import FaceDataset
from trials.data.label_filter import FilteredLabels, read_filtered_labels

VALID = "# {}.jpg 100 100\n10 10 30 40\n50 50 60 60\n"


def read(root: Path, text: str | bytes) -> FilteredLabels:
    path = root / "train" / "labelv2.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_filtered_labels(path, root / "train" / "images")


def names(labels: FilteredLabels) -> list[str]:
    return [image.name for image in labels.images]


@pytest.mark.parametrize(
    "line",
    ["nan nan 20 20", "inf 0 1 1", "1e30 0 1 1", "1 2 3", "one two 3 4", "1 2 3 4 7", "\0\0 1 2 3"],
)
def test_an_image_with_a_faulty_line_is_left_out_and_the_line_named(
    tmp_path: Path, line: str
) -> None:
    text = VALID.format("a") + f"# bad.jpg 100 100\n1 1 9 9\n{line}\n2 2 8 8\n" + VALID.format("b")
    labels = read(tmp_path, text)
    assert names(labels) == ["a.jpg", "b.jpg"]
    assert [len(image.faces) for image in labels.images] == [2, 2]
    assert labels.listed == 3
    (message,) = labels.left_out
    assert message.startswith(f"{tmp_path / 'train' / 'labelv2.txt'}:6: ")


@pytest.mark.parametrize(
    "header", [b"# bad.jpg 100", b"# ../bad.jpg 9 9", b"# b\xff.jpg 9 9", b"# " + b"b" * 99_999]
)
@pytest.mark.parametrize("is_last", [False, True])
def test_the_faces_of_a_faulty_image_line_go_to_no_other_image(
    tmp_path: Path, header: bytes, is_last: bool
) -> None:
    text = VALID.format("a").encode() + header + b"\n1 1 9 9\n"
    labels = read(tmp_path, text if is_last else text + VALID.format("b").encode())
    assert names(labels) == (["a.jpg"] if is_last else ["a.jpg", "b.jpg"])
    assert [len(image.faces) for image in labels.images] == [2] * len(labels.images)
    assert labels.listed == len(labels.images) + 1
    assert len(labels.left_out) == 1
    assert ":4: " in labels.left_out[0]


@pytest.mark.parametrize(
    ("box", "is_kept"),
    [
        ("-30 10 -1 40", False),
        ("101 10 130 40", False),
        ("10 -30 40 -1", False),
        ("10 101 40 130", False),
        ("-5 -5 5 5", True),  # a face cut by the border, as WIDER FACE has them
        ("95 95 140 140", True),
        ("20 20 20 20", True),  # no area: takes no part in training, as in the reference
    ],
)
def test_a_face_outside_its_image_is_left_out_alone(
    tmp_path: Path, box: str, is_kept: bool
) -> None:
    labels = read(tmp_path, f"# a.jpg 100 100\n10 10 30 40\n{box}\n")
    (image,) = labels.images
    assert len(image.faces) == 1 + is_kept
    assert image.faces.boxes_N4[0].tolist() == [10, 10, 30, 40]
    expected = f"{tmp_path / 'train' / 'labelv2.txt'}:3: the face is outside its image of 100 x 100"
    assert labels.outside == (() if is_kept else (f"{expected} pixels",))


def many(broken: int, valid: int) -> str:
    bad = "".join(f"# bad{number}.jpg 100 100\n1 2 3\n4 5\n" for number in range(broken))
    return bad + "".join(VALID.format(number) for number in range(valid))


def test_a_data_set_with_a_few_faulty_labels_is_trained_on_and_they_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read(tmp_path, many(broken=10, valid=20))
    with caplog.at_level(logging.WARNING):
        assert len(FaceDataset(tmp_path, "train")) == 20
    assert len(caplog.records) == 10
    assert "labelv2.txt:2: a face has 4, 5 or 19 numbers, got 3" in caplog.text
    assert "it is left out" in caplog.text


@pytest.mark.parametrize(("broken", "valid"), [(11, 20), (30, 2000), (1, 0)])
def test_too_many_faulty_labels_end_the_training(tmp_path: Path, broken: int, valid: int) -> None:
    read(tmp_path, many(broken, valid))
    rule = rf"{broken} of {broken + valid} images have faulty labels, the first: .*txt:2: "
    with pytest.raises(DataError, match=rule):
        FaceDataset(tmp_path, "train")


def test_one_in_a_hundred_may_have_faulty_labels(tmp_path: Path) -> None:
    read(tmp_path, many(broken=20, valid=1980))
    assert len(FaceDataset(tmp_path, "train")) == 1980


def test_labels_are_read_again_only_when_their_file_changes(tmp_path: Path) -> None:
    first = read(tmp_path, "# a.jpg 10 10\n1 1 5 5\n")
    again = read_filtered_labels(tmp_path / "train" / "labelv2.txt", tmp_path / "train" / "images")
    assert again is first
    changed = read(tmp_path, "# a.jpg 10 10\n1 1 5 6.0\n")
    assert changed.images[0].faces.boxes_N4.tolist() == [[1, 1, 5, 6]]
    (tmp_path / "train" / "labelv2.txt").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_filtered_labels(tmp_path / "train" / "labelv2.txt", tmp_path / "train" / "images")
