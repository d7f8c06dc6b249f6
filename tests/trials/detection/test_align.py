"""Aligned faces, with transforms derived by hand."""

import numpy as np
import pytest

from search_spaces.errors import DataError
from trials.detection.align import ARCFACE_TEMPLATE_52, align_face, crop_box, similarity

SQUARE = np.array([[0, 0], [2, 0], [2, 2], [0, 2]], np.float32)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (SQUARE, [[1, 0, 0], [0, 1, 0]]),
        (3 * SQUARE + [5, 7], [[3, 0, 5], [0, 3, 7]]),
        (SQUARE @ [[0, 1], [-1, 0]], [[0, -1, 0], [1, 0, 0]]),  # (x, y) to (-y, x)
    ],
    ids=["identity", "scale and shift", "quarter turn"],
)
def test_exact_similarities_are_recovered(target, expected):
    np.testing.assert_allclose(similarity(SQUARE, np.asarray(target)), expected, atol=1e-12)


def test_deviations_are_averaged():
    # (0, 0), (2, 0) to (0, 0), (2, 1): the turn by atan(1/2) that scales by sqrt(5) / 2
    source, target = np.array([[0.0, 0], [2, 0]]), np.array([[0.0, 0], [2, 1]])
    expected = [[1, -0.5, 0], [0.5, 1, 0]]
    np.testing.assert_allclose(similarity(source, target), expected, atol=1e-12)
    # a rhombus with half-axes 2 and 1 to 1 and 1: scale (2 + 2 + 1 + 1) / (4 + 4 + 1 + 1)
    unit = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    found = similarity(unit * [2, 1], unit)
    np.testing.assert_allclose(found, [[0.6, 0, 0], [0, 0.6, 0]], atol=1e-12)


def test_mirrored_points_are_not_mirrored_back():
    # the covariance is diag(8, -2): the lesser singular value counts negative, (8 - 2) / 10
    rhombus = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    found = similarity(rhombus, rhombus * [1, -1])
    np.testing.assert_allclose(found, [[0.6, 0, 0], [0, 0.6, 0]], atol=1e-12)
    assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan)])
def test_equal_points_are_refused(points):
    with pytest.raises(DataError, match="two different points"):
        similarity(points, ARCFACE_TEMPLATE_52)


def test_key_points_land_on_the_template():
    image = np.zeros((300, 300, 3), np.uint8)
    points = ARCFACE_TEMPLATE_52.round() * 2 + [31, 17]
    for number, (x, y) in enumerate(points.astype(int)):
        image[y - 1 : y + 2, x - 1 : x + 2] = 50 * (number + 1)
    face = align_face(image, points)
    assert face.shape == (112, 112, 3)
    for number, (x, y) in enumerate(ARCFACE_TEMPLATE_52.round().astype(int)):
        assert abs(int(face[y, x, 0]) - 50 * (number + 1)) <= 25
    assert align_face(image, points, size=224).shape == (224, 224, 3)


def test_outside_the_image_an_aligned_face_is_black():
    face = align_face(np.full((20, 20, 3), 255, np.uint8), ARCFACE_TEMPLATE_52)
    assert (face[:20, :20] == 255).all()
    assert not face[21:, 21:].any()


def test_a_box_is_cropped_to_the_pixels_that_it_touches():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(crop_box(image, np.array([1.2, 2.0, 3.1, 4.9])), image[2:5, 1:4])
    np.testing.assert_array_equal(crop_box(image, np.array([-9.0, -9.0, 99.0, 99.0])), image)
    assert crop_box(image, np.array([9.0, 0.0, 12.0, 3.0])) is None
    assert crop_box(image, np.array([-5.0, 0.0, -1.0, 3.0])) is None
    assert crop_box(image, np.array([3.0, 3.0, 1.0, 1.0])) is None
