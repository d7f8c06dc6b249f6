"""Photometric distortion of training images.

Follows `PhotoMetricDistortion` of the reference's training. Its way through HSV is replaced by
an equal formula on RGB, which is twice as fast as OpenCV's conversions.

Shapes: S side of the training square, 3 = RGB.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from trials.data.images import MEAN, SCALE, Image

BRIGHTNESS = 32.0  # grey levels
GAIN = (0.5, 1.5)  # of contrast and of saturation
HUE = 18.0 / 60.0  # in sixths of the colour circle
BLOCK = 16_384  # pixels at a time, so that all rows of a block stay in a core's cache
ROWS = 9  # of a block: three channels, and what is computed from them

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
    planes: list[Image] = [p.reshape(-1) for p in cv2.split(pixels_SS3)]  # type: ignore[misc]
    results = result_SS3.reshape(-1, 3).T
    _recolour(planes, [results[distortion.order.index(c)] for c in range(3)], distortion)
    return result_SS3


def _recolour(
    planes: Sequence[npt.NDArray[np.uint8]], targets: Sequence[Plane], distortion: Distortion
) -> None:
    """Apply saturation and hue, gain and offset, a block of pixels at a time.

    Saturation s takes a channel c to V - s * (V - c), with V the brightest channel; gain and
    offset are linear too, so that all of them are one pass.
    """
    gain, offset = (np.float32(value) for value in distortion.gain_and_offset())
    weight, pixels = np.float32(distortion.saturation * gain), len(planes[0])
    memory = np.empty((ROWS, min(BLOCK, pixels)), np.float32)
    for start in range(0, pixels, BLOCK):
        block = slice(start, min(start + BLOCK, pixels))
        rows = memory[:, : block.stop - start]
        for row, plane in zip(rows, planes, strict=False):
            row[:] = plane[block]
        channels, base = rows[:3], offset
        if distortion.hue != 0 or distortion.saturation != 1:
            brightest = channels.max(axis=0, out=rows[3])
            base = np.multiply(brightest, gain - weight, out=rows[4])
            base += offset
        turned: Iterable[Plane] = channels
        if distortion.hue != 0:
            turned = _turned_hue(rows, distortion.hue)
        for values, target in zip(turned, targets, strict=True):
            values *= weight
            np.add(values, base, out=target[block])


def _turned_hue(rows: Plane, hue: float) -> Iterator[Plane]:
    """Yield the channels of a block after a turn of the hue by at most half a sixth.

    With V and m the brightest and the darkest channel, a turn of h sixths of the colour circle
    towards the channel n that follows c on it makes of c

        clip(c - n + clip(n, m + u, V - u), m, V)    with u = |h| * (V - m).

    This equals RGB to HSV and back: within a sixth of the circle one channel is V, one is m and
    the third is linear in the hue. It needs neither a division nor a choice between cases.

    Args:
        rows: the channels, the brightest one, and working memory. A yielded row is used again.
        hue: in sixths of the circle.
    """
    channels, brightest = rows[:3], rows[3]
    darkest, low, high, values = rows[5:]
    channels.min(axis=0, out=darkest)
    np.subtract(brightest, darkest, out=low)
    low *= np.float32(abs(hue))
    np.subtract(brightest, low, out=high)
    low += darkest
    for channel in range(3):
        follower = channels[(channel + (1 if hue > 0 else 2)) % 3]
        np.maximum(np.minimum(follower, high, out=values), low, out=values)
        values -= follower
        values += channels[channel]
        np.maximum(np.minimum(values, brightest, out=values), darkest, out=values)
        yield values
