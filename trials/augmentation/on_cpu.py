"""Application of a sample to its image on the CPU, with OpenCV.

Shapes: H, W sides of an image, S side of the training square, 3 = RGB.
"""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from trials.augmentation.colour import distort
from trials.augmentation.crop import CANVAS, Crop, visible_part
from trials.augmentation.sample import Sample
from trials.data.images import Image, resize

MAX_PART = 4  # most pixels of a kept part of an image, in squares of its sample
MAX_IMAGE = 16  # most pixels of an image that a view keeps in memory, likewise


def apply(
    sample: Sample, image_HW3: Image, out_SS3: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Return the sample of a uint8 RGB image: float32 (S, S, 3), (x - 127.5) / 128.

    Args:
        out_SS3: contiguous memory for the result; None allocates it.

    Raises:
        DataError: the crop has no pixel in common with the image.
    """
    return distort(cut_square(sample, image_HW3), sample.distortion, out_SS3)


def cut_square(sample: Sample, image_HW3: Image) -> Image:
    """Return the sample before its distortion: cropped, resized and flipped, uint8 (S, S, 3)."""
    part, crop = visible_part(image_HW3, sample.crop)
    height, width = part.shape[:2]
    if (height, width) != (crop.side, crop.side):
        bottom, right = crop.side + crop.top - height, crop.side + crop.left - width
        border = (-crop.top, bottom, -crop.left, right)
        grey = (CANVAS,) * 3
        part = np.asarray(cv2.copyMakeBorder(part, *border, cv2.BORDER_CONSTANT, value=grey))
    square_SS3 = resize(part, (sample.size, sample.size))
    return np.asarray(cv2.flip(square_SS3, 1)) if sample.flipped else square_SS3


def bounded(sample: Sample, image_HW3: Image) -> tuple[Sample, Image]:
    """Return an equal sample of a smaller image, of which a batch may hold many.

    The image becomes the part that the crop shows. A part that is far larger than its sample is
    cropped, resized and flipped now, and a small part of a large image is copied, since a view
    would keep all of it in memory.
    """
    part, crop = visible_part(image_HW3, sample.crop)
    sample = replace(sample, crop=crop)
    square = sample.size**2
    if part.shape[0] * part.shape[1] > MAX_PART * square:
        whole = Crop(left=0, top=0, side=sample.size)
        return replace(sample, crop=whole, flipped=False), cut_square(sample, part)
    if image_HW3.shape[0] * image_HW3.shape[1] > MAX_IMAGE * square:
        return sample, part.copy()
    return sample, part
