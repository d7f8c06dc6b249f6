import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from search_spaces.errors import ConfigError, DataError, TrialError
from trials.detection.anchors import STRIDES, grids_for
from trials.detection.decoding import Detections, Thresholds, decode, nms_plus_one

SIZE = (64, 96)
NEVER = -30.0


class Head(NamedTuple):
    scores: list
    boxes: list
    keypoints: list | None = None


def logit(score):
    return math.log(score / (1 - score))


def silent_head(images=1, *, keypoints=False):
    """Return outputs without a face; tests write faces into them."""
    grids = grids_for(*SIZE)
    return Head(
        [torch.full((images, 2, *grid), NEVER) for grid in grids],
        [torch.zeros(images, 8, *grid) for grid in grids],
        [torch.zeros(images, 20, *grid) for grid in grids] if keypoints else None,
    )


def write_face(head, score, distances, *, image=0, level=0, a=0, x=2, y=3):
    head.scores[level][image, a, y, x] = logit(score)
    values = torch.tensor(distances, dtype=head.boxes[level].dtype)
    head.boxes[level][image, 4 * a : 4 * a + 4, y, x] = values


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("a", [0, 1])
def test_distances_from_the_cell_are_in_strides(level, a):
    head, stride = silent_head(), STRIDES[level]
    write_face(head, 0.75, [0.5, 1.0, 1.5, 0.25], level=level, a=a, x=1, y=1)
    (found,) = decode(head)
    expected = [0.5 * stride, 0, 2.5 * stride, 1.25 * stride]
    assert found.boxes_N4.tolist() == [expected]
    assert found.scores_N.tolist() == pytest.approx([0.75])
    assert found.keypoints_N52 is None


def test_key_points_are_shifts_from_the_cell():
    head = silent_head(keypoints=True)
    write_face(head, 0.5, [1, 1, 1, 1], level=1, a=1, x=2, y=1)
    head.keypoints[1][0, 10:, 1, 2] = torch.arange(10) / 2
    (found,) = decode(head)
    expected = [[32 + 16 * k, 16 + 16 * k + 8] for k in range(5)]
    assert found.keypoints_N52.tolist() == [expected]


def test_nothing_found_is_an_empty_result_for_every_image():
    found = decode(silent_head(3, keypoints=True))
    shapes = [(d.boxes_N4.shape, d.scores_N.shape, d.keypoints_N52.shape) for d in found]
    assert shapes == [((0, 4), (0,), (0, 5, 2))] * 3


def test_threshold_itself_does_not_pass():
    head = silent_head()
    write_face(head, 0.5, [1, 1, 1, 1])
    assert len(decode(head, thresholds=Thresholds(score=0.5))[0]) == 0
    assert len(decode(head, thresholds=Thresholds(score=0.499))[0]) == 1


def test_images_keep_their_own_faces():
    head = silent_head(3)
    write_face(head, 0.9, [1, 1, 1, 1], image=2)
    write_face(head, 0.8, [1, 1, 1, 1], image=0, x=5)
    write_face(head, 0.7, [1, 1, 1, 1], image=2, level=2, x=1, y=1)
    found = decode(head)
    scores = [d.scores_N.tolist() for d in found]
    assert scores == [pytest.approx([0.8]), [], pytest.approx([0.9, 0.7])]


def test_a_better_box_suppresses_an_overlapping_one():
    head = silent_head()
    write_face(head, 0.6, [1, 1, 1, 1], a=0)
    write_face(head, 0.9, [1, 1, 1, 1.1], a=1)
    write_face(head, 0.7, [1, 1, 1, 1], x=6)
    (found,) = decode(head)
    assert found.scores_N.tolist() == pytest.approx([0.9, 0.7])
    (everything,) = decode(head, thresholds=Thresholds(nms=None))
    assert everything.scores_N.tolist() == pytest.approx([0.9, 0.7, 0.6])


def test_boxes_are_clipped_to_the_image_of_their_own_size():
    head = silent_head(2)
    for image in range(2):
        write_face(head, 0.9, [9, 9, 9, 9], image=image)
    found = decode(head, [(40, 50), (64, 96)])
    assert found[0].boxes_N4.tolist() == [[0, 0, 50, 40]]
    assert found[1].boxes_N4.tolist() == [[0, 0, 88, 64]]
    assert decode(head)[0].boxes_N4.tolist() == [[-56, -48, 88, 96]]


def test_clipping_comes_before_suppression():
    # Unclipped the boxes share 1/4 of the larger; inside the image they are the same.
    head = silent_head()
    write_face(head, 0.9, [2, 2, 1, 1], x=1, y=1)
    write_face(head, 0.8, [6, 5, 1, 1], x=1, y=1, a=1)
    assert len(decode(head)[0]) == 2
    assert len(decode(head, [SIZE])[0]) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_precision_memory_format_and_gradient_mode_is_decoded_in_float32(dtype):
    head = silent_head(keypoints=True)
    write_face(head, 0.9, [0.5, 0.25, 1, 2], x=11, y=7)
    changed = Head(
        *(
            [x.to(dtype, memory_format=torch.channels_last).requires_grad_() for x in levels]
            for levels in head
        )
    )
    (found,) = decode(changed)
    assert found.boxes_N4.dtype == np.float32
    assert found.boxes_N4.tolist() == [[84, 54, 96, 72]]


