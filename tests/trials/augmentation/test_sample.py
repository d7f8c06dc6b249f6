"""Samples of small and of large images: the same pixels, and little memory behind them."""

from dataclasses import replace

import numpy as np
import pytest

from trials.augmentation.sample import Sample, draw_sample
from trials.data.images import Image
from trials.data.labels import Faces, trainable
from trials.recipe import Augmentation


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def draw(image: Image, size: int, scale: float, flip: float = 0.0) -> Sample:
    faces = Faces.of_boxes([[10, 10, 40, 30], [50, 40, 70, 60]])
    augmentation = Augmentation(crop_scales=(scale,), flip=flip)
    return draw_sample(image, faces, size, augmentation, np.random.default_rng(3))


def test_a_small_image_is_only_looked_at() -> None:
    image = noise(80, 100)
    sample = draw(image, 64, 0.6)
    assert np.shares_memory(sample.part_HW3, image)
    assert sample.part_HW3.shape == (48, 48, 3)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_a_large_image_is_let_go(scale: float, flip: float) -> None:
    image = noise(160, 200)
    sample = draw(image, 32, scale, flip)
    assert not np.shares_memory(sample.part_HW3, image)
    assert sample.part_HW3.nbytes <= 4 * 3 * 32**2


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.0])
def test_what_a_large_image_leaves_has_the_same_pixels(scale: float, flip: float) -> None:
    image = noise(160, 200)
    let_go, free = draw(image, 32, scale, flip), draw(image, 256, scale, flip)
    assert np.shares_memory(free.part_HW3, image)
    np.testing.assert_array_equal(let_go.square(), replace(free, size=32).square())


def test_ignored_faces_and_those_without_area_do_not_count() -> None:
    faces = Faces.of_boxes([[0, 0, 5, 5], [3, 3, 3, 9], [1, 1, 4, 4]])
    faces.ignored_N[2] = True
    assert trainable(faces).tolist() == [True, False, False]
