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
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL = 22  # height of its digits in pixels at scale 1


def draw_detections(image_HW3: Image, found: Detections) -> Image:
    """Return a copy of an RGB image with boxes, scores, and key points where there are some.

    Lines and text grow with the image, but not beyond what leaves a small face visible. Scores
    stand black on the colour of the boxes, so that they can be read on any image; of labels that
    overlap, the better score is on top. Boxes may reach out of the image.

    Args:
        image_HW3: uint8.
        found: in pixels of the image.
    """
    drawn_HW3 = np.ascontiguousarray(image_HW3).copy()
    long_side = max(image_HW3.shape[:2])
    corners, widths = _whole_pixels(found.boxes_N4), _line_widths(found, long_side)
    for (x1, y1, x2, y2), width in zip(corners, widths, strict=True):
        cv2.rectangle(drawn_HW3, (x1, y1), (x2, y2), BOX_COLOUR, width)
    if found.keypoints_N52 is not None:
        points = _whole_pixels(found.keypoints_N52.reshape(-1, 2))
        for number, point in enumerate(points):
            colour = KEYPOINT_COLOURS[number % 5]
            cv2.circle(drawn_HW3, point, widths[number // 5], colour, cv2.FILLED)
    order = np.argsort(found.scores_N, kind="stable")
    for index in order:
        _draw_label(drawn_HW3, corners[index], f"{found.scores_N[index]:.2f}", long_side)
    return drawn_HW3


def _line_widths(found: Detections, long_side: int) -> list[int]:
    """Return the line width of each box: of the image, at most a twelfth of the box's side."""
    sides_N = np.abs(found.boxes_N4[:, 2:] - found.boxes_N4[:, :2]).min(axis=1)
    widths: list[int] = (sides_N / 12).clip(1, max(1, long_side / 400)).round().astype(int).tolist()
    return widths


def _draw_label(image_HW3: Image, box: list[int], text: str, long_side: int) -> None:
    """Draw text above the upper left corner of a box, or at the nearest place in the image."""
    height = max(7, round(long_side / 90))
    scale, stroke, gap = height / _CAPITAL, max(1, height // 8), max(2, height // 4)
    width = cv2.getTextSize(text, _FONT, scale, stroke)[0][0]
    right, bottom = width + 2 * gap, height + 2 * gap
    x = min(max(box[0], 0), max(0, image_HW3.shape[1] - right))
    y = min(max(box[1] - bottom, 0), max(0, image_HW3.shape[0] - bottom))
    cv2.rectangle(image_HW3, (x, y), (x + right, y + bottom), BOX_COLOUR, cv2.FILLED)
    origin = (x + gap, y + gap + height)
    cv2.putText(image_HW3, text, origin, _FONT, scale, (0, 0, 0), stroke, cv2.LINE_AA)


def _whole_pixels(values: npt.NDArray[np.floating]) -> list[list[int]]:
    whole: list[list[int]] = values.clip(-FARTHEST, FARTHEST).round().astype(int).tolist()
    return whole
