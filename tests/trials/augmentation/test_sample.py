"""Samples: how they are drawn, and how they are applied to images and faces."""

from dataclasses import replace

import numpy as np
import pytest
from images import noise

from search_spaces.errors import DataError
from trials.augmentation.colour import Distortion, distort
from trials.augmentation.crop import Crop
from trials.augmentation.on_cpu import apply, bounded, cut_square
from trials.augmentation.sample import Sample, draw_sample, sample_faces
from trials.data.images import resize
from trials.data.labels import Faces
from trials.recipe import Recipe

TWO_FACES = Faces.of_boxes([[10, 10, 40, 30], [50, 40, 70, 60]])


def sample_of(left: int, top: int, side: int, size: int, flipped: bool = False) -> Sample:
    return Sample(crop=Crop(left=left, top=top, side=side), size=size, flipped=flipped)


def draw(faces: Faces = TWO_FACES, **augmentation: object) -> Sample:
    chosen = Recipe(**augmentation)  # type: ignore[arg-type]
    return draw_sample((80, 100), faces, 32, chosen, np.random.default_rng(3))


def test_a_plain_augmentation_draws_a_plain_sample() -> None:
    sample = draw(crop_scales=(1.0,), flip=0.0, distort=False)
    assert (sample.crop.top, sample.crop.side, sample.size) == (0, 80, 32)
    assert (sample.flipped, sample.distortion) == (False, Distortion())
    assert draw(crop_scales=(1.0,), flip=1.0).flipped


def test_crops_hold_a_face_that_counts() -> None:
    faces = Faces.of_boxes([[0, 0, 4, 4], [90, 70, 96, 76], [1, 1, 1, 9]])
    faces.ignored_N[0] = True
    for seed in range(20):
        rng = np.random.default_rng(seed)
        crop = draw_sample((80, 100), faces, 32, Recipe(crop_scales=(0.3,)), rng).crop
        assert crop.left < 93 < crop.left + crop.side
        assert crop.top < 73 < crop.top + crop.side


def test_faces_of_a_sample_are_cropped_and_flipped_and_those_that_do_not_count_left_out() -> None:
    faces = Faces.of_boxes([[10, 10, 40, 30], [20, 20, 24, 24], [30, 30, 30, 40], [70, 5, 76, 9]])
    faces.ignored_N[1] = True
    found = sample_faces(sample_of(15, 0, 50, 100), faces, clip=True)
    assert found.boxes_N4.tolist() == [[0, 20, 50, 60]]
    found = sample_faces(sample_of(15, 0, 50, 100, flipped=True), faces, clip=False)
    assert found.boxes_N4.tolist() == [[50, 20, 110, 60]]


def test_a_square_is_grey_outside_and_the_image_inside() -> None:
    image = noise(6, 8)
    pixels = cut_square(sample_of(-2, -3, 12, 12), image).copy()
    np.testing.assert_array_equal(pixels[3:9, 2:10], image)
    pixels[3:9, 2:10] = 128
    assert (pixels == 128).all()


def test_a_square_is_resized_as_an_image_of_its_own_and_flipped_afterwards() -> None:
    image = noise(50, 70)
    expected = resize(image[5:35, 20:50], (64, 64))
    np.testing.assert_array_equal(cut_square(sample_of(20, 5, 30, 64), image), expected)
    flipped = cut_square(sample_of(20, 5, 30, 64, flipped=True), image)
    np.testing.assert_array_equal(flipped, expected[:, ::-1])


def test_apply_distorts_the_square() -> None:
    sample = replace(sample_of(20, 5, 30, 16, flipped=True), distortion=Distortion(hue=0.2))
    expected = distort(cut_square(sample, noise(50, 70)), sample.distortion)
    out = np.empty((16, 16, 3), np.float32)
    assert apply(sample, noise(50, 70), out) is out
    np.testing.assert_array_equal(out, expected)


def test_a_crop_without_a_pixel_of_the_image_raises() -> None:
    with pytest.raises(DataError, match=r"must have a pixel in common with its 4 x 4 image"):
        cut_square(sample_of(4, 0, 2, 2), noise(4, 4))


def test_the_part_of_a_small_image_is_a_view() -> None:
    image = noise(80, 100)
    sample, part = bounded(sample_of(90, -4, 48, 64), image)
    assert np.shares_memory(part, image)
    assert (part.shape, sample.crop) == ((44, 10, 3), Crop(left=0, top=-4, side=48))


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("crop", [(10, 20, 48), (0, 0, 160), (-50, -100, 320)])
def test_the_part_of_a_large_image_is_small_and_gives_the_same_pixels(
    crop: tuple[int, int, int], flipped: bool
) -> None:
    image = noise(160, 200)
    sample, part = bounded(sample_of(*crop, 32, flipped), image)
    assert not np.shares_memory(part, image)
    assert part.nbytes <= 4 * 3 * 32**2
    expected = cut_square(sample_of(*crop, 32, flipped), image)
    np.testing.assert_array_equal(cut_square(sample, part), expected)
