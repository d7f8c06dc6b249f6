"""Drawing of boxes and key points, and writing the drawing."""

import numpy as np
import pytest

from search_spaces.errors import DataError
from trials.data.images import read_image, write_image
from trials.detection.decoding import Detections
from trials.detection.drawing import BOX_COLOUR, draw_detections


def draw(*boxes, points=None):
    """Return a drawing on a black image, which must stay black."""
    image = np.zeros((60, 60, 3), np.uint8)
    scores = np.ones(len(boxes), np.float32)
    found = Detections(boxes_N4=np.array(boxes, np.float32), scores_N=scores, keypoints_N52=points)
    drawn = draw_detections(image, found)
    assert not image.any()
    return drawn


def test_boxes_are_outlines():
    drawn = draw([10, 10, 30, 40])
    assert tuple(drawn[10, 20]) == tuple(drawn[25, 10]) == BOX_COLOUR
    assert not drawn[25, 20].any()


def test_key_points_have_their_own_colours():
    points = np.array([[[12, 20], [28, 20], [20, 25], [14, 33], [26, 33]]], np.float32)
    drawn = draw([10, 10, 30, 40], points=points)
    colours = {tuple(drawn[int(y), int(x)]) for x, y in points[0]}
    assert len(colours) == 5
    assert (0, 0, 0) not in colours


def test_boxes_outside_the_image_and_inverted_ones_are_drawn():
    assert draw([-500, -500, 5000, 5000], [30, 30, 10, 10]).any()


def test_images_are_written_in_the_format_of_their_suffix(tmp_path):
    drawn = draw([10, 10, 30, 40])
    write_image(tmp_path / "a" / "x.png", drawn)
    np.testing.assert_array_equal(read_image(tmp_path / "a" / "x.png"), drawn)
    with pytest.raises(DataError, match=r"suffix must be one of .*got '\.xyz'"):
        write_image(tmp_path / "x.xyz", drawn)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
