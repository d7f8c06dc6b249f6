"""Photometric distortion of training images.

Follows `PhotoMetricDistortion` of the reference's training. Its way through HSV is replaced by
an equal formula on RGB, which is twice as fast as OpenCV's conversions.

Shapes: S side of the training square, 3 = RGB.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trials.data.images import MEAN, SCALE, Image

BRIGHTNESS = 32.0  # grey levels
GAIN = (0.5, 1.5)  # of contrast and of saturation
HUE = 18.0 / 60.0  # in sixths of the colour circle
BLOCK = 20_480  # pixels at a time, so that all rows of a block stay in a core's cache
ROWS = 11  # of a block: three channels, and what is computed from them
LEVELS = np.arange(256, dtype=np.float32)

Plane = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """Parameters of a photometric distortion, in the order in which it is applied.

    First `gain * x + offset`, then saturation and hue, then `late_gain * x`, then the channels
    are put in `order`. `saturation` 1 and `hue` 0 (sixths of the colour circle) change nothing.
    """

    gain: float = 1.0
    offset: float = 0.0
    saturation: float = 1.0
    hue: float = 0.0
    late_gain: float = 1.0
    order: tuple[int, int, int] = (0, 1, 2)

    def gain_and_offset(self) -> tuple[float, float]:
        """Return the joint gain and offset of a channel, normalisation included."""
        gain = self.gain * self.late_gain / SCALE
        return gain, (self.offset * self.late_gain - MEAN) / SCALE


def draw_distortion(rng: np.random.Generator) -> Distortion:
    """Draw a distortion, each part with probability one half.

    Contrast comes before or after the colour part with equal probability; it multiplies the
    brightness too.
    """
    on = rng.random(6) < 0.5
    offset = rng.uniform(-BRIGHTNESS, BRIGHTNESS) if on[0] else 0.0
    contrast = rng.uniform(*GAIN) if on[1] else 1.0
    early = contrast if on[5] else 1.0
    return Distortion(
        gain=early,
        offset=early * offset,
        saturation=rng.uniform(*GAIN) if on[2] else 1.0,
        hue=rng.uniform(-HUE, HUE) if on[3] else 0.0,
        late_gain=1.0 if on[5] else contrast,
        order=_draw_order(rng) if on[4] else (0, 1, 2),
    )


def _draw_order(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.permutation(3).tolist()
    return red, green, blue


def distort(pixels_SS3: Image, distortion: Distortion, out_SS3: Plane | None = None) -> Plane:
    """Return a distorted and normalised image: float32 (S, S, 3), (x - 127.5) / 128.

    Nothing is clipped at 0 or 255, as in the reference. Departure from the reference: where
    the brightness makes a whole pixel negative, OpenCV's saturation mirrors its colours; here
    they stay.

    Args:
        pixels_SS3: uint8 RGB.
        distortion: what to do.
        out_SS3: contiguous memory for the result; None allocates it.
    """
    result_SS3 = np.empty(pixels_SS3.shape, np.float32) if out_SS3 is None else out_SS3
    planes: Sequence[Image] = cv2.split(pixels_SS3)  # type: ignore[assignment]
    if distortion.hue == 0 and distortion.saturation == 1:
        gain, offset = (np.float32(value) for value in distortion.gain_and_offset())
        ordered_SS3 = cv2.merge([planes[channel] for channel in distortion.order])
        cv2.LUT(ordered_SS3, LEVELS * gain + offset, dst=result_SS3)
    else:
        _recolour(planes, distortion, result_SS3)
    return result_SS3


def _recolour(planes: Sequence[Image], distortion: Distortion, out_SS3: Plane) -> None:
    """Apply saturation and hue, gain and offset, a block of pixels at a time.

    Saturation s takes a channel c to V - s * (V - c), with V the brightest channel; gain and
    offset are linear too, so that all of them are one pass.
    """
    gain, offset = (np.float32(value) for value in distortion.gain_and_offset())
    weight = np.float32(distortion.saturation * gain)
    planes = [plane.reshape(1, -1) for plane in planes]
    out_1P3, pixels = out_SS3.reshape(1, -1, 3), planes[0].size
    memory = np.empty((ROWS, 1, min(BLOCK, pixels)), np.float32)
    for start in range(0, pixels, BLOCK):
        block = slice(start, min(start + BLOCK, pixels))
        rows = memory[:, :, : block.stop - start]
        red, green, blue = (plane[:, block] for plane in planes)
        rows[0], rows[1], rows[2] = red, green, blue
        rows[3] = cv2.max(cv2.max(red, green), blue)
        channels = rows[:3]
        if distortion.hue != 0:
            rows[5] = cv2.min(cv2.min(red, green), blue)
            channels = _turned_hue(rows, distortion.hue)
        base = np.multiply(rows[3], gain - weight, out=rows[4])
        base += offset
        for values in channels:
            values *= weight
            values += base
        ordered = [channels[channel] for channel in distortion.order]
        cv2.merge(ordered, dst=out_1P3[:, block])


def _turned_hue(rows: Plane, hue: float) -> Plane:
    """Return the channels of a block after a turn of the hue by at most half a sixth.

    With V and m the brightest and the darkest channel, a turn of h sixths of the colour circle
    towards the channel n that follows c on it makes of c

        clip(c - n + clip(n, m + u, V - u), m, V)    with u = |h| * (V - m).

    This equals RGB to HSV and back: within a sixth of the circle one channel is V, one is m and
    the third is linear in the hue. It needs neither a division nor a choice between cases.

    Args:
        rows: the channels, the brightest one, any, the darkest one, and working memory, the
            last three rows of which are the result.
        hue: in sixths of the circle.
    """
    channels, brightest = rows[:3], rows[3]
    darkest, low, high, *turned = rows[5:]
    np.subtract(brightest, darkest, out=low)
    low *= np.float32(abs(hue))
    np.subtract(brightest, low, out=high)
    low += darkest
    for channel, values in enumerate(turned):
        follower = channels[(channel + (1 if hue > 0 else 2)) % 3]
        np.maximum(np.minimum(follower, high, out=values), low, out=values)
        values -= follower
        values += channels[channel]
        np.maximum(np.minimum(values, brightest, out=values), darkest, out=values)
    return rows[8:]
