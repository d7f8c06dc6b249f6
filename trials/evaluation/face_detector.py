"""Face detection in single images with a trained model, for use from Python."""

import os
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from search_spaces.errors import ConfigError, DataError
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
    detect_image,
    input_size,
    normalised_batch,
)
from trials.evaluation.network import Predict, open_network
from trials.onnx.runtime import OnnxDetector
from trials.settings import LARGEST, MULTIPLE

DEMO_SCORE_THRESHOLD = 0.5
PROTOCOLS = ("demo", "widerface")


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

    def detect(
        self,
        image: Image | str | os.PathLike[str],
        max_faces: int | None = None,
    ) -> Detections:
        """Return the faces of one image, in its pixels, best score first.

        Args:
            image: uint8 RGB array (H, W, 3), a PIL image, or the path of an image file.
            max_faces: most faces to return. `demo` prefers large faces near the centre (area
                less twice the squared distance, in pixels) and returns them in that order;
                `widerface` prefers high scores.

        Raises:
            TypeError: neither an image nor a path.
            DataError: not such an array, or a missing or broken file.
            TrialError: the network's outputs are not numbers.
        """
        pixels_HW3 = _pixels(image)
        if max_faces is not None and max_faces < 1:
            raise ConfigError(f"max_faces must be at least 1, got {max_faces}")
        if self.protocol == "demo":
            return self._detect_demo(pixels_HW3, max_faces)
        height, width = self._size
        if height != width:
            raise ConfigError(f"protocol widerface needs a square, got {height} x {width}")
        found = detect_image(
            self._predict,
            pixels_HW3,
            input_size(str(height)),
            thresholds=self._thresholds,
            device=self._device,
        )
        return found.select(np.arange(len(found))[:max_faces])

    def _detect_demo(self, image_HW3: Image, max_faces: int | None) -> Detections:
        prepared = _prepare_demo(image_HW3, self._size)
        with torch.inference_mode():
            outputs = self._predict(normalised_batch([prepared], self._device).contiguous())
        found = decode(outputs, thresholds=replace(self._thresholds, nms=None))[0]
        found = found.scaled(1 / prepared.scale[0], 1 / prepared.scale[1])
        kept = nms_plus_one(found.boxes_N4, found.scores_N, self._nms)
        found = found.select(kept)
        if max_faces is None or len(found) <= max_faces:
            return found
        return found.select(_prominent(found, image_HW3.shape[:2])[:max_faces])


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


def _pixels(image: Image | str | os.PathLike[str]) -> Image:
    if isinstance(image, str | os.PathLike):
        return read_image(image)
    if hasattr(image, "convert"):  # a PIL image; the package itself is not needed
        image = np.asarray(image.convert("RGB"))
    if not isinstance(image, np.ndarray):
        taken = "the path of an image, a uint8 RGB array (H, W, 3) or a PIL image"
        raise TypeError(f"detect takes {taken}, got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(f"an image is a uint8 RGB array (H, W, 3), got {image.dtype} {image.shape}")
    return image


def _size(value: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    if not all(MULTIPLE <= side <= LARGEST for side in (height, width)):
        rule = f"the image size must be {MULTIPLE} to {LARGEST} pixels"
        raise ConfigError(f"{rule}, got {height} x {width}")
    return height, width
