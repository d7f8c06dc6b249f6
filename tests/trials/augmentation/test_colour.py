"""Photometric distortion on the CPU."""

import colorsys

import numpy as np
import pytest
from images import noise

from trials.augmentation.colour import Distortion, distort, draw_distortion


def values_after(distortion: Distortion, *colours: tuple[int, int, int]) -> np.ndarray:
    """Return distorted colours (pixels, 3) in the range 0-255."""
    return distort(np.array([colours], np.uint8), distortion)[0] * 128 + 127.5


def test_no_distortion_only_normalises() -> None:
    pixels = np.array([[[0, 128, 255]]], np.uint8)
    assert distort(pixels, Distortion()).tolist() == [[[-127.5 / 128, 0.5 / 128, 127.5 / 128]]]


@pytest.mark.parametrize(
    ("distortion", "colour", "expected"),
    [
        (Distortion(gain=2.0, offset=10.0, late_gain=0.5, order=(2, 0, 1)), (10, 20, 30),
         [35, 15, 25]),
        (Distortion(gain=1.5, offset=-40), (0, 255, 10), [-40, 342.5, -25]),  # is not clipped
        # V = 200 stays, the distance of every channel from it halves
        (Distortion(saturation=0.5), (200, 100, 0), [200, 150, 100]),
    ],
)  # fmt: skip
def test_distortions_by_hand(
    distortion: Distortion, colour: tuple[int, int, int], expected: list[float]
) -> None:
    np.testing.assert_allclose(values_after(distortion, colour), [expected], atol=1e-3)


@pytest.mark.parametrize("hue", [-0.3, -0.1, 0.2, 0.3])
@pytest.mark.parametrize("saturation", [0.6, 1.0])
def test_hue_agrees_with_the_standard_library(hue: float, saturation: float) -> None:
    rng = np.random.default_rng(0)
    colours = [tuple(map(int, row)) for row in rng.integers(0, 256, (200, 3))]
    colours += [(0, 0, 0), (255, 255, 255), (9, 9, 9), (255, 0, 0), (0, 255, 0), (0, 0, 255),
                (255, 255, 0), (0, 255, 255), (255, 0, 255), (255, 0, 1), (7, 7, 0)]  # fmt: skip
    expected = []
    for colour in colours:
        h, s, v = colorsys.rgb_to_hsv(*(float(value) for value in colour))
        expected.append(colorsys.hsv_to_rgb((h + hue / 6) % 1.0, s * saturation, v))
    found = values_after(Distortion(hue=hue, saturation=saturation), *colours)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_blocks_of_pixels_do_not_change_the_result() -> None:
    pixels = noise(200, 200)  # 1.95 blocks
    distortion = Distortion(hue=0.2, saturation=1.2)
    rows = [distort(pixels[row : row + 1], distortion) for row in (0, 102, 103, 199)]
    np.testing.assert_array_equal(distort(pixels, distortion)[[0, 102, 103, 199]], np.vstack(rows))


@pytest.mark.parametrize(
    "distortion", [Distortion(order=(1, 2, 0)), Distortion(hue=0.1, order=(2, 1, 0)),
                   Distortion(saturation=0.7, gain=1.2)],
)  # fmt: skip
def test_the_result_can_be_written_to_given_memory(distortion: Distortion) -> None:
    out = np.full((3, 5, 3), np.nan, np.float32)
    assert distort(noise(3, 5), distortion, out) is out
    np.testing.assert_array_equal(out, distort(noise(3, 5), distortion))


def test_each_part_is_drawn_with_probability_one_half() -> None:
    rng = np.random.default_rng(0)
    draws = [draw_distortion(rng) for _ in range(4000)]
    tolerance = 4 * np.sqrt(0.25 / 4000)
    assert abs(np.mean([d.saturation != 1 for d in draws]) - 0.5) < tolerance
    assert abs(np.mean([d.hue != 0 for d in draws]) - 0.5) < tolerance
    assert abs(np.mean([d.offset != 0 for d in draws]) - 0.5) < tolerance
    assert abs(np.mean([d.gain != 1 or d.late_gain != 1 for d in draws]) - 0.5) < tolerance
    early = [d.gain != 1 for d in draws]
    assert abs(np.mean(early) - 0.25) < tolerance
    assert not any(d.gain != 1 and d.late_gain != 1 for d in draws)
    # a permutation is drawn half the time; one in six of them changes nothing
    assert abs(np.mean([d.order != (0, 1, 2) for d in draws]) - 5 / 12) < tolerance


def test_distortions_stay_in_their_ranges() -> None:
    rng = np.random.default_rng(0)
    draws = [draw_distortion(rng) for _ in range(2000)]
    for name, low, high in (
        ("saturation", 0.5, 1.5), ("gain", 0.5, 1.5), ("late_gain", 0.5, 1.5), ("hue", -0.3, 0.3),
    ):  # fmt: skip
        values = [getattr(d, name) for d in draws]
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high
    brightness = [d.offset / d.gain for d in draws]
    assert -32 <= min(brightness) < -31
    assert 31 < max(brightness) <= 32
