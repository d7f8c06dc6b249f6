"""Crop faces of images: aligned by key points for face recognition, or by the box alone."""

import cv2
import numpy as np
import numpy.typing as npt

from search_spaces.errors import DataError
from trials.data.images import Image
from trials.detection.decoding import Detections

ALIGNED_SIZE = 112
ARCFACE_TEMPLATE_52 = np.array(
    [
        (38.2946, 51.6963),  # left eye, as seen by the viewer
        (73.5318, 51.5014),
        (56.0252, 71.7366),  # nose
        (41.5493, 92.3655),  # left corner of the mouth
        (70.7299, 92.2041),
    ]
)
"""Key points x, y in an aligned face of 112 x 112 pixels (ArcFace, arXiv 1801.07698)."""


def similarity(
    source_N2: npt.NDArray[np.floating], target_N2: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Return the similarity transform (2, 3) that maps points to others, by least squares.

    It consists of a rotation, one scale and a shift, without reflection: S. Umeyama,
    "Least-squares estimation of transformation parameters between two point patterns", 1991,
    equations 40 to 42.

    Args:
        source_N2: x, y of at least two points that are not all equal.
        target_N2: the points that they should map to.

    Raises:
        DataError: there are fewer points, or they are all equal.
    """
    source_N2, target_N2 = source_N2.astype(np.float64), target_N2.astype(np.float64)
    mean, target_mean = source_N2.mean(axis=0), target_N2.mean(axis=0)
    centred_N2 = source_N2 - mean
    variance = float((centred_N2**2).sum())
    if not variance > 0:
        raise DataError("a similarity needs two different points or more")
    u_22, values_2, vt_22 = np.linalg.svd((target_N2 - target_mean).T @ centred_N2)
    signs_2 = np.array([1.0, np.sign(np.linalg.det(u_22 @ vt_22))])
    scale = float((values_2 * signs_2).sum()) / variance
    rotation_22 = scale * (u_22 * signs_2) @ vt_22
    return np.column_stack([rotation_22, target_mean - rotation_22 @ mean])


def align_face(
    image_HW3: Image, keypoints_52: npt.NDArray[np.floating], size: int = ALIGNED_SIZE
) -> Image:
    """Return a face (size, size, 3) whose key points are at the places of the ArcFace template.

    Bilinear; what is outside the image is black.

    Args:
        image_HW3: uint8.
        keypoints_52: x, y in pixels of the image, of the eyes, the nose and the corners of the
            mouth, the left one of the picture first.
        size: side of the result in pixels; the template grows with it.

    Raises:
        DataError: all key points are equal.
    """
    matrix = similarity(keypoints_52, ARCFACE_TEMPLATE_52 * (size / ALIGNED_SIZE))
    return np.asarray(cv2.warpAffine(image_HW3, matrix, (size, size), flags=cv2.INTER_LINEAR))


def crop_faces(image_HW3: Image, found: Detections) -> list[Image | None]:
    """Return each face, aligned if the detector has key points, else cut along its box.

    Faces that cannot be cropped are None: those outside the image, or with equal key points.
    """
    if found.keypoints_N52 is None:
        return [crop_box(image_HW3, box_4) for box_4 in found.boxes_N4]
    distinct = np.ptp(found.keypoints_N52, axis=1).any(axis=1)
    pairs = zip(found.keypoints_N52, distinct, strict=True)
    return [align_face(image_HW3, points_52) if sound else None for points_52, sound in pairs]


def crop_box(image_HW3: Image, box_4: npt.NDArray[np.floating]) -> Image | None:
    """Return the whole pixels that a box xyxy touches; None if it is outside the image."""
    height, width = image_HW3.shape[:2]
    x1, y1 = np.floor(box_4[:2].clip(0)).astype(int)
    x2, y2 = np.ceil(box_4[2:].clip(0)).astype(int).clip(max=(width, height))
    crop_HW3 = image_HW3[y1:y2, x1:x2]
    return crop_HW3 if crop_HW3.size else None
