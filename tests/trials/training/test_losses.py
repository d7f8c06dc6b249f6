"""The losses by hand: terms, normalisation, precision and targets."""

import math

import numpy as np
import pytest
import torch

from search_spaces.errors import DataError
from search_spaces.network.head import HeadOutputs
from trials.data.labels import Faces
from trials.detection.anchors import anchors_for, grids_for
from trials.training.losses import (
    detection_loss,
    level_sums,
    normalise,
    quality_focal_loss,
)
from trials.training.targets import Targets

SIZE = (64, 96)
TERMS = ("cls", "box", "keypoint", "total")


def tensors_of(outputs):
    return [*outputs.scores, *outputs.boxes, *(outputs.keypoints or [])]


def head(images=2, *, keypoints=True, seed=0):
    """Return random outputs of a network."""
    generator = torch.Generator().manual_seed(seed)
    grids = grids_for(*SIZE)

    def levels(channels):
        shapes = [(images, channels, *grid) for grid in grids]
        return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]

    return HeadOutputs(levels(2), levels(8), levels(20) if keypoints else None)


def constant_head(score, distance):
    """Return outputs for one image in which all anchors have one score and one distance."""
    grids = grids_for(*SIZE)
    scores = [torch.full((1, 2, *grid), float(score)).requires_grad_() for grid in grids]
    boxes = [torch.full((1, 8, *grid), float(distance)).requires_grad_() for grid in grids]
    return HeadOutputs(scores, boxes, None)


def target(*boxes, points=None):
    boxes_G4 = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Targets(boxes_G4=boxes_G4, keypoints_G53=points)


FACES = [
    target([4, 4, 36, 40], [40, 8, 52, 24], points=torch.full((2, 5, 3), 20.0).clamp(max=20)),
    target([10, 10, 60, 58]),
]


def one_positive():
    """Assign the first face to the first anchor at (16, 16) of stride 8 and to no other."""
    assigned = torch.zeros(1, len(anchors_for(*SIZE)), dtype=torch.int64)
    assigned[0, (2 * SIZE[1] // 8 + 2) * 2] = 1
    return assigned


# The terms by hand


@pytest.mark.parametrize(
    ("score", "quality", "expected"),
    [
        (0.5, 0.0, 0.25 * math.log(2)),
        (0.5, 0.5, 0.0),
        (0.25, 1.0, 0.75**2 * math.log(4)),
        (0.25, 0.5, 0.25**2 * (0.5 * math.log(4) + 0.5 * math.log(4 / 3))),
    ],
)
def test_quality_focal_loss_by_hand(score, quality, expected):
    logit = torch.tensor(math.log(score / (1 - score)))
    found = quality_focal_loss(logit, torch.tensor(quality))
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_background_has_the_focal_loss_of_its_scores():
    terms = detection_loss(constant_head(0.0, 1.0), [target()])
    expected = len(anchors_for(*SIZE)) * 0.25 * math.log(2)
    assert terms.total.item() == terms.cls.item() == pytest.approx(expected, rel=1e-5)


def test_box_loss_of_one_positive_by_hand():
    # Stride 8, centre (16, 16) = (2, 2) strides; predicted (1, 1, 3, 3), face (2, 1, 4, 3):
    # IoU 2 / 6, centres 1 apart, enclosing 3 x 2. The score weight cancels with its sum.
    outputs = constant_head(-1.0, 1.0)
    sums = level_sums(outputs, [target([16, 8, 32, 24])], one_positive())
    terms = normalise(sums)
    assert terms.box.item() == pytest.approx(2 * (1 - (1 / 3 - 1 / 13)), rel=1e-5)
    assert sums.qualities_P.tolist() == pytest.approx([1 / 3])
    assert terms.levels.num_positives == 1


def test_keypoint_loss_by_hand():
    outputs = head(images=1)
    with torch.no_grad():
        outputs.keypoints[0].zero_()
    shifts = torch.zeros(1, 5, 2)
    shifts[0, 0] = torch.tensor([2.0, 0.05])  # beyond and within beta = 1/9
    points = torch.cat((16 + 8 * shifts, torch.ones(1, 5, 1)), dim=2)
    face = target([8, 8, 24, 24], points=points)
    sums = level_sums(outputs, [face], one_positive())
    expected = 0.1 * ((2 - 0.5 / 9) + 0.5 * 0.05**2 * 9)
    assert normalise(sums).keypoint.item() == pytest.approx(expected, rel=1e-5)


def test_unknown_key_points_have_no_weight():
    outputs = head(images=1)
    points = torch.full((1, 5, 3), 20.0)

    def loss(weights):
        points[0, :, 2] = torch.tensor(weights)
        face = target([8, 8, 24, 24], points=points.clone())
        chosen = one_positive()
        return normalise(level_sums(outputs, [face], chosen)).keypoint.item()

    everything = loss([1.0, 1.0, 1.0, 1.0, 1.0])
    assert loss([0.0, 0.0, 0.0, 0.0, 0.0]) == 0
    assert loss([1.0, 0.0, 0.0, 1.0, 0.0]) == pytest.approx(0.4 * everything, rel=1e-5)


# Normalisation


@pytest.mark.parametrize("faces", [[target(), target()], FACES], ids=["empty", "faces"])
def test_losses_and_gradients_are_finite(faces):
    outputs = head()
    terms = detection_loss(outputs, faces)
    terms.total.backward()
    assert all(math.isfinite(getattr(terms, name).item()) for name in TERMS)
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors_of(outputs))


def test_positives_with_a_score_of_zero_leave_the_loss_finite():
    outputs = constant_head(-200.0, 1.0)  # their sigmoid is 0 in float32
    terms = detection_loss(outputs, [target([8, 8, 40, 40])])
    terms.total.backward()
    assert terms.levels.num_positives > 0
    assert math.isfinite(terms.total.item())
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors_of(outputs))


