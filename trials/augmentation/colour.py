"""Photometric distortion of training images (REFERENCE facts, section 7).

Shapes: S side of the training square, P pixels of a block, 3 = RGB planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from trials.data.images import MEAN, SCALE

BRIGHTNESS = 32.0  # grey levels
GAIN = (0.5, 1.5)  # of contrast and of saturation
HUE = 18.0 / 60.0  # in sixths of the colour circle
BLOCK = 16_384  # pixels at a time, so that all planes stay in a core's cache
_FLOAT = torch.float32
_PLANES = 9  # that a block needs: three channels, and what is computed from them

Plane: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """One draw of the photometric distortion, in the order in which it is applied.

    First `gain * x + offset`, then saturation and hue, then `late_gain * x`, then the
    channels are put in `order`. `saturation` 1 and `hue` 0 (sixths of the colour circle)
    leave the colours alone.
    """

    gain: float = 1.0
    offset: float = 0.0
    saturation: float = 1.0
    hue: float = 0.0
    late_gain: float = 1.0
    order: tuple[int, int, int] = (0, 1, 2)


def draw_distortion(rng: np.random.Generator) -> Distortion:
    """Draw the distortion: each part with probability one half.

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


def gain_and_offset(distortion: Distortion) -> tuple[float, float]:
    """What a channel is multiplied by and what is added, with the normalisation."""
    gain = distortion.gain * distortion.late_gain / SCALE
    return gain, (distortion.offset * distortion.late_gain - MEAN) / SCALE


def distort(
    pixels_3SS: torch.Tensor, distortion: Distortion, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Apply a distortion and normalise: float32 (3, S, S), (x - 127.5) / 128.

    Nothing is cut off at 0 or 255, as in the reference. Departure from the reference: where
    the brightness makes a whole pixel negative, OpenCV's saturation mirrors its colours;
    here they stay.

    Args:
        pixels_3SS: uint8, on the CPU, in memory order (3, S, S) or (S, S, 3).
        distortion: what to do.
        out: float32 (3, S, S) for the result, in either order; None: a new tensor in the
            order of the pixels.
    """
    result_3SS = torch.empty_like(pixels_3SS, dtype=_FLOAT) if out is None else out
    planes = [plane_SS.reshape(-1).numpy() for plane_SS in pixels_3SS]
    results = [result_SS.view(-1).numpy() for result_SS in result_3SS]
    _recolour(planes, [results[distortion.order.index(c)] for c in range(3)], distortion)
    return result_3SS


def _recolour(
    planes: Sequence[npt.NDArray[np.uint8]], targets: Sequence[Plane], distortion: Distortion
) -> None:
    """Saturation and hue, gain and offset, a block of pixels at a time, where needed.

    Saturation s takes a channel c to V - s * (V - c), with V the brightest channel; gain and
    offset are linear too, so that they are one pass together. In numpy, whose calls cost
    less than torch's on small blocks.
    """
    gain, offset = (np.float32(value) for value in gain_and_offset(distortion))
    weight, pixels = np.float32(distortion.saturation * gain), len(planes[0])
    memory = np.empty((_PLANES, min(BLOCK, pixels)), np.float32)
    for start in range(0, pixels, BLOCK):
        block = slice(start, min(start + BLOCK, pixels))
        rows = memory[:, : block.stop - start]
        for row, plane in zip(rows, planes, strict=False):
            row[:] = plane[block]
        channels, brightest, base = rows[:3], rows[3], offset
        if distortion.hue != 0 or distortion.saturation != 1:
            _extreme(np.maximum, channels, brightest)
            base = np.multiply(brightest, gain - weight, out=rows[4])
            base += offset
        turn = _HueTurn(rows, distortion.hue) if distortion.hue != 0 else None
        for channel, target in enumerate(targets):
            values = turn.channel(channel) if turn else channels[channel]
            values *= weight
            np.add(values, base, out=target[block])


class _HueTurn:
    """The colours of a block, turned on the colour circle by at most half a sixth of it.

    With V and m the brightest and the darkest channel, a turn of h sixths towards the
    channel n that follows c on the circle makes of c

        clip(c - n + clip(n, m + u, V - u), m, V)    with u = |h| * (V - m),

    which is what RGB to HSV and back amounts to: within a sixth of the circle one channel
    is V, one is m and the third is linear in the hue. The formula says which of the three a
    channel becomes, without a division and without a choice between cases.
    """

    def __init__(self, rows: Plane, hue: float) -> None:
        """Prepare a block.

        Args:
            rows: memory; the first three are the channels, the fourth the brightest.
            hue: in sixths of the circle, -0.5 to 0.5.
        """
        self.channels, self.step = rows[:3], 1 if hue > 0 else 2
        self.brightest, self.darkest = rows[3], rows[5]
        self.low, self.high, self.values = rows[6], rows[7], rows[8]
        _extreme(np.minimum, self.channels, self.darkest)
        np.subtract(self.brightest, self.darkest, out=self.low)
        self.low *= np.float32(abs(hue))
        np.subtract(self.brightest, self.low, out=self.high)
        self.low += self.darkest

    def channel(self, channel: int) -> Plane:
        """Channel 0, 1 or 2 after the turn, in memory that the next call uses again."""
        follower = self.channels[(channel + self.step) % 3]
        values: Plane = self.values
        np.maximum(np.minimum(follower, self.high, out=values), self.low, out=values)
        values -= follower
        values += self.channels[channel]
        np.maximum(np.minimum(values, self.brightest, out=values), self.darkest, out=values)
        return values


def _extreme(choose: np.ufunc, channels: Plane, out: Plane) -> None:
    """The maximum or minimum of the three channels."""
    choose(choose(channels[0], channels[1], out=out), channels[2], out=out)
