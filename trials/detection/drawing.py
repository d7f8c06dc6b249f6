"""Draw detections on images."""

import cv2
import numpy as np
import numpy.typing as npt

from trials.data.images import Image
from trials.detection.decoding import Detections

BOX_COLOUR = (0, 220, 90)
KEYPOINT_COLOURS = (
    (255, 80, 80),
    (80, 140, 255),
    (255, 220, 0),
    (255, 0, 255),
    (0, 230, 230),
)
FARTHEST = 30_000  # pixels outside the image: OpenCV draws with small integers


def draw_detections(image_HW3: Image, found: Detections) -> Image:
    """Return a copy of an RGB image with boxes, and with key points where there are some.

    Lines are wider on larger images. Boxes may reach out of the image.

    Args:
        image_HW3: uint8.
        found: in pixels of the image.
    """
    drawn_HW3 = np.ascontiguousarray(image_HW3).copy()
    width = max(1, round(max(image_HW3.shape[:2]) / 400))
    for x1, y1, x2, y2 in _whole_pixels(found.boxes_N4):
        cv2.rectangle(drawn_HW3, (x1, y1), (x2, y2), BOX_COLOUR, width)
    if found.keypoints_N52 is not None:
        points = _whole_pixels(found.keypoints_N52.reshape(-1, 2))
        for number, point in enumerate(points):
            cv2.circle(drawn_HW3, point, width, KEYPOINT_COLOURS[number % 5], cv2.FILLED)
    return drawn_HW3


def _whole_pixels(values: npt.NDArray[np.floating]) -> list[list[int]]:
    whole: list[list[int]] = values.clip(-FARTHEST, FARTHEST).round().astype(int).tolist()
    return whole