def test_a_worker_without_positives_takes_part_in_the_reduction():
    calls = []
    detection_loss(head(1), [target()], reduce=lambda divisors: calls.append(divisors) or divisors)
    assert [call.tolist() for call in calls] == [[1.0, 0.0]]


# Precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_outputs_are_summed_in_float32(dtype):
    outputs = head()
    rounded = HeadOutputs(*([level.to(dtype) for level in levels] for levels in outputs))
    exact = HeadOutputs(*([level.float() for level in levels] for levels in rounded))
    expected = detection_loss(exact, FACES)
    found = detection_loss(rounded, FACES)
    assert found.total.dtype == torch.float32
    for name in TERMS:
        assert getattr(found, name).item() == pytest.approx(getattr(expected, name).item())


def test_autocast_changes_nothing():
    outputs = head()
    expected = detection_loss(outputs, FACES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = detection_loss(outputs, FACES)
    assert found.total.item() == expected.total.item()


# Targets


def faces(boxes, keypoints=None, ignored=None):
    count = len(boxes)
    points = np.full((count, 5, 3), -1, np.float32) if keypoints is None else keypoints
    return Faces(
        boxes_N4=np.array(boxes, np.float32).reshape(-1, 4),
        keypoints_N53=np.asarray(points, np.float32),
        ignored_N=np.zeros(count, bool) if ignored is None else np.array(ignored),
    )


def test_ignored_faces_are_no_targets():
    found = Targets.from_faces(faces([[0, 0, 8, 8], [1, 1, 9, 9]], ignored=[True, False]))
    assert found.boxes_G4.tolist() == [[1, 1, 9, 9]]
    assert found.keypoints_G53 is None


def test_occluded_points_are_known_but_not_faces_with_a_missing_point():
    points = np.zeros((3, 5, 3), np.float32)
    points[..., :2] = 7
    points[0, 2, 2] = 1  # occluded
    points[1, 4] = -1  # one point missing
    points[2] = -1
    found = Targets.from_faces(faces([[0, 0, 8, 8]] * 3, points))
    assert found.keypoints_G53[..., 2].tolist() == [[1] * 5, [0] * 5, [0] * 5]
    assert found.keypoints_G53[0, :, :2].unique().tolist() == [7]


def test_targets_share_no_memory_with_the_annotation():
    annotation = faces([[0, 0, 8, 8]])
    Targets.from_faces(annotation).boxes_G4[0, 0] = 5
    assert annotation.boxes_N4[0, 0] == 0
    assert Targets.from_faces(faces([])).boxes_G4.shape == (0, 4)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    with pytest.raises(DataError, match="target box must be finite"):
        Targets.from_faces(faces([[0, 0, 8, 8], [0, 0, value, 8]]))
    points = np.zeros((1, 5, 3), np.float32)
    points[0, 0, 0] = value
    with pytest.raises(DataError, match="target key point must be finite"):
        Targets.from_faces(faces([[0, 0, 8, 8]], points))


def test_targets_of_wrong_shape_or_number_are_refused():
    with pytest.raises(DataError, match=r"shape \(G, 4\), got \(2, 5\)"):
        Targets(boxes_G4=torch.zeros(2, 5))
    with pytest.raises(DataError, match=r"shape \(2, 5, 3\), got \(1, 5, 3\)"):
        Targets(boxes_G4=torch.zeros(2, 4), keypoints_G53=torch.zeros(1, 5, 3))
    with pytest.raises(DataError, match="one target for each image, got 1 for 2 images"):
        detection_loss(head(2), [target()])


def test_target_key_points_are_unused_by_a_head_without_them():
    assert detection_loss(head(keypoints=False), FACES).keypoint.item() == 0
