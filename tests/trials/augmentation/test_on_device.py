"""Samples applied to a batch in torch, compared with the CPU's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from images import noise

from trials.augmentation.colour import Distortion, distort
from trials.augmentation.crop import Crop
from trials.augmentation.on_cpu import apply, bounded, cut_square
from trials.augmentation.on_device import apply_batch, cut_squares, distort_batch, pack
from trials.augmentation.sample import Sample
from trials.data.images import Image

COLOURS = [
    Distortion(), Distortion(gain=1.4, offset=-20, order=(2, 0, 1)), Distortion(saturation=0.6),
    Distortion(hue=0.25, late_gain=0.7), Distortion(hue=-0.3, saturation=1.5, order=(1, 0, 2)),
]  # fmt: skip
CROPS = [
    Crop(left=20, top=10, side=27), Crop(left=0, top=0, side=90), Crop(left=40, top=26, side=64),
    Crop(left=-35, top=-60, side=180), Crop(left=100, top=70, side=45),
    Crop(left=-8, top=30, side=77), Crop(left=129, top=89, side=1),
]  # fmt: skip


def squares_of(samples: list[Sample], images: list[Image]) -> np.ndarray:
    return cut_squares(samples, pack(images)).numpy()


def test_outside_of_the_image_is_grey_and_meets_it_as_on_a_canvas() -> None:
    sample = Sample(crop=Crop(left=-1, top=0, side=4), size=8)
    found = squares_of([sample], [np.zeros((1, 2, 3), np.uint8)])[0, :, :, 1]
    # canvas of one row: grey, 0, 0, grey; places at -0.25, 0.25, ... 3.25 of it
    assert found[0].tolist() == [128, 96, 32, 0, 0, 32, 96, 128]
    assert (found[3:] == 128).all()


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("is_bounded", [False, True])
def test_crops_agree_with_the_cpu_to_a_grey_level(flipped: bool, is_bounded: bool) -> None:
    image = noise(90, 130)
    samples = [Sample(crop=crop, size=64, flipped=flipped) for crop in CROPS]
    pairs = [bounded(s, image) if is_bounded else (s, image) for s in samples]
    found = squares_of([sample for sample, _ in pairs], [part for _, part in pairs])
    apart = np.abs(found - np.stack([cut_square(s, image) for s in samples]).astype(int))
    assert apart.max() <= 1
    assert apart.mean(axis=(1, 2, 3)).max() < 0.3
    assert apart[2].max() == 0  # of the size itself


def test_all_distortions_at_once_are_those_of_the_cpu() -> None:
    pixels = np.stack([noise(20, 20)] * len(COLOURS))
    pixels[:, 0] = 77  # grey, which has no hue
    samples = [Sample(crop=CROPS[0], size=20, distortion=colour) for colour in COLOURS]
    found = distort_batch(samples, torch.from_numpy(pixels).float()).numpy()
    expected = np.stack([distort(pixels[0], colour) for colour in COLOURS])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)  # 2.6e-4 grey levels


def test_a_batch_of_samples_is_that_of_the_cpu() -> None:
    images = [noise(90, 130), noise(91, 132, 1), noise(130, 180, 2), noise(99, 99, 3)]
    samples = [
        Sample(crop=crop, size=64, flipped=flipped, distortion=colour)
        for crop, flipped, colour in zip(CROPS, [True, False] * 2, COLOURS[1:], strict=False)
    ]
    found = apply_batch(samples, pack(images), "cpu")
    assert found.shape == (4, 3, 64, 64)
    assert found.is_contiguous(memory_format=torch.channels_last)
    for one, sample, image in zip(found, samples, images, strict=True):
        apart = np.abs(one.permute(1, 2, 0).numpy() - apply(sample, image))
        assert apart.max() <= 1.5**3 * 1.01 / 128  # a grey level after the gains of the colours
        assert apart.mean() < 0.5 / 128


def test_crops_of_the_reference_show_the_same_part_on_both_paths(golden_dir: Path) -> None:
    with np.load(golden_dir / "crop_stats.npz") as stored:
        rows, image_hw = stored["crop_rows"], stored["image_hw"]
    for number, side, left, top, *_ in rows[:: max(1, len(rows) // 40)]:
        image = noise(*map(int, image_hw[number]))
        sample = Sample(crop=Crop(left=int(left), top=int(top), side=int(side)), size=96)
        found = squares_of([sample], [image])[0]
        assert np.abs(found - cut_square(sample, image).astype(int)).max() <= 1
