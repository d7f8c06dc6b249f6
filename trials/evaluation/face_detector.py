"""Face detection in images with a trained model, for use from Python."""

import os
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias, overload

import numpy as np
import torch

from search_spaces.errors import ConfigError, DataError
from search_spaces.network.detector import Detector
from trials.data.images import Image, read_image, resize
from trials.detection.decoding import (
    DEMO_NMS_THRESHOLD,
    NMS_THRESHOLD,
    Detections,
    Thresholds,
    decode,
    nms_plus_one,
)
from trials.evaluation.inference import (
    Prepared,
    detect_images,
    input_size,
    normalised_batch,
    usual_batch_size,
)
from trials.evaluation.network import Predict, open_network
from trials.onnx.runtime import OnnxDetector
from trials.settings import LARGEST, MULTIPLE

DEMO_SCORE_THRESHOLD = 0.5
PROTOCOLS = ("demo", "widerface")
VGA_PIXELS = 640 * 640


class PilImage(Protocol):
    """An image of Pillow, of which only the conversion is used."""

    def convert(self, mode: str) -> Any:
        """Return the image in another mode."""


ImageSource: TypeAlias = Image | str | os.PathLike[str] | PilImage


@dataclass(eq=False)
class FaceDetector:
    """A model file as a function from an image to faces.

    `detector = FaceDetector("model.pt"); faces = detector.detect("photo.jpg")`

    The protocol `demo` is that of the reference's demonstration program tools/scrfd.py:
    black padding before normalising, NMS with the +1 convention in pixels of the image,
    boxes may leave the image. `widerface` is that of the evaluation.

    Attributes:
        path: a model file (`.pt`) or an ONNX file (`.onnx`, on the CPU).
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        image_size: (height, width), or the side of a square, in pixels that the image is
            fitted into. An ONNX file that was exported for one size uses that instead.
        score_threshold: least score of a face, from 0 to below 1.
        nms_threshold: of two boxes with a higher IoU the better stays; None is the
            protocol's own (0.4 for `demo`, 0.45 for `widerface`).
        protocol: `demo` or `widerface`.
        threads: CPU threads of an ONNX file; None leaves the number to onnxruntime.

    Raises:
        ConfigError: a setting is out of range.
        DataError: the file is missing, damaged, or not a detector.
    """

    path: str | os.PathLike[str]
    device: str = "cpu"
    image_size: int | tuple[int, int] = 640
    score_threshold: float = DEMO_SCORE_THRESHOLD
    nms_threshold: float | None = None
    protocol: str = "demo"
    threads: int | None = None
    _predict: Predict = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            rule = f"protocol must be one of {', '.join(PROTOCOLS)}"
            raise ConfigError(f"{rule}, got {self.protocol!r}")
        if not 0 <= self.score_threshold <= 1:
            rule = "the score threshold must be from 0 to 1"
            raise ConfigError(f"{rule}, got {self.score_threshold}")
        usual = DEMO_NMS_THRESHOLD if self.protocol == "demo" else NMS_THRESHOLD
        self._nms = usual if self.nms_threshold is None else self.nms_threshold
        # Decoding keeps scores above a threshold, this class also those equal to it.
        below = float(np.nextafter(np.float32(self.score_threshold), np.float32(0)))
        self._thresholds = Thresholds(score=below, nms=self._nms)
        self._size = _size(self.image_size)
        self._predict, self._device = open_network(self.path, self.device, self.threads)
        if isinstance(self._predict, OnnxDetector):
            self._size = self._predict.fixed_size or self._size
        self.image_size = self._size

    @property
    def has_keypoints(self) -> bool:
        """Whether faces have key points."""
        if isinstance(self._predict, Detector):
            return self._predict.architecture.head.keypoints > 0
        return isinstance(self._predict, OnnxDetector) and self._predict.has_keypoints

    @overload
    def detect(self, image: ImageSource, max_faces: int | None = None) -> Detections: ...

    @overload
    def detect(
        self, image: list[Any] | tuple[ImageSource, ...], max_faces: int | None = None
    ) -> list[Detections]: ...

    def detect(
        self,
        image: ImageSource | list[Any] | tuple[ImageSource, ...],
        max_faces: int | None = None,
    ) -> Detections | list[Detections]:
        """Return the faces of an image, or of each image of a list, in pixels of the image.

        Images of a list may differ in size. On a GPU several pass through the network at once,
        which may change the last bits of the results.

        Args:
            image: uint8 RGB array (H, W, 3), a PIL image, the path of an image file, or a list or
                tuple of these. The EXIF orientation of a file is applied; a PIL image is taken
                as it is.
            max_faces: most faces to return. `demo` prefers large faces near the centre (area
                less twice the squared distance, in pixels) and returns them in that order;
                `widerface` prefers high scores.

        Returns:
            Faces sorted by score, best first; for a list, one result for each image, in order.

        Raises:
            TypeError: neither an image, nor a path, nor a list of these.
            DataError: not such an array, or a missing or broken file.
            TrialError: the network's outputs are not numbers.
        """
        if max_faces is not None and max_faces < 1:
            raise ConfigError(f"max_faces must be at least 1, got {max_faces}")
        height, width = self._size
        if self.protocol == "widerface" and height != width:
            raise ConfigError(f"protocol widerface needs a square, got {height} x {width}")
        images = list(image) if isinstance(image, list | tuple) else [image]
        for each in images:
            _require_image(each)
        found: list[Detections] = []
        usual = usual_batch_size(self._device)
        at_once = max(1, min(usual, usual * VGA_PIXELS // (height * width)))
        for start in range(0, len(images), at_once):
            batch = [_pixels(each) for each in images[start : start + at_once]]
            found += self._detect_batch(batch, max_faces)
        return found if isinstance(image, list | tuple) else found[0]

    def _detect_batch(self, images: list[Image], max_faces: int | None) -> list[Detections]:
        if self.protocol == "demo":
            return self._detect_demo(images, max_faces)
        found = detect_images(
            self._predict,
            images,
            input_size(str(self._size[0])),
            thresholds=self._thresholds,
            device=self._device,
        )
        return [each.select(np.arange(len(each))[:max_faces]) for each in found]

    def _detect_demo(self, images: list[Image], max_faces: int | None) -> list[Detections]:
        prepared = [_prepare_demo(image, self._size) for image in images]
        with torch.inference_mode():
            outputs = self._predict(normalised_batch(prepared, self._device).contiguous())
        results = []
        decoded = decode(outputs, thresholds=replace(self._thresholds, nms=None))
        for found, each, image_HW3 in zip(decoded, prepared, images, strict=True):
            found = found.scaled(1 / each.scale[0], 1 / each.scale[1])
            found = found.select(nms_plus_one(found.boxes_N4, found.scores_N, self._nms))
            if max_faces is not None and len(found) > max_faces:
                found = found.select(_prominent(found, image_HW3.shape[:2])[:max_faces])
            results.append(found)
        return results


def _prepare_demo(image_HW3: Image, size: tuple[int, int]) -> Prepared:
    """Return the image at the upper left of a black canvas.

    Both sides are scaled by the same number and rounded down; the canvas is enlarged to
    whole cells of the coarsest level.
    """
    height, width = image_HW3.shape[:2]
    new_height, new_width = size
    if height / width > size[0] / size[1]:
        new_width = max(1, int(size[0] / (height / width)))
    else:
        new_height = max(1, int(size[1] * (height / width)))
    rows, columns = (-(-side // MULTIPLE) * MULTIPLE for side in size)
    canvas_HW3 = np.zeros((rows, columns, 3), np.uint8)
    canvas_HW3[:new_height, :new_width] = resize(image_HW3, (new_height, new_width))
    scale = new_height / height
    return Prepared(pixels_HW3=canvas_HW3, padded=(rows, columns), scale=(scale, scale))


def _prominent(found: Detections, image_hw: tuple[int, int]) -> np.typing.NDArray[np.int64]:
    """Sort by area less twice the squared distance to the image's centre; return indices."""
    boxes_N4 = found.boxes_N4.astype(np.float64)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    center = np.array([image_hw[1] // 2, image_hw[0] // 2])
    offsets_N2 = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2 - center
    return np.argsort(-(sides_N2.prod(axis=1) - 2 * (offsets_N2**2).sum(axis=1)), kind="stable")


def _require_image(image: object) -> None:
    is_image = isinstance(image, str | os.PathLike | np.ndarray) or hasattr(image, "convert")
    if not is_image:
        taken = "the path of an image, a uint8 RGB array (H, W, 3), a PIL image or a list of these"
        raise TypeError(f"detect takes {taken}, got {type(image).__name__}")


def _pixels(image: ImageSource) -> Image:
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if hasattr(image, "convert"):  # a PIL image; the package itself is not needed
        image = np.asarray(image.convert("RGB"))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(f"an image is a uint8 RGB array (H, W, 3), got {image.dtype} {image.shape}")
    return image


def _size(value: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    if not all(MULTIPLE <= side <= LARGEST for side in (height, width)):
        rule = f"the image size must be {MULTIPLE} to {LARGEST} pixels"
        raise ConfigError(f"{rule}, got {height} x {width}")
    return height, width
