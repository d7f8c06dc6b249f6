"""Crop, resize, flip and distortion of a whole batch on the device that trains.

Worker processes only copy what the crops show of their images into one buffer. Everything
after that is done to all images of the batch at once, with as many calls for eight images
as for one: on a GPU a call costs more than the little work that one image gives it.

Same crops, faces and colours as on a CPU; pixels equal to within a grey level (both round
the same bilinear value).

Shapes: B images a batch, S side of the training square, P pixels of all parts together,
3 = RGB.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from trials.augmentation.batch_memory import batch_memory
from trials.augmentation.colour import Distortion, gain_and_offset
from trials.augmentation.crop import CANVAS
from trials.augmentation.sample import Sample
from trials.data.labels import Faces

_FOLLOWERS = ((1, 2, 0), (2, 0, 1))  # of each channel on the colour circle, and the other way


class PackedBatch(NamedTuple):
    """Samples whose pixels are still to be cut out, resized and distorted.

    Attributes:
        pixels_P3: uint8 RGB, the parts one after the other, each row by row.
        layout_B7: int64: start in `pixels_P3`, height and width of the part; left, top and
            side of the crop in the part's pixels; 1 where the result is mirrored.
        colours_B4: float32: gain, offset, gain with saturation, turn of the hue in sixths.
        orders_B23: int64: the channels' order, and which channel the hue turns each to.
        size: S.
        faces, broken: as in `trials.loading.loader.Batch`.
    """

    pixels_P3: torch.Tensor
    layout_B7: torch.Tensor
    colours_B4: torch.Tensor
    orders_B23: torch.Tensor
    size: int
    faces: list[Faces]
    broken: list[str]

    def finish(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """The images on `device`: float32 (B, 3, S, S) in channels-last memory, normalised."""
        pixels, layout, colours, orders = (
            tensor.to(device, non_blocking=True) for tensor in self[:4]
        )
        squares_BSS3 = cut_squares(pixels, layout, self.size)
        return distort_batch(squares_BSS3, colours, orders).permute(0, 3, 1, 2)


def pack(samples: Sequence[Sample]) -> PackedBatch:
    """Copy what the samples' crops show into one buffer, with what is to be done to it."""
    shapes = [sample.part_HW3.shape[:2] for sample in samples]
    pixels_P3 = batch_memory((sum(height * width for height, width in shapes), 3))
    start, layout = 0, []
    for sample, (height, width) in zip(samples, shapes, strict=True):
        target = pixels_P3[start : start + height * width].view(height, width, 3)
        np.copyto(target.numpy(), sample.part_HW3)
        crop = sample.crop
        layout.append((start, height, width, crop.left, crop.top, crop.side, sample.flipped))
        start += height * width
    colours, orders = pack_distortions([sample.distortion for sample in samples])
    return PackedBatch(
        pixels_P3=pixels_P3,
        layout_B7=torch.tensor(layout, dtype=torch.int64),
        colours_B4=colours,
        orders_B23=orders,
        size=samples[0].size,
        faces=[sample.faces for sample in samples],
        broken=[message for sample in samples for message in sample.broken],
    )


def pack_distortions(distortions: Sequence[Distortion]) -> tuple[torch.Tensor, torch.Tensor]:
    """Distortions as tables: float32 (B, 4) and int64 (B, 2, 3), as in `PackedBatch`."""
    colours, orders = [], []
    for distortion in distortions:
        gain, offset = gain_and_offset(distortion)
        colours.append((gain, offset, gain * distortion.saturation, abs(distortion.hue)))
        orders.append((distortion.order, _FOLLOWERS[distortion.hue < 0]))
    return torch.tensor(colours, dtype=torch.float32), torch.tensor(orders, dtype=torch.int64)


