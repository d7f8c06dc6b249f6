"""Drawing of boxes and key points, and writing the drawing."""

import numpy as np
import pytest
from images import noise

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


def line_width(height, width, box):
    """Return how many pixels wide the lower edge of a box is."""
    found = Detections(boxes_N4=np.array([box], np.float32), scores_N=np.ones(1, np.float32))
    column = draw_detections(np.zeros((height, width, 3), np.uint8), found)[:, int(box[2]) - 20]
    return int((column == BOX_COLOUR).all(axis=1)[int(box[3]) - 20 :].sum())


def test_lines_are_as_wide_as_the_image_demands_and_a_small_face_allows():
    # 6000 / 400 = 15, for the small box 60 / 12 = 5; OpenCV rounds the ends of lines
    assert line_width(150, 200, [50, 70, 120, 120]) == 1
    assert line_width(4500, 6000, [1000, 1000, 3000, 3000]) == pytest.approx(
        15, abs=2
    )  # 6000 / 400
    assert line_width(4500, 6000, [1000, 1000, 1060, 1060]) == pytest.approx(5, abs=2)


def test_a_score_is_black_on_the_colour_of_the_box_on_any_background():
    for image in (noise(300, 400), np.zeros((300, 400, 3), np.uint8)):
        found = Detections(
            boxes_N4=np.array([[100, 100, 200, 200]], np.float32), scores_N=np.ones(1, np.float32)
        )
        label = draw_detections(image, found)[90:100, 101:120].astype(float)
        darkness = label / BOX_COLOUR[1] @ [0, 1, 0]
        assert darkness.min() < 0.3
        np.testing.assert_allclose(label, darkness[..., None] * BOX_COLOUR, atol=2)


def test_labels_stay_inside_the_image_and_the_better_is_on_top():
    corner = draw([-20, -20, 20, 20])
    assert tuple(corner[0, 0]) == BOX_COLOUR
    image = np.zeros((60, 60, 3), np.uint8)
    boxes = np.array([[20, 20, 50, 50], [22, 20, 52, 50]], np.float32)
    drawn = []
    for order in ([0, 1], [1, 0]):
        scores = np.array([0.9, 0.6], np.float32)
        found = Detections(boxes_N4=boxes, scores_N=scores).select(np.array(order))
        drawn.append(draw_detections(image, found)[:20])
    np.testing.assert_array_equal(*drawn)


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
