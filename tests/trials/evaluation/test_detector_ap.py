"""Evaluation on small drawn images with a detector whose outputs are known."""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from images import save_image
from small_networks import unchanged
from torch import Tensor

from search_spaces.errors import ConfigError, DataError, TrialError
from search_spaces.network.detector import build_detector
from search_spaces.network.head import HeadOutputs
from search_spaces.zoo import load_zoo
from trials.data.images import read_image
from trials.data.labels import AnnotatedImage, Faces, write_labelv2
from trials.data.widerface_mat import write_ground_truth
from trials.detection.decoding import Thresholds
from trials.device import limited_threads
from trials.evaluation.detector_ap import Evaluation, evaluate_detector
from trials.evaluation.evaluated_images import load_validation
from trials.evaluation.inference import detect_files, detect_images, input_size
from trials.evaluation.prediction_ap import score_folder
from trials.evaluation.prediction_files import read_predictions, write_predictions
from trials.onnx.runtime import OnnxDetector

STRIDES = (8, 16, 32)
# From the stride-8 anchor in row 1, column 2 (centre 16, 8): 8 left, 4 up, 12 right, 16 down.
DISTANCES = (1, 0.5, 1.5, 2)
BOX = (8, 4, 28, 24)


class OneFace:
    """A detector that finds `BOX` with probability `score` and records its inputs."""

    def __init__(self, score: float = 0.9, distances: tuple[float, ...] = DISTANCES) -> None:
        self.score, self.distances = score, distances
        self.inputs: list[Tensor] = []

    def __call__(self, images: Tensor) -> HeadOutputs:
        self.inputs.append(images)
        batch, _, height, width = images.shape
        grids = [(height // s, width // s) for s in STRIDES]
        scores = [torch.full((batch, 2, *grid), -20.0) for grid in grids]
        boxes = [torch.zeros(batch, 8, *grid) for grid in grids]
        scores[0][:, 0, 1, 2] = math.log(self.score / (1 - self.score))
        boxes[0][:, :4, 1, 2] = torch.tensor(self.distances)
        return HeadOutputs(scores, boxes, None)


def evaluate(
    data: Path,
    detector: OneFace | None = None,
    mode: str = "64",
    split: str = "val",
    **settings: Any,
) -> Evaluation:
    images = load_validation(data, split)
    return evaluate_detector(detector or OneFace(), images, input_size(mode), **settings)


def make_data(root: Path, sizes: list[tuple[int, int]], faces: list[list[float]]) -> Path:
    """Write images e/0, e/1, ... of (width, height), each with one face (xyxy)."""
    images, boxes = [], {}
    for index, ((width, height), face) in enumerate(zip(sizes, faces, strict=True)):
        name = f"e/{index}.png"
        path = root / "val" / "images" / name
        save_image(path, np.full((height, width, 3), (255, 127, 0), np.uint8))
        images.append(
            AnnotatedImage(
                name=name, path=path, width=width, height=height, faces=Faces.of_boxes([face])
            )
        )
        x1, y1, x2, y2 = face
        boxes[f"e/{index}"] = [[x1, y1, x2 - x1, y2 - y1]]
    write_labelv2(root / "val" / "labelv2.txt", images)
    every = {name: [0] for name in boxes}
    write_ground_truth(root / "val" / "gt", boxes, easy={}, medium=every, hard=every)
    return root


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Write three images; fitted to 64 pixels, the second is halved and the third doubled."""
    big, small = [2.0 * v for v in BOX], [v / 2 for v in BOX]
    return make_data(tmp_path, [(64, 48), (128, 64), (32, 32)], [list(BOX), big, small])


def test_boxes_are_in_pixels_of_each_image(data: Path) -> None:
    result = evaluate(data)
    assert result.aps.as_dict() == {"easy": 0, "medium": 1, "hard": 1}
    assert result.face_counts == {"easy": 0, "medium": 3, "hard": 3}
    score = pytest.approx(0.9, abs=1e-6)
    assert result.predictions["e/0"].tolist() == [[8, 4, 20, 20, score]]
    assert result.predictions["e/1"].tolist() == [[16, 8, 40, 40, score]]
    assert result.predictions["e/2"].tolist() == [[4, 2, 10, 10, score]]
    rows = evaluate(data, mode="original").predictions
    assert all(row[0, :4].tolist() == [8, 4, 20, 20] for row in rows.values())


def test_width_and_height_have_their_own_scale(tmp_path: Path) -> None:
    # 100 x 33 fits 64 as 64 x 21: y is scaled by 21 / 33, not by 64 / 100
    make_data(tmp_path, [(100, 33)], [[0, 0, 9, 9]])
    row = evaluate(tmp_path).predictions["e/0"][0]
    x, y = 100 / 64, 33 / 21
    assert row[:4].tolist() == pytest.approx([8 * x, 4 * y, 20 * x, (21 - 4) * y], rel=1e-6)


def test_boxes_are_clipped_to_the_image_not_to_the_padding(data: Path) -> None:
    wide = OneFace(distances=(9, 9, 9, 9))
    rows = evaluate(data, wide).predictions
    assert rows["e/0"][0, :4].tolist() == [0, 0, 64, 48]
    assert rows["e/1"][0, :4].tolist() == [0, 0, 128, 64]


def test_inputs_are_normalised_and_padded_with_zeros_at_the_end(data: Path) -> None:
    detector = OneFace()
    evaluate(data, detector, batch_size=8)
    (batch,) = detector.inputs
    assert batch.shape == (3, 3, 64, 64)
    assert batch[0, :, 47, 63].tolist() == [127.5 / 128, -0.5 / 128, -127.5 / 128]
    assert (batch[0, :, 48:] == 0).all()
    assert (batch[1, :, 32:] == 0).all()
    assert (batch[2] != 0).all()


@pytest.mark.parametrize(
    ("mode", "shapes"),
    [
        ("original", [(1, 64, 64), (1, 64, 128), (1, 32, 32)]),
        ("96", [(3, 96, 96)]),
        ("100", [(3, 128, 128)]),
        # 1100 is the limit: 64 x 48 -> 1467 x 1100, 32 x 32 -> 1100 x 1100; else 1650 long
        ("multi", [(1, 1120, 1472), (1, 832, 1664), (1, 1120, 1120)]),
    ],
)
def test_modes_and_input_sizes(data: Path, mode: str, shapes: list[tuple[int, ...]]) -> None:
    detector = OneFace()
    evaluate(data, detector, mode, batch_size=8)
    assert [(len(x), *x.shape[2:]) for x in detector.inputs] == shapes


@pytest.mark.parametrize("mode", ["", "VGA", "-1", "31", "9000", "1e3", "９６", "9" * 5000])
def test_unknown_modes_are_refused(mode: str) -> None:
    with pytest.raises(ConfigError):
        input_size(mode)


@pytest.mark.parametrize(("batch_size", "readers"), [(1, 3), (2, 0), (8, 3)])
def test_results_do_not_depend_on_batches_and_readers(
    data: Path, readers: int, batch_size: int
) -> None:
    usual = evaluate(data)
    other = evaluate(data, readers=readers, batch_size=batch_size)
    assert other.aps == usual.aps
    for name, rows in usual.predictions.items():
        assert (other.predictions[name] == rows).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_network_on_a_cpu_gets_an_image_a_thread(data: Path, threads: int) -> None:
    together = threading.Barrier(threads)

    class Together(OneFace):
        def __call__(self, images_B3HW: torch.Tensor) -> HeadOutputs:
            together.wait(60)  # needs all threads at the same time
            assert torch.get_num_threads() == 1
            return super().__call__(images_B3HW)

    with limited_threads(threads):
        found = evaluate(data, Together())
        assert torch.get_num_threads() == threads
    usual = evaluate(data, batch_size=1)
    assert list(found.predictions) == list(usual.predictions)
    for name, rows in usual.predictions.items():
        assert (found.predictions[name] == rows).all()


def test_an_interrupted_evaluation_leaves_torchs_threads_as_they_were(data: Path) -> None:
    def stop(done: int, images: int) -> None:
        raise InterruptedError

    with limited_threads(3):
        try:
            evaluate(data, progress=stop)
        except InterruptedError:  # its traceback still holds the evaluation
            assert torch.get_num_threads() == 3


def test_the_threshold_is_strict(data: Path) -> None:
    def count(score: float) -> int:
        result = evaluate(data, OneFace(score))
        return sum(map(len, result.predictions.values()))

    assert (count(0.0201), count(0.0199)) == (3, 0)


def test_progress_counts_images(data: Path) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(data, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_detector_in_training_stays_unchanged(data: Path) -> None:
    detector = build_detector(load_zoo("scrfd_0.5g")).train()
    with unchanged(detector):
        evaluate_detector(detector, load_validation(data), input_size("64"))


@pytest.mark.parametrize("readers", [0, 2])
def test_a_broken_image_is_named(data: Path, readers: int) -> None:
    path = data / "val" / "images" / "e" / "2.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"2\.png"):
        evaluate(data, readers=readers)


def test_outputs_that_are_not_numbers_are_an_error(data: Path) -> None:
    with pytest.raises(TrialError, match="diverged"):
        evaluate(data, OneFace(distances=(math.nan,) * 4))


def test_an_image_missing_from_the_labels_is_named(data: Path) -> None:
    labels = data / "val" / "labelv2.txt"
    labels.write_text("".join(labels.read_text().splitlines(keepends=True)[2:]))
    with pytest.raises(DataError, match=r"labelv2\.txt: lacks e/0"):
        evaluate(data)


def test_images_without_ground_truth_are_left_out_and_some_face_must_count(data: Path) -> None:
    boxes = {"e/1": [[16, 8, 40, 40]]}
    write_ground_truth(data / "val" / "gt", boxes, easy={}, medium={}, hard={"e/1": [0]})
    result = evaluate(data)
    assert (list(result.predictions), result.aps.hard) == (["e/1"], 1)
    write_ground_truth(data / "val" / "gt", boxes, easy={}, medium={}, hard={})
    with pytest.raises(DataError, match="no face counts as hard"):
        evaluate(data)


def test_another_split_can_be_evaluated(data: Path) -> None:
    (data / "val").rename(data / "test")
    assert evaluate(data, split="test").aps.hard == 1


def test_written_predictions_score_the_same(data: Path, tmp_path: Path) -> None:
    result = evaluate(data)
    write_predictions(tmp_path / "out", result.predictions)
    assert read_predictions(tmp_path / "out").keys() == result.predictions.keys()
    assert score_folder(tmp_path / "out", data / "val" / "gt").aps == result.aps


def test_one_image_in_memory() -> None:
    image = np.zeros((64, 128, 3), dtype=np.uint8)
    (found,) = detect_images(OneFace(), [image], input_size("vga", 64))
    assert found.boxes_N4.tolist() == [[16, 8, 56, 48]]
    strict = Thresholds(score=0.95)
    (found,) = detect_images(OneFace(), [image], input_size("vga", 64), thresholds=strict)
    assert not len(found)


def test_no_files_give_no_detections() -> None:
    assert list(detect_files(OneFace(), [], input_size("vga"))) == []
    with pytest.raises(ConfigError, match="batch size"):
        list(detect_files(OneFace(), [], input_size("vga"), batch_size=0))


def test_onnx_outputs_in_a_batch_are_those_of_single_images(shared_dir: Path) -> None:
    detector = OnnxDetector(shared_dir / "weights" / "scrfd_2.5g_kps.onnx", threads=1)
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    both, second = detector(images), detector(images[1:])
    assert detector.has_keypoints
    shapes = [tuple(level.shape) for level in both.keypoints or []]
    assert shapes == [(2, 20, 8, 12), (2, 20, 4, 6), (2, 20, 2, 3)]
    for kind in range(3):
        for one, two in zip(both[kind] or [], second[kind] or [], strict=True):
            torch.testing.assert_close(one[1:], two, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weights", "easy", "medium", "hard"),
    [
        ("scrfd_0.5g", 0.912859, 0.898875, 0.696736),
        ("scrfd_2.5g", 0.949686, 0.935478, 0.780976),
        ("scrfd_2.5g_kps", 0.952024, 0.940126, 0.784314),
    ],
)
def test_released_weights_give_the_known_aps(
    shared_dir: Path, weights: str, easy: float, medium: float, hard: float
) -> None:
    detector = OnnxDetector(shared_dir / "weights" / f"{weights}.onnx")
    images = load_validation(shared_dir / "data" / "widerface_mini")
    aps = evaluate_detector(detector, images, input_size("vga")).aps
    expected = {"easy": easy, "medium": medium, "hard": hard}
    assert aps.as_dict() == pytest.approx(expected, abs=2e-5)


def test_without_a_label_file_the_paths_are_those_of_wider_face(data: Path) -> None:
    (data / "val" / "labelv2.txt").unlink()
    with pytest.raises(DataError, match=r"e/0\.jpg"):
        evaluate(data)
    for image in (data / "val" / "images").rglob("*.png"):
        save_image(image.with_suffix(".jpg"), read_image(image))
    assert evaluate(data).aps.as_dict() == {"easy": 0, "medium": 1, "hard": 1}
