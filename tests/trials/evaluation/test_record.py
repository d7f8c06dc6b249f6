"""The record of an evaluation, and its file."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from images import noise, save_image

from search_spaces.errors import DataError
from trials.data.ground_truth import Truth, make_truth
from trials.evaluation import record_file
from trials.evaluation.evaluated_images import EvaluatedImages
from trials.evaluation.inference import input_size
from trials.evaluation.record import (
    MOST_BOXES,
    EvaluationRecord,
    choose,
    record_evaluation,
)
from trials.evaluation.record_file import RECORD_FILE, load_record, save_record
from trials.evaluation.widerface_ap import average_precision, evaluate

FACE, OTHER, IGNORED, NOWHERE = ((x, 0.0, 9.0, 9.0) for x in (0, 20, 40, 60))


def rows(*found: tuple[tuple[float, ...], float]) -> np.ndarray:
    return np.array([(*box, score) for box, score in found], dtype=float).reshape(-1, 5)


def record_of(root: Path, truth: Truth, predictions: dict[str, np.ndarray]) -> EvaluationRecord:
    """Return the record of images of 100 x 50, evaluated at 64 pixels."""
    paths = [save_image(root / "val/images" / f"{n}.png", noise(50, 100)) for n in truth.names]
    return record_evaluation(predictions, EvaluatedImages(truth, paths), input_size("64"), root)


@pytest.fixture
def record(tmp_path: Path) -> EvaluationRecord:
    """Return a record in which the best F1 of the hard faces is that of all detections."""
    truth = make_truth(
        {"e/a": [FACE, OTHER, IGNORED], "e/b": [FACE], "e/none": []},
        easy={},
        medium={"e/a": [0]},
        hard={"e/a": [0, 1], "e/b": [0]},
    )
    # F1 of the first: precision 1, recall 1/3, F1 1/2. Of all: 2/4, 2/3, 4/7: IGNORED is neither
    found = rows((FACE, 0.9), (FACE, 0.8), (NOWHERE, 0.7), (IGNORED, 0.6), (OTHER, 0.5))
    return record_of(tmp_path, truth, {"e/a": found})


def test_faces_found_missed_and_false_by_hand(record: EvaluationRecord) -> None:
    assert (record.threshold, record.score) == (999, 0.5)
    assert record.found.tolist() == [True, True, True, False]
    assert record.hard.tolist() == [True, True, False, True]
    assert record.height_F.tolist() == [9] * 4
    assert record.scale_F.tolist() == [np.float32(0.64)] * 4  # 100 x 50 becomes 64 x 32
    missed, false = record.pictures
    assert (missed.path, missed.reason) == ("val/images/e/b.png", "most missed")
    assert missed.counts == {"found": 0, "missed": 1, "false": 0}
    assert missed.boxes["missed"].tolist() == [list(FACE)]
    assert (false.path, false.reason) == ("val/images/e/a.png", "most false")
    assert false.counts == {"found": 2, "missed": 0, "false": 2}
    assert false.boxes["found"].tolist() == [list(FACE), list(OTHER)]
    assert false.boxes["false"].tolist() == [list(FACE), list(NOWHERE)]


def test_detections_below_the_best_threshold_are_not_in_the_pictures(tmp_path: Path) -> None:
    truth = make_truth({"e/a": [FACE]}, easy={}, medium={}, hard={"e/a": [0]})
    record = record_of(tmp_path, truth, {"e/a": rows((FACE, 0.9), (NOWHERE, 0.3))})
    assert (record.threshold, record.score) == (0, 0.9)
    (picture,) = record.pictures  # without errors: a random one
    assert (picture.reason, picture.counts["false"]) == ("random", 0)


@pytest.mark.parametrize("predictions", [{}, {"e/a": np.zeros((0, 5))}])
def test_without_detections_all_faces_are_missed(
    tmp_path: Path, predictions: dict[str, np.ndarray]
) -> None:
    truth = make_truth({"e/a": [FACE, OTHER]}, easy={}, medium={}, hard={"e/a": [1]})
    record = record_of(tmp_path, truth, predictions)
    assert not record.found.any()
    assert record.pictures[0].counts == {"found": 0, "missed": 1, "false": 0}
    save_record(record, tmp_path)
    assert load_record(tmp_path) is not None


def test_the_choice_of_pictures() -> None:
    missed = np.array([0, 3, 1, 9, 1, 1, 0, 0, 0, 0])
    false = np.array([0, 5, 0, 0, 0, 0, 2, 0, 0, 0])
    faces = np.array([True] * 9 + [False])
    chosen = choose(missed, false, faces)
    # 1 has the most false ones, but is taken for its missed ones; 9 has no faces
    assert chosen[:5] == [(i, "most missed") for i in (3, 1, 2, 4)] + [(6, "most false")]
    assert sorted(i for i, _ in chosen[5:]) == [i for i, _ in chosen[5:]]
    assert {reason for _, reason in chosen[5:]} == {"random"}
    assert {i for i, _ in chosen[5:]} == {0, 5, 7, 8}
    assert choose(missed[:0], false[:0], faces[:0]) == []


def test_boxes_of_a_picture_are_bounded_and_counted(tmp_path: Path) -> None:
    faces = [(0.0, 0.0, 9.0, 9.0)] * (MOST_BOXES + 7)
    truth = make_truth({"e/a": faces}, easy={}, medium={}, hard={"e/a": range(len(faces))})
    (picture,) = record_of(tmp_path, truth, {}).pictures
    assert picture.counts["missed"] == MOST_BOXES + 7
    assert len(picture.boxes["missed"]) == MOST_BOXES


def flat(record: EvaluationRecord) -> list[Any]:
    """Return the content of a record as numbers and text."""
    matches = record.matches
    arrays = (matches.face_M, matches.bin_M, matches.false_T, record.counted_F3)
    values: list[Any] = [a.tolist() for a in (*arrays, record.height_F, record.scale_F)]
    for picture in record.pictures:
        boxes = {kind: box.tolist() for kind, box in picture.boxes.items()}
        values += [picture.path, picture.reason, picture.counts, boxes]
    return [record.score, *values]


def test_a_file_gives_the_same_record(record: EvaluationRecord, tmp_path: Path) -> None:
    assert load_record(tmp_path) is None
    strange = replace(record.pictures[0], path="val/images/e/\udcff é.png")
    record = replace(record, pictures=(*record.pictures, strange))
    save_record(record, tmp_path)
    loaded = load_record(tmp_path)
    assert loaded is not None
    assert flat(loaded) == flat(record)


def test_the_record_gives_the_aps_of_the_evaluation(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    faces = {f"e/{i}": np.round(rng.uniform(5, 60, (9, 4))) for i in range(6)}
    counted = {name: np.flatnonzero(rng.random(9) < 0.7) for name in faces}
    truth = make_truth(faces, easy={}, medium=counted, hard=dict.fromkeys(faces, range(9)))
    found = {
        name: np.column_stack([box.repeat(3, 0) + rng.normal(0, 4, (27, 4)), rng.random(27)])
        for name, box in faces.items()
    }
    save_record(record_of(tmp_path, truth, found), tmp_path)
    record = load_record(tmp_path)
    assert record is not None
    aps = [average_precision(record.matches, column) for column in record.counted_F3.T]
    assert 0 < aps[1] < 1
    assert aps == list(evaluate(found, truth).as_dict().values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("face_steps", np.array([9, 0, 0, 0], np.uint32)),  # of no face
        ("face_steps", np.array([0, 0], np.int64)),
        ("bins", np.array([1000, 0, 0, 0], np.uint16)),
        ("counted", np.zeros((4, 2), bool)),
        ("counted", np.array(True)),
        ("heights", np.array([1, 2, 3, np.nan], np.float32)),
        ("scales", np.zeros(3, np.float32)),
        ("picture_paths", np.array([b"../secret.png", b"val/b.png"])),
        ("picture_paths", np.array([b"/etc/b.png", b"val/b.png"])),
        ("picture_reasons", np.array([0, 9], np.uint8)),
        ("picture_boxes", np.full((2, 3), 60000, np.uint16)),
        ("boxes", np.array([{}], dtype=object)),
        ("boxes", None),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    record: EvaluationRecord, tmp_path: Path, name: str, value: Any
) -> None:
    save_record(record, tmp_path)
    path = tmp_path / RECORD_FILE
    with np.load(path) as stored:
        arrays = {**stored, name: value}
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=r"evaluation\.npz: is damaged"):
        load_record(tmp_path)


def test_damaged_files_are_refused(
    record: EvaluationRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_record(record, tmp_path)
    path = tmp_path / RECORD_FILE
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 3] ^= 0xFF
    for damaged in (b"", b"text", content[: len(content) // 2], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"evaluation\.npz: is damaged"):
            load_record(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("counted.npy", b"no array")
    with pytest.raises(DataError, match="is damaged"):
        load_record(tmp_path)
    path.write_bytes(content)
    monkeypatch.setattr(record_file, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="may unpack to"):
        load_record(tmp_path)


def test_too_many_faces_leave_no_file(
    record: EvaluationRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_file, "MOST_FACES", 3)
    save_record(record, tmp_path)
    assert load_record(tmp_path) is None
