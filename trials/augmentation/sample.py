"""One training sample: which part of an image, and what is to be done to it.

What is random about a sample is drawn here; the pixels are left to the batch, which cuts
and resizes them on a CPU (`trials.loading.loader`) or on a GPU (`trials.augmentation.on_device`).

Shapes: H, W the image's or a part's sides, S side of the training square, 3 = RGB.
"""

from dataclasses import dataclass, replace

import numpy as np

from trials.augmentation.colour import Distortion, draw_distortion
from trials.augmentation.crop import (
    Crop,
    box_centers,
    crop_faces,
    crop_image,
    draw_crop,
    flip_faces,
    visible_part,
)
from trials.data.images import Image
from trials.data.labels import Faces, trainable
from trials.recipe import Augmentation

MAX_PART = 4  # of a sample's pixels, in squares of its result
MAX_IMAGE = 16  # of the image that a sample keeps in memory, in the same


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One training sample, whose pixels are still those of its image.

    Attributes:
        part_HW3: uint8 RGB, what the crop shows of the image; a view of it if that is small.
        crop: the square to cut out, in pixels of the part; 128 outside of it.
        size: side of the result.
        flipped: whether the result is mirrored left to right.
        distortion: what `distort` has to do to the result.
        faces: those that count, in pixels of the result.
        broken: one message for each unreadable image that this sample stands in for.
    """

    part_HW3: Image
    crop: Crop
    size: int
    flipped: bool
    distortion: Distortion
    faces: Faces
    broken: tuple[str, ...] = ()

    def square(self) -> Image:
        """The part cut out, resized and flipped: uint8 (S, S, 3), a view where it is flipped."""
        square_SS3: Image = crop_image(self.part_HW3, self.crop, self.size).permute(1, 2, 0).numpy()
        return square_SS3[:, ::-1] if self.flipped else square_SS3


def draw_sample(
    image_HW3: Image,
    faces: Faces,
    size: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> Sample:
    """Draw crop, flip and distortion of one image.

    Faces that are ignored or without area are left out, and no crop is sought for them.
    """
    counted = faces.select(trainable(faces))
    height, width = image_HW3.shape[:2]
    crop = draw_crop(height, width, box_centers(counted.boxes_N4), augmentation, rng)
    kept = crop_faces(counted, crop, size, clip=augmentation.clip_boxes)
    flipped = bool(rng.random() < augmentation.flip)
    part_HW3, placed = visible_part(image_HW3, crop)
    sample = Sample(
        part_HW3=part_HW3,
        crop=placed,
        size=size,
        flipped=flipped,
        distortion=draw_distortion(rng) if augmentation.distort else Distortion(),
        faces=flip_faces(kept, size) if flipped else kept,
    )
    return bounded(sample, image_HW3)


def bounded(sample: Sample, image_HW3: Image) -> Sample:
    """The sample without a large image behind it, of which a batch would hold several.

    A part that is far larger than its square is cut out and resized now, which spares the
    way to a GPU too; a small part of a large image is copied.
    """
    height, width = sample.part_HW3.shape[:2]
    square = sample.size**2
    if height * width > MAX_PART * square:
        whole = Crop(left=0, top=0, side=sample.size)
        return replace(sample, part_HW3=sample.square(), crop=whole, flipped=False)
    if image_HW3.shape[0] * image_HW3.shape[1] > MAX_IMAGE * square:
        return replace(sample, part_HW3=sample.part_HW3.copy())
    return sample
