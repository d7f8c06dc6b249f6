"""Description of a training sample: what is done to an image, drawn at random.

`trials.augmentation.on_cpu` and `trials.augmentation.on_device` apply it to pixels, and
`sample_faces` to annotations. Follows the training of SCRFD (arXiv 2105.04714, section 4): a
random square crop, resized without keeping the aspect, a horizontal flip and photometric
distortion.
"""

from dataclasses import dataclass

import numpy as np

from trials.augmentation.colour import Distortion, draw_distortion
from trials.augmentation.crop import Crop, box_centers, crop_faces, draw_crop, flip_faces
from trials.data.labels import Faces, trainable
from trials.recipe import Recipe

UNCHANGED = Distortion()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How a training sample is made of an image.

    Attributes:
        crop: square to cut out of the image, in its pixels.
        size: side of the result, to which the crop is resized.
        flipped: whether the result is mirrored left to right.
        distortion: photometric distortion of the result.
    """

    crop: Crop
    size: int
    flipped: bool = False
    distortion: Distortion = UNCHANGED


def draw_sample(
    shape: tuple[int, int],
    faces: Faces,
    size: int,
    recipe: Recipe,
    rng: np.random.Generator,
) -> Sample:
    """Draw crop, flip and distortion of one image.

    Args:
        shape: (height, width) of the image.
        faces: of the image; the crop holds the centre of one that counts in training.
        size: side of the result in pixels.
        recipe: distributions to draw from.
        rng: source of randomness.
    """
    centers_N2 = box_centers(faces.select(trainable(faces)).boxes_N4)
    crop = draw_crop(shape, centers_N2, recipe, rng)
    flipped = bool(rng.random() < recipe.flip)
    distortion = draw_distortion(rng) if recipe.distort else UNCHANGED
    return Sample(crop=crop, size=size, flipped=flipped, distortion=distortion)


def sample_faces(sample: Sample, faces: Faces, *, clip: bool) -> Faces:
    """Return the faces to train on, in pixels of the sample.

    Faces that are ignored or without area are left out, and so are those whose centre is not
    inside the crop. `clip` cuts boxes off at the border of the crop.
    """
    kept = crop_faces(faces.select(trainable(faces)), sample.crop, sample.size, clip=clip)
    return flip_faces(kept, sample.size) if sample.flipped else kept
