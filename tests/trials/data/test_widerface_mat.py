"""Ground truth in memory and in WIDER FACE's .mat files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from search_spaces.errors import DataError
from trials.data.ground_truth import Truth, make_truth
from trials.data.widerface_mat import read_ground_truth, write_ground_truth

IMAGES = {
    "0--Parade/a_1": [[1, 2, 30.5, 40], [5, 6, 7, 8]],
    "0--Parade/b.2": [],
    "1--Other/c": [[0, 0, 1, 1]],
}
LISTS: dict[str, dict[str, list[int]]] = {
    "easy": {"0--Parade/a_1": [0]},
    "medium": {"0--Parade/a_1": [1, 0]},
    "hard": {"0--Parade/a_1": [0, 1], "1--Other/c": [0]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_ground_truth(tmp_path / "gt", IMAGES, **LISTS)
    return tmp_path / "gt"


def rewrite(path: Path, **changes: Any) -> None:
    """Replace variables of a MATLAB file; None removes one."""
    content = {key: value for key, value in loadmat(path).items() if key[0] != "_"} | changes
    savemat(path, {key: value for key, value in content.items() if value is not None})


def cells(*values: Any) -> np.ndarray:
    column = np.empty((len(values), 1), dtype=object)
    for row, value in enumerate(values):
        column[row, 0] = value
    return column


def test_written_files_read_back(folder: Path) -> None:
    truth = read_ground_truth(folder)
    assert truth.names == tuple(IMAGES)
    assert truth.boxes(0).tolist() == IMAGES["0--Parade/a_1"]
    assert truth.boxes(1).shape == (0, 4)
    assert truth.boxes(2).tolist() == [[0, 0, 1, 1]]
    assert truth.counted(0).tolist() == [[True, True, True], [False, True, True]]
    assert truth.counted(2).tolist() == [[False, False, True]]
    assert truth.face_counts == {"easy": 1, "medium": 2, "hard": 3}


def test_the_files_hold_the_official_layout(folder: Path) -> None:
    faces = loadmat(folder / "wider_face_val.mat")
    assert faces["event_list"][0, 0].item() == "0--Parade"
    assert faces["file_list"][0, 0][0, 0].item() == "a_1"
    assert faces["face_bbx_list"][1, 0][0, 0].tolist() == [[0, 0, 1, 1]]
    medium = loadmat(folder / "wider_medium_val.mat")
    assert medium["gt_list"][0, 0][0, 0].tolist() == [[1], [2]]  # counted from 1


def test_equal_content_gives_equal_bytes(folder: Path, tmp_path: Path) -> None:
    write_ground_truth(tmp_path / "again", IMAGES, **LISTS)
    files = sorted(path.name for path in folder.iterdir())
    assert files == [f"wider_{kind}_val.mat" for kind in ("easy", "face", "hard", "medium")]
    for name in files:
        content = (folder / name).read_bytes()
        assert content == (tmp_path / "again" / name).read_bytes()
        assert b"Created on" not in content[:128]


def test_images_of_an_event_need_not_be_consecutive_or_exist(tmp_path: Path) -> None:
    images = {"x/1": [[1, 1, 1, 1]], "y/2": [[2, 2, 2, 2]], "x/3": [[3, 3, 3, 3]]}
    write_ground_truth(tmp_path, images, easy={}, medium={}, hard={"x/3": [0]})
    truth = read_ground_truth(tmp_path)
    assert truth.names == ("x/1", "x/3", "y/2")
    assert truth.counted_F3[:, 2].tolist() == [False, True, False]
    write_ground_truth(tmp_path, {}, easy={}, medium={}, hard={})
    assert read_ground_truth(tmp_path).names == ()


@pytest.mark.parametrize(
    ("lists", "rule"),
    [
        ({"hard": {"1--Other/c": [1]}}, "has 1 faces, indices must be 0 to 0, got 1"),
        ({"hard": {"1--Other/c": [-1]}}, "got -1"),
        ({"hard": {"0--Parade/b.2": [0]}}, "has 0 faces"),
        ({"easy": {"0--Parade/a_1": [1, 1]}}, "twice"),
        ({"easy": {"no/image": [0]}}, "easy names an image that has no boxes: no/image"),
    ],
)
def test_invalid_indices_raise(lists: dict[str, Any], rule: str) -> None:
    with pytest.raises(DataError, match=rule):
        make_truth(IMAGES, **lists)


@pytest.mark.parametrize("name", ["no_event", "../a", "e/../a", "/e/a", "e//a", "e/a\n"])
def test_unsafe_names_are_not_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="event/file"):
        write_ground_truth(tmp_path / "gt", {name: []}, easy={}, medium={}, hard={})
    assert not (tmp_path / "gt").exists()


@pytest.mark.parametrize(
    "boxes", [[[1, 2, 3]], [1, 2, 3, 4], [["a", "b", "c", "d"]], [[1, 2, np.nan, 4]]]
)
def test_malformed_boxes_are_refused(boxes: Any) -> None:
    with pytest.raises(DataError, match="e/b"):
        make_truth({"e/a": [[1, 2, 3, 4]], "e/b": boxes})


def test_inconsistent_parts_raise() -> None:
    boxes, counted = np.zeros((2, 4)), np.zeros((2, 3), dtype=bool)
    for offsets in ([0, 1], [0, 3, 2], [1, 1, 2]):
        with pytest.raises(DataError, match="offsets"):
            Truth(
                names=("e/a", "e/b"), boxes_F4=boxes, offsets=np.array(offsets), counted_F3=counted
            )
    with pytest.raises(DataError, match=r"\(2, 3\)"):
        Truth(
            names=("e/a",),
            boxes_F4=np.zeros((3, 4)),
            offsets=np.array([0, 3]),
            counted_F3=counted,
        )


@pytest.mark.parametrize("name", ["wider_face_val.mat", "wider_hard_val.mat"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: WIDER ground truth file is missing"):
        read_ground_truth(folder)


@pytest.mark.parametrize("cut", [0, 1, 100, 128, 150, 300])
def test_a_cut_or_empty_file_is_one_line_of_error(folder: Path, cut: int) -> None:
    path = folder / "wider_face_val.mat"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"wider_face_val\.mat") as error:
        read_ground_truth(folder)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "changes", "rule"),
    [
        ("face", {"event_list": None}, "lacks the variable event_list"),
        ("face", {"file_list": None}, "lacks the variable file_list"),
        ("face", {"face_bbx_list": None}, "lacks the variable face_bbx_list"),
        ("face", {"face_bbx_list": np.zeros((2, 1))}, "face_bbx_list must be a cell array"),
        ("face", {"face_bbx_list": cells(cells([[1.0, 2, 3, 4]]))}, "1 events, event_list has 2"),
        ("face", {"event_list": cells("../..", "x")}, "event/file"),
        ("face", {"event_list": cells(1.0, 2.0)}, "must be strings"),
        ("face", {"file_list": cells(cells("a"), cells("c"))}, "2 file names but boxes of 3"),
        ("face", {"file_list": cells(cells("a", "a"), cells("c"))}, "0--Parade/a twice"),
        ("face", {"file_list": cells(np.zeros((2, 2)), cells("c"))}, "cell array for every event"),
        ("hard", {"gt_list": cells(cells([[1]], [[]]), cells([[2]]))}, "c has 1 faces.*, got 2"),
        ("hard", {"gt_list": cells(cells([[0]], [[]]), cells([[1]]))}, "a_1 has 2 .* got 0"),
        ("hard", {"gt_list": cells(cells([[1.5]], [[]]), cells([[1]]))}, "whole numbers"),
        ("hard", {"gt_list": cells(cells([[1], [1]], [[]]), cells([[1]]))}, "twice"),
        ("hard", {"gt_list": cells(cells([[1]]), cells([[1]]))}, "gt_list has 2 images"),
    ],
)
def test_inconsistent_lists_raise(
    folder: Path, kind: str, changes: dict[str, Any], rule: str
) -> None:
    rewrite(folder / f"wider_{kind}_val.mat", **changes)
    with pytest.raises(DataError, match=rule):
        read_ground_truth(folder)


def test_the_official_files_have_the_known_counts(shared_dir: Path) -> None:
    truth = read_ground_truth(shared_dir / "data" / "widerface_gt")
    assert (len(truth.names), len(truth.boxes_F4)) == (3226, 39708)
    assert truth.names[0] == "0--Parade/0_Parade_marchingband_1_465"
    assert truth.boxes(0)[0].tolist() == [345, 211, 4, 4]
    assert truth.face_counts == {"easy": 7211, "medium": 13319, "hard": 31958}
