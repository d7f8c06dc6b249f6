"""Random square crops of training images, and faces in a crop.

Follows the random square crop of SCRFD's released configurations (`RandomSquareCrop`), and is
tested against crops drawn by it.

Shapes: N faces, A attempts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from search_spaces.errors import DataError
from trials.data.images import Image
from trials.data.labels import Faces, FloatArray
from trials.recipe import Recipe

CANVAS = 128  # grey level outside of an image that is smaller than its crop
ATTEMPTS_A_SCALE = 250
MAX_SCALES = 20
FLIPPED_KEYPOINTS = (1, 0, 2, 4, 3)  # eyes and mouth corners change places


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A square of `side` pixels, which may reach out of the image on any side."""

    left: int
    top: int
    side: int


def draw_crop(
    shape: tuple[int, int], centers_N2: FloatArray, recipe: Recipe, rng: np.random.Generator
) -> Crop:
    """Draw a crop of an image that has at least one of the centres strictly inside.

    A scale is drawn, then up to 250 positions, then a new scale. Where no crop fits, the
    reference never ends; here the first position of the 20th scale is taken. Without centres
    the first position of the first scale is taken.

    Args:
        shape: (height, width) of the image.
        centers_N2: centres of faces, x and y in pixels of the image.
        recipe: scales of the short side, and their probabilities.
        rng: source of randomness.
    """
    height, width = shape
    crop = None
    for _ in range(MAX_SCALES):
        scale = rng.choice(recipe.crop_scales, p=recipe.crop_probabilities)
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
    """Draw offsets (A) of a crop along one axis; as in the reference, never the upper end."""
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
    """Return which positions have a centre strictly inside (A)."""
    x_AN = centers_N2[None, :, 0] - lefts_A[:, None]
    y_AN = centers_N2[None, :, 1] - tops_A[:, None]
    inside_AN = (x_AN > 0) & (x_AN < side) & (y_AN > 0) & (y_AN < side)
    return np.asarray(inside_AN.any(axis=1))


def crop_faces(faces: Faces, crop: Crop, size: int, *, clip: bool) -> Faces:
    """Return the faces whose centre is strictly inside a crop that is resized to `size`.

    Boxes (x1, y1, x2, y2) and key points are in pixels of the result; key points outside of it
    are kept, as in the reference. `clip` cuts boxes off at the border of the crop.
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
    """Return the centres (N, 2) of boxes (x1, y1, x2, y2)."""
    return (boxes_N4[:, :2] + boxes_N4[:, 2:]) * np.float32(0.5)


def visible_part(image_HW3: Image, crop: Crop) -> tuple[Image, Crop]:
    """Return the part of an image that a crop shows, a view, and the crop in the part's pixels.

    Raises:
        DataError: the crop has no pixel in common with the image.
    """
    height, width = image_HW3.shape[:2]
    left, top = max(0, crop.left), max(0, crop.top)
    right, bottom = min(width, crop.left + crop.side), min(height, crop.top + crop.side)
    if right <= left or bottom <= top:
        raise DataError(f"{crop} must have a pixel in common with its {width} x {height} image")
    placed = Crop(left=crop.left - left, top=crop.top - top, side=crop.side)
    return image_HW3[top:bottom, left:right], placed


def flip_faces(faces: Faces, width: int) -> Faces:
    """Return faces mirrored left to right in an image of `width` pixels: x becomes width - x."""
    boxes_N4 = faces.boxes_N4.copy()
    boxes_N4[:, 0] = width - faces.boxes_N4[:, 2]
    boxes_N4[:, 2] = width - faces.boxes_N4[:, 0]
    points_N53 = faces.keypoints_N53[:, FLIPPED_KEYPOINTS]
    annotated_N5 = faces.annotated[:, FLIPPED_KEYPOINTS]
    points_N53[annotated_N5, 0] = width - points_N53[annotated_N5, 0]
    return Faces(boxes_N4=boxes_N4, keypoints_N53=points_N53, ignored_N=faces.ignored_N)
