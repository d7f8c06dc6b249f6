"""Import of WIDER FACE and RetinaFace annotations."""

from pathlib import Path

import numpy as np
import pytest
from images import save_image

from search_spaces.errors import DataError
from trials.data.formats.annotation import annotation
from trials.data.formats.importers import divide, import_labels, write_split
from trials.data.labels import AnnotatedImage, read_labelv2
from trials.data.widerface_mat import read_ground_truth, write_ground_truth

WIDER = """\
0--Parade/a.jpg
3
10 20 30 40 0 0 0 0 0 0
1 1 0 5 2 0 0 0 0 0
3 4 5 6 2 0 0 1 2 0
1--Empty/b.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Empty/c.jpg
1
7 8 9 10 0 0 0 0 0 0
"""
RETINAFACE = """\
# 0--Parade/a.jpg
10 20 30 40 12.5 30 0.0 20 31 1.0 16 35 0.0 13 50 0.0 21 51 0.0 0.82
5 6 7 8 -1.0 -1.0 -1.0 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 0.2
# 1--Empty/b.jpg
3 4 5 6
1 1 4 0
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "WIDER_val/images"
    for number, name in enumerate(("0--Parade/a.jpg", "1--Empty/b.jpg", "1--Empty/c.jpg")):
        save_image(root / name, np.zeros((100, 60 + number, 3), np.uint8))
    return root


def labels(split: Path) -> list[AnnotatedImage]:
    return read_labelv2(split / "labelv2.txt", split / "images")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "annotations.txt"
    path.write_text(text)
    return path


def test_widerface_text_becomes_labelv2(tmp_path: Path, images: Path) -> None:
    report = import_labels("widerface", write(tmp_path, WIDER), images, tmp_path / "data/val")
    assert (report.images, report.faces, report.ignored, report.dropped) == (3, 3, 1, 1)
    first, empty, last = labels(tmp_path / "data/val")
    assert (first.name, first.width, first.height) == ("0--Parade/a.jpg", 60, 100)
    assert first.faces.boxes_N4.tolist() == [[10, 20, 40, 60], [3, 4, 8, 10]]
    assert first.faces.ignored_N.tolist() == [False, True]
    assert (empty.width, len(empty.faces)) == (61, 0)
    assert last.faces.boxes_N4.tolist() == [[7, 8, 16, 18]]
    assert last.path.is_file()


def test_retinaface_text_keeps_key_points(tmp_path: Path, images: Path) -> None:
    report = import_labels(
        "retinaface", write(tmp_path, RETINAFACE), images, tmp_path / "data/train"
    )
    assert (report.images, report.faces, report.with_keypoints, report.dropped) == (2, 3, 1, 1)
    first, second = labels(tmp_path / "data/train")
    assert first.faces.boxes_N4.tolist() == [[10, 20, 40, 60], [5, 6, 12, 14]]
    assert first.faces.keypoints_N53[0].tolist() == [
        [12.5, 30, 0], [20, 31, 1], [16, 35, 0], [13, 50, 0], [21, 51, 0],
    ]  # fmt: skip
    assert (first.faces.keypoints_N53[1] == -1).all()
    assert second.faces.boxes_N4.tolist() == [[3, 4, 8, 10]]


def test_an_image_that_is_annotated_twice_is_refused(images: Path, tmp_path: Path) -> None:
    text = "# 0--Parade/a.jpg\n3 4 5 6\n# 1--Empty/b.jpg\n# 0--Parade/a.jpg\n"
    with pytest.raises(DataError, match=r"a\.jpg: is annotated more than once"):
        import_labels("retinaface", write(tmp_path, text), images, tmp_path / "out")
    twice = [annotation("a.jpg", [], [], [])] * 2
    with pytest.raises(DataError, match=r"a\.jpg: is annotated more than once"):
        divide(twice, 0.5, 0)


def test_an_image_whose_name_no_label_file_can_hold_leaves_nothing_behind(tmp_path: Path) -> None:
    name = "a\nb.png"
    save_image(tmp_path / "images" / name, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"on one line .* rename the file"):
        write_split([annotation(name, [], [], [])], tmp_path / "images", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_images_are_linked_or_copied(tmp_path: Path, images: Path) -> None:
    annotations = write(tmp_path, WIDER)
    import_labels("widerface", annotations, images, tmp_path / "linked")
    assert (tmp_path / "linked/images").is_symlink()
    import_labels("widerface", annotations, images, tmp_path / "linked")  # again: the same link
    import_labels("widerface", annotations, images, tmp_path / "copied", copy=True)
    assert not (tmp_path / "copied/images").is_symlink()
    assert (
        labels(tmp_path / "copied")[0].path.read_bytes()
        == (images / "0--Parade/a.jpg").read_bytes()
    )


def test_an_existing_images_folder_is_kept(tmp_path: Path, images: Path) -> None:
    (tmp_path / "out/images").mkdir(parents=True)
    with pytest.raises(DataError, match="remove it, or name another folder"):
        import_labels("widerface", write(tmp_path, WIDER), images, tmp_path / "out")
    assert not (tmp_path / "out/labelv2.txt").exists()


def test_ground_truth_is_copied(tmp_path: Path, images: Path) -> None:
    boxes = {"1--Empty/c": [[7, 8, 9, 10]]}
    write_ground_truth(tmp_path / "gt", boxes, easy={}, medium={}, hard={"1--Empty/c": [0]})
    import_labels(
        "widerface", write(tmp_path, WIDER), images, tmp_path / "val", truth=tmp_path / "gt"
    )
    assert read_ground_truth(tmp_path / "val/gt").face_counts["hard"] == 1
    with pytest.raises(DataError, match=r"wider_face_val.mat: the file is missing"):
        import_labels("widerface", write(tmp_path, WIDER), images, tmp_path / "w", truth=tmp_path)


@pytest.mark.parametrize(
    ("form", "text", "line", "rule"),
    [
        ("widerface", "a.jpg\n", 1, "ends before the number of boxes"),
        ("widerface", "a.jpg\nb.jpg\n", 2, "number of boxes must follow a.jpg"),
        ("widerface", "a.jpg\n99999999999\n", 2, "number of boxes"),
        ("widerface", "a.jpg\n2\n1 1 1 1 0 0 0 0 0 0\n", 3, "ends before the boxes of a.jpg"),
        ("widerface", "a.jpg\n1\n1 1 1\n", 3, "10 finite numbers"),
        ("widerface", "a.jpg\n1\n1 1 nan 1 0 0 0 0 0 0\n", 3, "10 finite numbers"),
        ("widerface", "../a.jpg\n1\n1 1 1 1 0 0 0 0 0 0\n", 1, "without `..`"),
        ("retinaface", "1 2 3 4\n", 1, "face before any image line"),
        ("retinaface", "# a.jpg\n1 2 3 4 5\n", 2, "4 or 19 or 20 finite numbers"),
        ("retinaface", "# /etc/a.jpg\n", 1, "relative"),
    ],
)
def test_faulty_lines_are_named(tmp_path: Path, form: str, text: str, line: int, rule: str) -> None:
    with pytest.raises(DataError) as raised:
        import_labels(form, write(tmp_path, text), tmp_path, tmp_path / "out")
    assert f"annotations.txt:{line}: " in str(raised.value)
    assert rule in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_missing_images_and_empty_annotations_are_errors(tmp_path: Path, images: Path) -> None:
    with pytest.raises(DataError, match=r"d.jpg: the image is missing"):
        import_labels(
            "widerface", write(tmp_path, "d.jpg\n0\n" + "0 " * 10), images, tmp_path / "out"
        )
    with pytest.raises(DataError, match="list no image"):
        import_labels("retinaface", write(tmp_path, "\n"), images, tmp_path / "out")


def test_the_official_annotations_give_the_official_boxes(shared_dir: Path, tmp_path: Path) -> None:
    split = shared_dir / "data/widerface_mini/val"
    expected = {image.name: image for image in labels(split)}
    lines = (shared_dir / "data/widerface_gt/wider_face_val_bbx_gt.txt").read_text().splitlines()
    chosen: list[str] = []
    at = 0
    while at < len(lines):
        after = at + 2 + max(1, int(lines[at + 1]))
        if lines[at] in expected:
            chosen += lines[at:after]
        at = after
    text = write(tmp_path, "\n".join(chosen) + "\n")
    report = import_labels(
        "widerface", text, split / "images", tmp_path / "val", truth=split / "gt"
    )
    assert report.images == len(expected) == 238
    for image in labels(tmp_path / "val"):
        theirs = expected[image.name]
        assert (image.width, image.height) == (theirs.width, theirs.height)
        np.testing.assert_array_equal(image.faces.boxes_N4, theirs.faces.boxes_N4)
