"""Application of samples to a whole batch of images on the device that trains, in torch.

Worker processes only copy the parts of images that the crops show into one buffer. Everything
after that is done to all images at once, with as many calls for eight images as for one: on a
GPU a call costs more than the little work that one image gives it.

Crops, faces and colours are those of the CPU; pixels are equal to within a grey level, since
both round the same bilinear value.

Shapes: B images a batch, S side of the training square, P pixels of all images together,
3 = RGB.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

from trials.augmentation.crop import CANVAS
from trials.augmentation.sample import Sample
from trials.data.images import Image

NUMPY_TYPES = {torch.uint8: np.uint8, torch.float32: np.float32}
FOLLOWERS = ((1, 2, 0), (2, 0, 1))  # channel that follows on the colour circle, and backwards


class PackedImages(NamedTuple):
    """Images of different sizes in one buffer.

    Attributes:
        pixels_P3: uint8 RGB, image after image, each row by row.
        sizes: (height, width) of each image.
    """

    pixels_P3: torch.Tensor
    sizes: list[tuple[int, int]]


def pack(images: Sequence[Image]) -> PackedImages:
    """Copy uint8 RGB images (H, W, 3) into one buffer."""
    pixels_P3 = batch_memory((sum(image.size // 3 for image in images), 3), torch.uint8)
    np.concatenate([image.reshape(-1, 3) for image in images], out=pixels_P3.numpy())
    return PackedImages(pixels_P3=pixels_P3, sizes=[image.shape[:2] for image in images])


def batch_memory(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return an uninitialised tensor, in a worker process in shared memory.

    A batch would otherwise be copied once more on its way to the training process; torch joins
    its own batches in the same way. Elsewhere numpy allocates it, which asks Linux for large
    pages: with small ones a fifth of the time of an image goes into first touching them.
    """
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(shape, NUMPY_TYPES[dtype]))
    size = max(1, math.prod(shape) * dtype.itemsize)
    storage = torch.UntypedStorage._new_shared(size, device="cpu")  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=dtype).set_(storage)[: math.prod(shape)].view(shape)


def apply_batch(
    samples: Sequence[Sample], images: PackedImages, device: torch.device | str
) -> torch.Tensor:
    """Return samples of one size: float32 (B, 3, S, S), (x - 127.5) / 128.

    The result is in channels-last memory.

    Args:
        samples: what to do to each image.
        images: the images, each of which has a pixel in common with its crop.
        device: where to compute and to return the result.
    """
    pixels_P3 = images.pixels_P3.to(device, non_blocking=True)
    squares_BSS3 = cut_squares(samples, PackedImages(pixels_P3, images.sizes))
    return distort_batch(samples, squares_BSS3).permute(0, 3, 1, 2)


def cut_squares(samples: Sequence[Sample], images: PackedImages) -> torch.Tensor:
    """Crop, resize and flip all images: whole numbers as float32 (B, S, S, 3).

    Bilinear with half-pixel centres and without a filter, as OpenCV. Grey outside of an image
    follows from weights that are 0 there, on pixels less the grey level.
    """
    size, device = samples[0].size, images.pixels_P3.device
    layout, start = [], 0
    for sample, (height, width) in zip(samples, images.sizes, strict=True):
        crop = sample.crop
        layout.append((start, height, width, crop.left, crop.top, crop.side, int(sample.flipped)))
        start += height * width
    table_7B = torch.tensor(layout).to(device, non_blocking=True).T
    start_B, height_B, width_B, left_B, top_B, side_B, flipped_B = table_7B
    place_S = torch.arange(size, device=device)
    column_BS = torch.where(flipped_B[:, None] == 1, size - 1 - place_S, place_S)
    columns = _taps(column_BS, left_B, width_B, side_B, size)
    rows = _taps(place_S.expand_as(column_BS), top_B, height_B, side_B, size)
    total_BSS3 = torch.full((*column_BS.shape, size, 3), float(CANVAS), device=device)
    for row_BS, row_weight_BS in rows:
        first_BS = start_B[:, None] + row_BS * width_B[:, None]
        for column_BS, column_weight_BS in columns:
            index_BSS = first_BS[:, :, None] + column_BS[:, None, :]
            found_BSS3 = images.pixels_P3[index_BSS].float() - CANVAS
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
    """Return the two image pixels that make each place of the square along one axis.

    Args:
        place_BS: places of the square, as whole numbers.
        offset_B: start of the crop in pixels of the image.
        length_B: side of the image.
        side_B: side of the crop.
        size: side of the square.

    Returns:
        For each of the two, index (B, S), kept inside the image, and weight (B, S), 0 outside.
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


def distort_batch(samples: Sequence[Sample], pixels_BSS3: torch.Tensor) -> torch.Tensor:
    """Distort and normalise all images at once, as `trials.augmentation.colour.distort`.

    Args:
        samples: those with the distortions.
        pixels_BSS3: grey levels as float32.

    Returns:
        float32 (B, S, S, 3).
    """
    numbers, orders = [], []
    for distortion in (sample.distortion for sample in samples):
        scale, shift = distortion.gain_and_offset()
        numbers.append((scale, shift, scale * distortion.saturation, abs(distortion.hue)))
        orders.append((distortion.order, FOLLOWERS[distortion.hue < 0]))
    device = pixels_BSS3.device
    table_B4 = torch.tensor(numbers).to(device, non_blocking=True)
    gain, offset, weight, hue = table_B4.T[..., None, None, None]
    order_B3, follower_B3 = torch.tensor(orders).to(device, non_blocking=True).unbind(1)
    brightest = pixels_BSS3.amax(dim=3, keepdim=True)
    darkest = pixels_BSS3.amin(dim=3, keepdim=True)
    turn = (brightest - darkest) * hue  # see `trials.augmentation.colour` for the formula
    followers_BSS3 = _ordered(pixels_BSS3, follower_B3)
    values_BSS3 = followers_BSS3.clamp(darkest + turn, brightest - turn)
    values_BSS3 = (pixels_BSS3 - followers_BSS3 + values_BSS3).clamp(darkest, brightest)
    base = brightest * (gain - weight) + offset
    return _ordered(values_BSS3 * weight + base, order_B3)


def _ordered(channels_BSS3: torch.Tensor, order_B3: torch.Tensor) -> torch.Tensor:
    """Return the channels of each image in its own order (B, 3)."""
    return channels_BSS3.gather(3, order_B3[:, None, None, :].expand_as(channels_BSS3))