def test_diverged_networks_are_an_error_not_an_empty_result():
    head = silent_head()
    head.scores[1][0, 0, 0, 0] = math.nan
    with pytest.raises(TrialError, match=r"scores are not numbers \(NaN\)"):
        decode(head)
    head = silent_head()
    write_face(head, 0.9, [1, math.nan, 1, 1])
    with pytest.raises(TrialError, match="boxes are not finite"):
        decode(head)


def test_values_outside_their_range_are_refused():
    with pytest.raises(ConfigError, match="score threshold must be from 0 to below 1, got 1"):
        Thresholds(score=1)
    with pytest.raises(ConfigError, match=r"NMS threshold must be from 0 to 1, got -0\.1"):
        Thresholds(nms=-0.1)
    with pytest.raises(DataError, match="one size for each of 2 images, got 1"):
        decode(silent_head(2), [SIZE])


# Suppression


def squares(*corners, side=10):
    return np.array([[x, y, x + side, y + side] for x, y in corners], np.float32)


@pytest.mark.parametrize(
    ("corners", "scores", "kept"),
    [
        ([(0, 0), (1, 0), (50, 0), (50, 2)], [0.5, 0.6, 0.8, 0.9], [3, 1]),
        ([(0, 0), (0, 4), (0, 8)], [0.9, 0.8, 0.7], [0, 2]),  # suppressed ones suppress nothing
        ([(0, 0), (0, 0)], [0.5, 0.5], [0]),
    ],
    ids=["best of each cluster", "chain", "equal scores"],
)
def test_suppression_by_hand(corners, scores, kept):
    found = nms_plus_one(squares(*corners), np.array(scores, np.float32), 0.4)
    assert (found.tolist(), found.dtype) == (kept, np.int64)


def test_overlap_at_the_threshold_survives():
    boxes = squares((0, 0), (0, 5))  # with +1 sides the IoU is 66 / 176 = 0.375
    scores = np.array([0.9, 0.8], np.float32)
    assert len(nms_plus_one(boxes, scores, 0.375)) == 2
    assert len(nms_plus_one(boxes, scores, 0.374)) == 1


# Detections


def test_detections_scale_select_and_must_agree_in_number():
    found = Detections(
        boxes_N4=squares((0, 0), (10, 20)),
        scores_N=np.array([0.5, 0.9], np.float32),
        keypoints_N52=np.ones((2, 5, 2), np.float32),
    )
    scaled = found.select(np.array([1])).scaled(2, 0.5)
    assert scaled.boxes_N4.tolist() == [[20, 10, 40, 15]]
    assert scaled.keypoints_N52[0, 0].tolist() == [2, 0.5]
    assert scaled.boxes_N4.dtype == np.float32
    assert len(scaled) == 1
    with pytest.raises(DataError, match=r"boxes_N4 must have shape \(2, 4\), got \(1, 4\)"):
        Detections(boxes_N4=squares((0, 0)), scores_N=np.zeros(2, np.float32))


# The reference's demo tool, from its own raw outputs


def head_from_raw(golden, image):
    """Return ONNX outputs of a released network (one row an anchor) as a head's outputs."""
    scores, boxes, keypoints = [], [], []
    raw = {
        name.split("__")[1]: golden[name]
        for name in golden.files
        if name.startswith(f"raw_{image}__")
    }
    by_rows = sorted(raw.values(), key=lambda array: (array.shape[-1], -array.shape[-2]))
    for level, (rows, columns) in enumerate(grids_for(640, 640)):
        for kind, target in enumerate((scores, boxes, keypoints)):
            if 3 * kind + level >= len(by_rows):
                continue
            values = torch.from_numpy(by_rows[3 * kind + level]).reshape(rows, columns, 2, -1)
            target.append(values.permute(2, 3, 0, 1).reshape(1, -1, rows, columns))
    logits = [level.double().logit() for level in scores]
    return Head(logits, boxes, keypoints or None)


@pytest.mark.parametrize("network", ["0.5g", "2.5g", "2.5g_kps"])
@pytest.mark.parametrize("image", [0, 5])
def test_detections_equal_the_demo_tool(golden_dir, network, image):
    golden = np.load(golden_dir / f"detect_scrfd_{network}.npz")
    (found,) = decode(head_from_raw(golden, image), thresholds=Thresholds(nms=None))
    scale = golden[f"shape_{image}"][0] / 640
    found = found.scaled(scale, scale)
    found = found.select(nms_plus_one(found.boxes_N4, found.scores_N))
    expected = golden[f"det_{image}"]
    order, expected_order = in_order(found.boxes_N4), in_order(expected[:, :4])
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes_N4[order], expected[expected_order, :4], atol=2e-3)
    np.testing.assert_allclose(found.scores_N[order], expected[expected_order, 4], atol=1e-6)
    if found.keypoints_N52 is not None:
        points = golden[f"kps_{image}"][expected_order]
        np.testing.assert_allclose(found.keypoints_N52[order], points, atol=2e-3)


def in_order(boxes):
    """Return an order of the boxes by place, because equal scores may swap."""
    return np.lexsort(np.round(boxes, 1).T)
