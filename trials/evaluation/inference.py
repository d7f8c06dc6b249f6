"""Inference on image files: resize, pad, batch, predict, decode, scale back.

The test modes are those of the reference's tools/test_widerface.py.
Shapes: B images of a batch, H x W pixels of the network's input, N detections.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from trials.data.images import MEAN, SCALE, Image, fitted_size, read_image, resize
from trials.detection.decoding import Detections, Thresholds, decode
from trials.device import freed_memory_kept, limited_threads
from trials.evaluation.network import Predict
from trials.settings import LARGEST, MULTIPLE

GPU_BATCH = 8
MULTI_EDGES = (1650, 1100)

Path: TypeAlias = str | os.PathLike[str]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, kw_only=True)
class InputSize:
    """How an image becomes a network input: resized in its shape, then padded with zeros.

    Attributes:
        long_edge: most pixels of the longer side; 0 keeps the size.
        short_edge: most pixels of the shorter side.
        square: pad to a square of `long_edge`, so that all inputs have one size.
    """

    long_edge: int
    short_edge: int
    square: bool

    def fitted(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the resized image; smaller images are enlarged."""
        if not self.long_edge:
            return height, width
        return fitted_size(height, width, long_edge=self.long_edge, short_edge=self.short_edge)

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the input for a resized image, multiples of 32."""
        if self.square:
            height = width = self.long_edge
        return -(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """One resized image, before it is normalised and padded.

    Attributes:
        pixels_HW3: uint8.
        padded: height, width of the input.
        scale: input pixels per image pixel along x and y.
    """

    pixels_HW3: Image
    padded: tuple[int, int]
    scale: tuple[float, float]

    @property
    def fitted(self) -> tuple[int, int]:
        """Height, width of the image inside the padding."""
        return self.pixels_HW3.shape[0], self.pixels_HW3.shape[1]


def input_size(mode: str, image_size: int = 640) -> InputSize:
    """Return the input size of a test mode.

    Args:
        mode: `vga` makes the long side `image_size` and pads to a square; `multi` fits into
            1650 x 1100; `original` keeps the size; a number is like `vga` with that size.
        image_size: for `vga`, in pixels.

    Raises:
        ConfigError: another mode, or a size outside 32..8192.
    """
    if mode == "multi":
        return InputSize(long_edge=MULTI_EDGES[0], short_edge=MULTI_EDGES[1], square=False)
    if mode == "original":
        return InputSize(long_edge=0, short_edge=0, square=False)
    if mode != "vga":
        if not (mode.isascii() and mode.isdigit()):
            raise ConfigError(f"mode must be vga, multi, original or a size, got {mode!r}")
        image_size = int(mode[:9])
    if not MULTIPLE <= image_size <= LARGEST:
        raise ConfigError(f"image size must be {MULTIPLE} to {LARGEST} pixels, got {image_size}")
    return InputSize(long_edge=image_size, short_edge=image_size, square=True)


def detect_files(
    predict: Predict,
    paths: Iterable[Path],
    size: InputSize,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 8,
    readers: int = 0,
) -> Iterator[Detections]:
    """Yield the detections of each image file, in order, in pixels of the image.

    The thresholds are those of the WIDER FACE protocol. Consecutive images of the same input
    size share a batch.

    Args:
        predict: the network; called in inference mode.
        paths: image files.
        size: from `input_size`.
        device: device of the input of `predict`.
        batch_size: most images at once.
        readers: threads that decode and resize ahead; with 0 the calling thread does it.

    Raises:
        DataError: an image is missing or broken.
    """
    if batch_size < 1:
        raise ConfigError(f"batch size must be at least 1, got {batch_size}")
    prepared = _ahead(partial(_read, size), paths, readers, window=2 * batch_size)
    for batch in _batches(prepared, batch_size):
        yield from _detect(predict, batch, torch.device(device))


def detect_in_threads(
    predict: Predict, paths: Iterable[Path], size: InputSize, threads: int
) -> Iterator[Detections]:
    """Yield the detections of each image file on a CPU, in order, `threads` images at once.

    Each image, from the file to its detections, is the work of one thread, so that decoding and
    NMS use all cores too. torch has one CPU thread until the iterator ends or is closed.

    Args:
        predict: the network; called by several threads at the same time.
        paths, size: as in `detect_files`.
        threads: images at once.

    Raises:
        DataError: an image is missing or broken.
    """

    def detect(path: Path) -> Detections:
        return _detect(predict, [_read(size, path)], torch.device("cpu"))[0]

    with freed_memory_kept(), limited_threads(1):  # threads that start now have the same limit
        yield from _ahead(detect, paths, threads, window=2 * threads)


def detect_images(
    predict: Predict,
    images: Sequence[Image],
    size: InputSize,
    *,
    thresholds: Thresholds | None = None,
    device: torch.device | str = "cpu",
) -> list[Detections]:
    """Return the detections of decoded RGB images that have one input size, in their pixels."""
    batch = [_prepare(image_HW3, size) for image_HW3 in images]
    return _detect(predict, batch, torch.device(device), thresholds)


def usual_batch_size(device: torch.device) -> int:
    """Return 8 on a GPU, 1 on a CPU, whose caches hold the feature maps of one image only."""
    return 1 if device.type == "cpu" else GPU_BATCH


def _prepare(image_HW3: Image, size: InputSize) -> Prepared:
    """Resize an image; `normalised_batch` does the rest."""
    height, width = image_HW3.shape[:2]
    new_height, new_width = size.fitted(height, width)
    return Prepared(
        pixels_HW3=resize(image_HW3, (new_height, new_width)),
        padded=size.padded(new_height, new_width),
        scale=(new_width / width, new_height / height),
    )


def normalised_batch(batch: Sequence[Prepared], device: torch.device) -> Tensor:
    """Return images (B, 3, H, W), normalised, with zeros at the right and at the bottom.

    The memory order is channels-last, as in the files, in which convolutions are fastest.
    """
    images_BHW3 = torch.zeros(len(batch), *batch[0].padded, 3, device=device)
    for image_HW3, prepared in zip(images_BHW3, batch, strict=True):
        height, width = prepared.fitted
        pixels_HW3 = torch.from_numpy(prepared.pixels_HW3).to(device, non_blocking=True)
        image_HW3[:height, :width].copy_(pixels_HW3).sub_(MEAN).div_(SCALE)
    return images_BHW3.permute(0, 3, 1, 2)


def _detect(
    predict: Predict,
    batch: Sequence[Prepared],
    device: torch.device,
    thresholds: Thresholds | None = None,
) -> list[Detections]:
    """Return the detections of each image of a batch, in pixels of the image."""
    with torch.inference_mode():
        outputs = predict(normalised_batch(batch, device))
        found = decode(outputs, [image.fitted for image in batch], thresholds)
    return [
        detections.scaled(1 / image.scale[0], 1 / image.scale[1])
        for detections, image in zip(found, batch, strict=True)
    ]


def _batches(prepared: Iterable[Prepared], batch_size: int) -> Iterator[list[Prepared]]:
    """Group consecutive images of the same input size, at most `batch_size` at once."""
    batch: list[Prepared] = []
    for image in prepared:
        fits = not batch or batch[0].padded == image.padded
        if batch and (len(batch) == batch_size or not fits):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch


def _read(size: InputSize, path: Path) -> Prepared:
    return _prepare(read_image(path), size)


def _ahead(
    function: Callable[[Path], ResultT], paths: Iterable[Path], threads: int, window: int
) -> Iterator[ResultT]:
    """Yield the results for all paths in order; with threads, at most `window` of them wait."""
    if threads < 1:
        yield from map(function, paths)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[ResultT]] = deque()
        try:
            for path in paths:
                waiting.append(pool.submit(function, path))
                if len(waiting) > window:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # after a broken image the rest must not be read
            pool.shutdown(wait=False, cancel_futures=True)
