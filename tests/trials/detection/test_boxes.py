import pytest
import torch

from trials.detection.boxes import (
    areas,
    boxes_from_distances,
    diou,
    distances_to_sides,
    iou,
)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [5, 0, 15, 10], 50 / 150),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),
        ([0, 0, 10, 10], [20, 20, 30, 30], 0.0),
        ([0, 0, 10, 10], [5, 5, 5, 5], 0.0),
        ([0, 0, 10, 10], [10, 10, 0, 0], 0.0),
        ([3, 3, 3, 3], [3, 3, 3, 3], 0.0),
    ],
    ids=["same", "half shifted", "touching", "apart", "point", "inverted", "empty"],
)
def test_iou_by_hand(one, other, expected):
    assert iou(boxes(one), boxes(other)).item() == pytest.approx(expected, abs=1e-7)


def test_iou_broadcasts_to_one_row_a_box():
    found = iou(boxes([0, 0, 4, 4], [0, 0, 2, 2])[:, None], boxes([0, 0, 2, 2])[None])
    assert found.tolist() == [[0.25], [1.0]]
    assert iou(boxes()[:, None], boxes([0, 0, 1, 1])[None]).shape == (0, 1)
    assert iou(boxes([0, 0, 1, 1])[:, None], boxes()[None]).shape == (1, 0)


def test_area_is_negative_when_one_side_is_inverted():
    assert areas(boxes([0, 0, 3, 2], [3, 0, 0, 2], [3, 2, 0, 0])).tolist() == [6, -6, 6]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ([1, 2, 5, 9], [1, 2, 5, 9], 1),
        # Centres 2 apart; the enclosing box is 4 x 2 with squared diagonal 20.
        ([0, 0, 2, 2], [2, 0, 4, 2], -4 / 20),
        ([0, 0, 4, 4], [1, 1, 3, 3], 0.25),
    ],
    ids=["equal", "touching", "concentric"],
)
def test_diou_by_hand(one, other, expected):
    assert diou(boxes(one), boxes(other)).item() == pytest.approx(expected, abs=1e-6)


def test_diou_is_finite_when_an_inverted_box_cancels_the_union():
    predicted = boxes([1, 0, 0, 1 + 1e-6]).requires_grad_()
    diou(predicted, boxes([0, 0, 1, 1])).sum().backward()
    assert torch.isfinite(predicted.grad).all()


def test_diou_grows_when_a_box_that_does_not_overlap_comes_nearer():
    predicted = boxes([0, 0, 2, 2]).requires_grad_()
    diou(predicted, boxes([10, 0, 12, 2])).sum().backward()
    assert predicted.grad[0, [0, 2]].sum() > 0  # shifting both sides to the right helps
    assert predicted.grad[0, [1, 3]].sum() == pytest.approx(0, abs=1e-6)


def test_distances_and_boxes_are_inverse():
    centers = torch.tensor([[8.0, 16.0]])
    found = boxes_from_distances(centers, torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert found.tolist() == [[7, 14, 11, 20]]
    assert distances_to_sides(centers, found).tolist() == [[1, 2, 3, 4]]


def test_distances_are_negative_outside():
    found = distances_to_sides(torch.tensor([[0.0, 5.0]]), boxes([1, 0, 9, 10]))
    assert found.tolist() == [[-1, 5, 9, 5]]
