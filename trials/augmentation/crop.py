"""Random square crop and flip of training images, and what is drawn how.

As SCRFD trains (REFERENCE facts, section 7), drawn from a numpy generator that the caller
passes; checked against the reference's own crops. Colours: `distortion.py`.

Shapes: N faces, A attempts, S side of the training square, 3 = RGB planes.
"""

import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from search_spaces.errors import DataError
from trials.data.images import Image, resize_fast
from trials.data.labels import Faces, FloatArray
from trials.recipe import Augmentation

CANVAS = 128  # grey around an image that is smaller than its crop
ATTEMPTS_A_SCALE = 250
MAX_SCALES = 20
FLIPPED_KEYPOINTS = (1, 0, 2, 4, 3)  # eyes and mouth corners change places
MAX_KEPT_CANVAS = 4096

_scratch = threading.local()


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square of `side` pixels; it may reach out of the image on any side."""

    left: int
    top: int
    side: int


def draw_crop(
    height: int,
    width: int,
    centers_N2: FloatArray,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Crop:
    """Draw a crop with at least one of the centres strictly inside.

    A scale is drawn, then up to 250 positions, then a new scale. The reference goes on for
    ever where no crop fits; here 20 scales end in the last position drawn, whatever it
    holds. Without centres the first position is taken.
    """
    crop = None
    for _ in range(MAX_SCALES):
        scale = rng.choice(augmentation.crop_scales, p=augmentation.crop_probabilities)
        side = max(1, int(scale * min(height, width)))
        lefts_A = _offsets(width, side, rng)
        tops_A = _offsets(height, side, rng)
        accepted_A = _holds_center(lefts_A, tops_A, side, centers_N2)
        at = int(accepted_A.argmax()) if len(centers_N2) else 0
        crop = Crop(left=int(lefts_A[at]), top=int(tops_A[at]), side=side)
        if not len(centers_N2) or accepted_A[at]:
            break
    assert crop is not None
    return crop


def _offsets(length: int, side: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Offsets (A) of a crop along one axis: the reference never draws the upper end."""
    if side == length:
        return np.zeros(ATTEMPTS_A_SCALE, np.int64)
    low, high = sorted((0, length - side))
    return rng.integers(low, high, size=ATTEMPTS_A_SCALE)


def _holds_center(
    lefts_A: npt.NDArray[np.int64],
    tops_A: npt.NDArray[np.int64],
    side: int,
    centers_N2: FloatArray,
) -> npt.NDArray[np.bool_]:
    """Which of the positions have some centre strictly inside (A)."""
    x_AN = centers_N2[None, :, 0] - lefts_A[:, None]
    y_AN = centers_N2[None, :, 1] - tops_A[:, None]
    inside_AN = (x_AN > 0) & (x_AN < side) & (y_AN > 0) & (y_AN < side)
    return np.asarray(inside_AN.any(axis=1))


def crop_faces(faces: Faces, crop: Crop, size: int, *, clip: bool) -> Faces:
    """The faces whose centre is strictly inside the crop, in pixels of the size x size result.

    Key points outside the crop are kept where they are, as the reference does.
    """
    corner = np.array([crop.left, crop.top], np.float32)
    relative_N2 = box_centers(faces.boxes_N4) - corner
    inside_N2 = (relative_N2 > 0) & (relative_N2 < crop.side)
    kept = faces.select(inside_N2[:, 0] & inside_N2[:, 1])
    zoom = np.float32(size / crop.side)
    boxes_N4 = kept.boxes_N4 - np.tile(corner, 2)
    if clip:
        boxes_N4 = boxes_N4.clip(0, crop.side)
    points_N53 = kept.keypoints_N53.copy()
    annotated = kept.annotated
    points_N53[annotated, :2] = (points_N53[annotated, :2] - corner) * zoom
    return Faces(boxes_N4=boxes_N4 * zoom, keypoints_N53=points_N53, ignored_N=kept.ignored_N)


def box_centers(boxes_N4: FloatArray) -> FloatArray:
    """Centres (N, 2) of boxes."""
    return (boxes_N4[:, :2] + boxes_N4[:, 2:]) * np.float32(0.5)


def visible_part(image_HW3: Image, crop: Crop) -> tuple[Image, Crop]:
    """What a crop shows of its image, as a view, and the same crop in that part's pixels.

    Raises:
        DataError: the crop lies beside the image.
    """
    height, width = image_HW3.shape[:2]
    left, top = max(0, crop.left), max(0, crop.top)
    right, bottom = min(width, crop.left + crop.side), min(height, crop.top + crop.side)
    if right <= left or bottom <= top:
        raise DataError(f"crop {crop} lies outside its image of {width} x {height}")
    placed = Crop(left=crop.left - left, top=crop.top - top, side=crop.side)
    return image_HW3[top:bottom, left:right], placed


def crop_image(image_HW3: Image, crop: Crop, size: int) -> torch.Tensor:
    """The crop at size x size: uint8 tensor (3, S, S), 128 outside the image.

    Its memory order is (S, S, 3). Raises DataError if the crop lies beside the image.
    """
    part, placed = visible_part(image_HW3, crop)
    height, width = part.shape[:2]
    if (height, width) != (crop.side, crop.side):
        canvas = _grey_canvas(crop.side)
        canvas[-placed.top : height - placed.top, -placed.left : width - placed.left] = part
        part = canvas
    return resize_fast(part, (size, size))


def _grey_canvas(side: int) -> Image:
    """A grey square in memory that is used again: fresh pages cost more than the resize."""
    pixels = side * side * 3
    buffer: Image | None = getattr(_scratch, "canvas", None)
    if buffer is None or len(buffer) < pixels:
        buffer = np.empty(pixels, np.uint8)
        if side <= MAX_KEPT_CANVAS:
            _scratch.canvas = buffer
    canvas = buffer[:pixels].reshape(side, side, 3)
    canvas.fill(CANVAS)
    return canvas


def flip_faces(faces: Faces, width: int) -> Faces:
    """Faces mirrored left to right in an image of `width` pixels: x becomes width - x."""
    boxes_N4 = faces.boxes_N4.copy()
    boxes_N4[:, 0] = width - faces.boxes_N4[:, 2]
    boxes_N4[:, 2] = width - faces.boxes_N4[:, 0]
    points_N53 = faces.keypoints_N53[:, FLIPPED_KEYPOINTS]
    annotated_N5 = faces.annotated[:, FLIPPED_KEYPOINTS]
    points_N53[annotated_N5, 0] = width - points_N53[annotated_N5, 0]
    return Faces(boxes_N4=boxes_N4, keypoints_N53=points_N53, ignored_N=faces.ignored_N)
