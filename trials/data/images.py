"""Reading images and resizing them as OpenCV does, without OpenCV.

Shapes: H height, W width, 3 = RGB; X, Y columns (or their bytes) and rows of a result,
R rows in use.
Images are uint8 (H, W, 3) until normalised.
"""

import os
import struct
import zlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow
from torch.nn import functional as F

from search_spaces.errors import DataError

Image = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "PPM")
MAX_PIXELS = 80_000_000
MEAN = 127.5
SCALE = 128.0
_ONE = np.int32(1 << 11)  # OpenCV's fixed point for 8-bit images
_ROWS_AT_ONCE = 32  # of a resized image: what lies between stays in the processor's cache
_FAULTS = (  # what Pillow raises on broken files
    OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, OverflowError,
    MemoryError, struct.error, zlib.error, Pillow.DecompressionBombError,
    Pillow.DecompressionBombWarning,
)  # fmt: skip


def read_image(path: str | os.PathLike[str]) -> Image:
    """Decode an image as RGB, uint8 (H, W, 3).

    An EXIF orientation is not applied: the boxes of WIDER FACE were drawn on the pixels as
    stored. Grey, palette and CMYK images become RGB; an alpha channel is dropped.

    Raises:
        DataError: names the file: missing, broken, cut short, of another format, or larger
            than 80 million pixels.
    """
    try:
        with _open(path) as image:
            return _to_array(image)
    except _FAULTS as error:
        raise _image_error(path, error) from error


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) from an image's first bytes, without decoding it.

    Raises:
        DataError: as `read_image`, as far as the first bytes show it.
    """
    try:
        with _open(path) as image:
            width, height = image.size
            return int(width), int(height)
    except _FAULTS as error:
        raise _image_error(path, error) from error


def _open(path: str | os.PathLike[str]) -> Pillow.Image:
    """Pillow's lazy image, refusing formats and sizes that no data set has."""
    image = Pillow.open(path, formats=FORMATS)
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width} x {image.height}"
        image.close()
        raise ValueError(f"an image may have {MAX_PIXELS} pixels, this one says {size}")
    return image


def _to_array(image: Pillow.Image) -> Image:
    """The decoded pixels as RGB."""
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would cut it off at 255
        grey_HW = (np.asarray(image) >> 8).astype(np.uint8)
        return np.stack([grey_HW] * 3, axis=2)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return np.array(rgb, np.uint8)


def _image_error(path: str | os.PathLike[str], error: BaseException) -> DataError:
    """One line that names the file."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: the image is missing")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path}: the image cannot be decoded ({reason[:200]})")


def resize_bilinear(image_HW3: Image, size: tuple[int, int]) -> Image:
    """Resize to (height, width), to the bit as OpenCV's INTER_LINEAR on 8-bit images.

    Half-pixel centres, no filtering when reducing, coefficients of 11 bits, columns before
    rows. Checked against the reference's own input arrays.
    """
    height, width = size
    if image_HW3.shape[:2] == (height, width):
        return image_HW3
    columns = _columns(image_HW3.shape[1], width)
    top_Y, bottom_Y, weight_Y = _taps(image_HW3.shape[0], height, zero_at_border=False)
    rows_HX = np.ascontiguousarray(image_HW3).reshape(len(image_HW3), -1)
    result_YX = np.empty((height, 3 * width), np.uint8)
    for start in range(0, height, _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        used_R, slot = np.unique(np.concatenate([top_Y[some], bottom_Y[some]]), return_inverse=True)
        wide_RX = _widened(rows_HX[used_R], *columns)  # a reduction by more than two skips rows
        top, bottom = np.split(slot, 2)
        result_YX[some] = _blended(wide_RX[top], wide_RX[bottom], weight_Y[some, None])
    return result_YX.reshape(height, width, 3)


def _widened(
    rows_RX: Image,
    left_X: npt.NDArray[np.int64],
    right_X: npt.NDArray[np.int64],
    weight_X: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    """Rows of bytes resized along the columns, 128 times as large."""
    wide_RX: npt.NDArray[np.int32] = rows_RX.take(left_X, axis=1) * (_ONE - weight_X)
    wide_RX += rows_RX.take(right_X, axis=1) * weight_X
    wide_RX >>= 4
    return wide_RX


def _blended(
    upper_YX: npt.NDArray[np.int32],
    lower_YX: npt.NDArray[np.int32],
    weight_Y1: npt.NDArray[np.int32],
) -> npt.NDArray[np.int32]:
    """Rows between two of `_widened`'s, as grey levels; both arguments are used up."""
    upper_YX *= _ONE - weight_Y1
    upper_YX >>= 16
    lower_YX *= weight_Y1
    lower_YX >>= 16
    upper_YX += lower_YX
    upper_YX += 2
    upper_YX >>= 2
    return upper_YX


@lru_cache(maxsize=64)
def _columns(
    source: int, target: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """`_taps` of the columns, for the bytes of a row of pixels."""
    left_X, right_X, weight_X = _taps(source, target, zero_at_border=True)
    colours = np.arange(3)
    left, right = ((3 * taps[:, None] + colours).ravel() for taps in (left_X, right_X))
    return left, right, np.repeat(weight_X, 3)


@lru_cache(maxsize=64)
def _taps(
    source: int, target: int, *, zero_at_border: bool
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """For each output index the two input indices and the second one's weight of 2048.

    OpenCV zeroes the weight at the borders along columns only; along rows both taps are the
    border row, which differs by one grey level through rounding.
    """
    scale = source / target
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    weight = position - first.astype(np.float32)
    if zero_at_border:
        weight[(first < 0) | (first >= source - 1)] = 0
    fixed = np.rint(weight * np.float32(_ONE)).astype(np.int32)
    low = np.clip(first, 0, source - 1)
    return low, np.clip(first + 1, 0, source - 1), fixed


def resize_fast(image_HW3: Image, size: tuple[int, int]) -> torch.Tensor:
    """Resize for training: as `resize_bilinear` to within one grey level, many times faster.

    Returns:
        uint8 tensor (3, height, width), a copy, in memory order (height, width, 3).
    """
    height, width = image_HW3.shape[:2]
    if (height, width) == size:
        return torch.from_numpy(image_HW3.copy()).permute(2, 0, 1)  # callers reuse their arrays
    row, *pixel = image_HW3.strides
    if pixel != [3, 1]:
        image_HW3 = np.ascontiguousarray(image_HW3)
        row = 3 * width
    # torch recognises this order, in which it is twice as fast, by the stride of the image
    packed_13HW = torch.from_numpy(image_HW3).as_strided(
        (1, 3, height, width), (height * row, 1, row, 3)
    )
    return F.interpolate(packed_13HW, size=size, mode="bilinear", align_corners=False)[0]


def normalise(image_HW3: Image) -> torch.Tensor:
    """(x - 127.5) / 128 as a float32 tensor (3, H, W)."""
    pixels_3HW = torch.from_numpy(image_HW3).permute(2, 0, 1)
    planes_3HW = pixels_3HW.contiguous()  # as bytes: a fifth of the time of converting first
    return planes_3HW.float().sub_(MEAN).div_(SCALE)


def fitted_size(height: int, width: int, *, long_edge: int, short_edge: int) -> tuple[int, int]:
    """(height, width) of the largest image of the same shape within the two edges.

    Enlarges too. Sides are rounded to the nearest integer, as the reference rounds them.
    """
    scale = min(long_edge / max(height, width), short_edge / min(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
