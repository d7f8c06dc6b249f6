"""Photometric distortion of training images (REFERENCE facts, section 7).

Shapes: S side of the training square, P pixels of a block, 3 = RGB planes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trials.data.images import MEAN, SCALE

BRIGHTNESS = 32.0  # grey levels
GAIN = (0.5, 1.5)  # of contrast and of saturation
HUE = 18.0 / 60.0  # in sixths of the colour circle
BLOCK = 32_768  # pixels at a time on a CPU, so that all planes stay in its cache
_FLOAT = torch.float32
_PLANES = 9  # that a block needs: three channels, and what is computed from them


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


def distort(
    pixels_3SS: torch.Tensor, distortion: Distortion, out: torch.Tensor | None = None
) -> torch.Tensor:
    """Apply a distortion and normalise: float32 (3, S, S), (x - 127.5) / 128.

    Nothing is cut off at 0 or 255, as in the reference. Departure from the reference: where
    the brightness makes a whole pixel negative, OpenCV's saturation mirrors its colours;
    here they stay.

    Args:
        pixels_3SS: uint8, on any device.
        distortion: what to do.
        out: contiguous float32 (3, S, S) for the result; None: a new tensor.
    """
    result_3SS = out if out is not None else pixels_3SS.new_empty(pixels_3SS.shape, dtype=_FLOAT)
    planes_3P, result_3P = pixels_3SS.contiguous().view(3, -1), result_3SS.view(3, -1)
    gain = distortion.gain * distortion.late_gain / SCALE
    offset = (distortion.offset * distortion.late_gain - MEAN) / SCALE
    targets = [result_3P[distortion.order.index(channel)] for channel in range(3)]
    if distortion.hue == 0 and distortion.saturation == 1:
        for target_P, plane_P in zip(targets, planes_3P, strict=True):
            target_P.copy_(plane_P).mul_(gain).add_(offset)
    elif pixels_3SS.device.type == "cpu":  # numpy: torch's calls cost more than small blocks
        arrays = [target_P.numpy() for target_P in targets]
        _recolour(np, planes_3P.numpy(), arrays, distortion, gain, offset, BLOCK)
    else:
        pixels = planes_3P.shape[1]
        _recolour(torch, planes_3P, targets, distortion, gain, offset, pixels)
    return result_3SS


def _recolour(
    library: Any,
    planes_3P: Any,
    targets: Sequence[Any],
    distortion: Distortion,
    gain: float,
    offset: float,
    step: int,
) -> None:
    """Saturation and hue, gain and offset, `step` pixels at a time.

    Saturation s takes a channel c to V - s * (V - c), with V the brightest channel; gain and
    offset are linear too, so that they are one pass together. `library` is numpy or torch,
    whose functions used here have the same names and meanings.
    """
    pixels, weight = planes_3P.shape[1], distortion.saturation * gain
    place = {} if library is np else {"device": planes_3P.device}
    memory = library.empty((_PLANES, min(step, pixels)), dtype=library.float32, **place)
    for start in range(0, pixels, step):
        block_3P = planes_3P[:, start : start + step]
        planes = memory[:, : block_3P.shape[1]]
        planes[:3] = block_3P
        channels, brightest, base = planes[:3], planes[3], planes[4]
        _extreme(library.maximum, channels, brightest)
        library.multiply(brightest, gain - weight, out=base)
        base += offset
        if distortion.hue != 0:
            turn = _HueTurn(library, planes, distortion.hue)
        for channel, target_P in enumerate(targets):
            values = turn.channel(channel) if distortion.hue != 0 else channels[channel]
            values *= weight
            library.add(values, base, out=target_P[start : start + step])


class _HueTurn:
    """The colours of a block, turned on the colour circle by at most half a sixth of it.

    With V and m the brightest and the darkest channel, a turn of h sixths towards the
    channel n that follows c on the circle makes of c

        clip(c - n + clip(n, m + u, V - u), m, V)    with u = |h| * (V - m),

    which is what RGB to HSV and back amounts to: within a sixth of the circle one channel
    is V, one is m and the third is linear in the hue. The formula says which of the three a
    channel becomes, without a division and without a choice between cases.
    """

    def __init__(self, library: Any, planes: Any, hue: float) -> None:
        """Prepare a block.

        Args:
            library: numpy or torch.
            planes: memory; the first three are the channels, the fourth the brightest.
            hue: in sixths of the circle, -0.5 to 0.5.
        """
        self.library, self.channels, self.step = library, planes[:3], 1 if hue > 0 else 2
        self.brightest, self.darkest = planes[3], planes[5]
        self.low, self.high, self.values = planes[6], planes[7], planes[8]
        _extreme(library.minimum, self.channels, self.darkest)
        library.subtract(self.brightest, self.darkest, out=self.low)
        self.low *= abs(hue)
        library.subtract(self.brightest, self.low, out=self.high)
        self.low += self.darkest

    def channel(self, channel: int) -> Any:
        """Channel 0, 1 or 2 after the turn, in memory that the next call uses again."""
        follower, values = self.channels[(channel + self.step) % 3], self.values
        maximum, minimum = self.library.maximum, self.library.minimum
        maximum(minimum(follower, self.high, out=values), self.low, out=values)
        values -= follower
        values += self.channels[channel]
        maximum(minimum(values, self.brightest, out=values), self.darkest, out=values)
        return values


def _extreme(choose: Any, channels: Any, out: Any) -> None:
    """The maximum or minimum of the three channels."""
    choose(choose(channels[0], channels[1], out=out), channels[2], out=out)
