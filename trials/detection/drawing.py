"""Drawing detections on images, with Pillow."""

import os

import numpy as np

from search_spaces.errors import DataError
from search_spaces.files import replacing
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
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".bmp": "BMP", ".webp": "WEBP"}


def draw_detections(image_HW3: Image, found: Detections) -> Image:
    """A copy of a uint8 RGB image (H, W, 3) with boxes, and key points where there are some.

    Lines are wider on larger images. Boxes may leave the image.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw

    canvas = Pillow.fromarray(image_HW3)
    pen = ImageDraw.Draw(canvas)
    width = max(1, round(max(image_HW3.shape[:2]) / 400))
    for x1, y1, x2, y2 in found.boxes_N4.tolist():
        pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), None, BOX_COLOUR, width)
    points_N52 = [] if found.keypoints_N52 is None else found.keypoints_N52.tolist()
    for face in points_N52:
        for (x, y), colour in zip(face, KEYPOINT_COLOURS, strict=True):
            pen.ellipse((x - width, y - width, x + width, y + width), colour)
    return np.array(canvas)


def write_image(path: str | os.PathLike[str], image_HW3: Image) -> None:
    """Write an image in the format of its suffix, whole or not at all.

    Raises:
        DataError: the suffix is none of jpg, jpeg, png, bmp, webp.
    """
    from PIL import Image as Pillow

    suffix = os.path.splitext(path)[1].lower()
    if suffix not in _FORMATS:
        raise DataError(f"{path}: can write {', '.join(_FORMATS)}, got {suffix!r}")
    quality = {"quality": 92} if _FORMATS[suffix] == "JPEG" else {}
    with replacing(path) as temporary:
        Pillow.fromarray(image_HW3).save(temporary, format=_FORMATS[suffix], **quality)