def cut_squares(pixels_P3: torch.Tensor, layout_B7: torch.Tensor, size: int) -> torch.Tensor:
    """Crop, resize and flip all parts: whole numbers as float32 (B, S, S, 3).

    Bilinear with half-pixel centres and without a filter, as OpenCV and `crop_image`. Grey
    outside of a part follows from weights that are 0 there, on pixels less the grey level.
    """
    start_B, height_B, width_B, left_B, top_B, side_B, flipped_B = layout_B7.unbind(1)
    place_S = torch.arange(size, device=pixels_P3.device)
    column_BS = torch.where(flipped_B[:, None] == 1, size - 1 - place_S, place_S)
    columns = _taps(column_BS, left_B, width_B, side_B, size)
    rows = _taps(place_S.expand_as(column_BS), top_B, height_B, side_B, size)
    total_BSS3 = pixels_P3.new_full((*column_BS.shape, size, 3), CANVAS, dtype=torch.float32)
    for row_BS, row_weight_BS in rows:
        first_BS = start_B[:, None] + row_BS * width_B[:, None]
        for column_BS, column_weight_BS in columns:
            index_BSS = first_BS[:, :, None] + column_BS[:, None, :]
            found_BSS3 = pixels_P3[index_BSS].float() - CANVAS
            weight_BSS = row_weight_BS[:, :, None] * column_weight_BS[:, None, :]
            total_BSS3.addcmul_(weight_BSS[..., None], found_BSS3)
    return total_BSS3.round_()


def _taps(
    place_BS: torch.Tensor,
    offset_B: torch.Tensor,
    length_B: torch.Tensor,
    side_B: torch.Tensor,
    size: int,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The two pixels of a part that make each place of the square along one axis.

    Args:
        place_BS: of the square.
        offset_B: where the crop begins, in pixels of the part; 0 or less.
        length_B, side_B: of the part and of the crop.
        size: of the square.

    Returns:
        index (B, S), kept inside the part, and weight (B, S), 0 outside of it; for each.
    """
    side_B1 = side_B[:, None].double()
    position_BS = ((place_BS + 0.5) * (side_B1 / size) - 0.5).clamp(min=0)
    position_BS = position_BS.minimum(side_B1 - 1)
    first_BS = position_BS.floor()
    second_weight_BS = position_BS - first_BS
    last_B1, taps = length_B[:, None] - 1, []
    for step, weight_BS in ((0, 1 - second_weight_BS), (1, second_weight_BS)):
        index_BS = first_BS.long() + step + offset_B[:, None]
        inside_BS = (index_BS >= 0) & (index_BS <= last_B1)
        taps.append((index_BS.clamp(min=0).minimum(last_B1), (weight_BS * inside_BS).float()))
    return taps


def distort_batch(
    pixels_BSS3: torch.Tensor, colours_B4: torch.Tensor, orders_B23: torch.Tensor
) -> torch.Tensor:
    """`distort` of all images at once: float32 (B, S, S, 3).

    Args:
        pixels_BSS3: grey levels, of any type.
        colours_B4, orders_B23: as `pack_distortions` makes them, on the pixels' device.
    """
    channels_BSS3 = pixels_BSS3.float()
    gain, offset, weight, hue = (value[:, None, None, None] for value in colours_B4.unbind(1))
    order_B3, follower_B3 = orders_B23.unbind(1)
    brightest = channels_BSS3.amax(dim=3, keepdim=True)
    darkest = channels_BSS3.amin(dim=3, keepdim=True)
    turn = (brightest - darkest) * hue  # see `trials.augmentation.colour` for the formula
    followers_BSS3 = _ordered(channels_BSS3, follower_B3)
    values_BSS3 = followers_BSS3.clamp(darkest + turn, brightest - turn)
    values_BSS3 = (channels_BSS3 - followers_BSS3 + values_BSS3).clamp(darkest, brightest)
    base = brightest * (gain - weight) + offset
    return _ordered(values_BSS3 * weight + base, order_B3)


def _ordered(channels_BSS3: torch.Tensor, order_B3: torch.Tensor) -> torch.Tensor:
    """The channels of each image in its own order."""
    return channels_BSS3.gather(3, order_B3[:, None, None, :].expand_as(channels_BSS3))
