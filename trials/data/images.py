"""Decode image files and resize images with OpenCV, the arithmetic of the reference.

Shapes: H height, W width, 3 = RGB. Images are uint8 (H, W, 3) until normalised.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from search_spaces.errors import DataError
from search_spaces.files import replacing
from trials.data.image_header import header_size
from trials.data.quiet import without_c_messages

Image = npt.NDArray[np.uint8]

MAX_PIXELS = 80_000_000
WRITABLE = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
LOSSY = (cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_WEBP_QUALITY, 80)
MEAN = 127.5
SCALE = 128.0

cv2.setNumThreads(1)  # trials and loader workers divide the cores among themselves
_set_log_level = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel  # 4, 5
_set_log_level(0)  # silent: errors are raised


def read_image(path: str | os.PathLike[str]) -> Image:
    """Decode an image file as RGB.

    The EXIF orientation is applied. Grey, palette and CMYK images become RGB, an alpha channel
    is dropped, and 16 bits are reduced to the upper 8.

    Returns:
        uint8 (H, W, 3).

    Raises:
        DataError: the file is missing, damaged, cut short, not a JPEG, PNG, WEBP, BMP or PNM
            image, or larger than 80 million pixels. The message names the file.
    """
    try:
        with Path(path).open("rb") as stream:
            _checked_size(header_size(stream))
            stream.seek(0)
            content = np.frombuffer(stream.read(), np.uint8)
        with without_c_messages():
            decoded = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
    except (OSError, ValueError, MemoryError, cv2.error) as error:
        raise _image_error(path, error) from error
    if decoded is None:
        raise _image_error(path, ValueError("its data are damaged or cut short"))
    return np.asarray(decoded, np.uint8)


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return (width, height) of the image that `read_image` gives, from the file's header.

    Raises:
        DataError: as `read_image`, as far as the header shows it.
    """
    try:
        with Path(path).open("rb") as stream:
            return _checked_size(header_size(stream))
    except (OSError, ValueError) as error:
        raise _image_error(path, error) from error


def require_size(path: Path, labelled: tuple[int, ...], found: tuple[int, ...]) -> None:
    """Raise DataError unless an image has the (width, height) of its label, as it is shown."""
    if labelled == found:
        return
    sizes = f"has {found[0]} x {found[1]} pixels, but is labelled as {labelled[0]} x {labelled[1]}"
    mend = "label the image as it is, or restore the one that was labelled"
    if labelled == found[::-1]:
        mend = "if an EXIF orientation turns the photo, label it upright or remove the orientation"
        sizes += ": width and height are exchanged"
    raise DataError(f"{path}: {sizes}; {mend}")


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if not 1 <= width * height <= MAX_PIXELS:
        raise ValueError(f"an image may have 1 to {MAX_PIXELS} pixels, got {width} x {height}")
    return size


def _image_error(path: str | os.PathLike[str], error: Exception) -> DataError:
    """Return an error of one line that names the file."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: the image is missing")
    reason = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path}: the image cannot be decoded ({reason[:200]})")


def write_image(path: str | os.PathLike[str], image_HW3: Image) -> None:
    """Write an image in the format of the path's suffix, whole or not at all.

    Raises:
        DataError: the suffix is not jpg, jpeg, png, bmp or webp.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in WRITABLE:
        raise DataError(f"{path}: the suffix must be one of {', '.join(WRITABLE)}, got {suffix!r}")
    with replacing(path) as temporary:
        temporary.write_bytes(encoded(image_HW3, suffix))


def encoded(image_HW3: Image, suffix: str) -> bytes:
    """Return the bytes of an image file in the format of a suffix."""
    _, content = cv2.imencode(suffix, cv2.cvtColor(image_HW3, cv2.COLOR_RGB2BGR), LOSSY)
    return content.tobytes()


def resize(image_HW3: Image, size: tuple[int, int]) -> Image:
    """Return a copy of an image resized to (height, width), bilinear and without a filter."""
    height, width = size
    return np.asarray(cv2.resize(image_HW3, (width, height), interpolation=cv2.INTER_LINEAR))


def fitted_size(height: int, width: int, *, long_edge: int, short_edge: int) -> tuple[int, int]:
    """Return (height, width) of the largest image of the same shape within two edges.

    The result may be larger than the image. Sides are rounded to the nearest integer, as the
    reference rounds them.
    """
    scale = min(long_edge / max(height, width), short_edge / min(height, width))
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))
