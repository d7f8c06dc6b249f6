"""Finding faces in images: a small class over a trained model, for use from Python."""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from search_spaces.errors import ConfigError, DataError
from trials.data.images import Image, normalise, read_image, resize_bilinear
from trials.detection.decoding import (
    DEMO_NMS_THRESHOLD,
    NMS_THRESHOLD,
    Detections,
    decode,
    nms_plus_one,
)
from trials.device import resolve_device
from trials.evaluation.inference import Predict, Thresholds, detect_image, input_size
from trials.model_file import load_model
from trials.onnx.runtime import OnnxDetector

DEMO_SCORE_THRESHOLD = 0.5
PROTOCOLS = ("demo", "widerface")
MULTIPLE = 32
SMALLEST, LARGEST = 32, 8192


class FaceDetector:
    """A model file as a function from an image to faces.

    `detector = FaceDetector("model.pt"); faces = detector.detect("photo.jpg")`

    Two protocols (REFERENCE facts, section 9): `demo` is that of SCRFD's demonstration
    programs: black padding before normalising, NMS with the +1 convention in pixels of the
    image, boxes may leave the image. `widerface` is that of the evaluation.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str = "cpu",
        image_size: int | tuple[int, int] = 640,
        score_threshold: float = DEMO_SCORE_THRESHOLD,
        nms_threshold: float | None = None,
        protocol: str = "demo",
        threads: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            path: a model file (`.pt`) or an ONNX file (`.onnx`, on the CPU).
            device: `cpu`, `cuda`, `cuda:N` or `auto`.
            image_size: the image is fitted into this (height, width), or square, in pixels.
                An ONNX file that was exported for one size uses that instead.
            score_threshold: faces have at least this score, from 0 to below 1.
            nms_threshold: of two boxes with a higher IoU the better stays; None is the
                protocol's own (0.4 for `demo`, 0.45 for `widerface`).
            protocol: `demo` or `widerface`.
            threads: CPU threads of an ONNX file; None leaves it to onnxruntime.

        Raises:
            ConfigError: a bad setting, or onnxruntime is not installed.
            DataError: missing, damaged, or not a detector.
        """
        if protocol not in PROTOCOLS:
            raise ConfigError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
        if nms_threshold is None:
            nms_threshold = DEMO_NMS_THRESHOLD if protocol == "demo" else NMS_THRESHOLD
        self.protocol = protocol
        self.score_threshold = _fraction("score threshold", score_threshold)
        self.nms_threshold = _fraction("NMS threshold", nms_threshold)
        self.image_size = _size(image_size)
        self.device = torch.device("cpu")
        self._predict = self._load(Path(path), device, threads)

    def detect(
        self,
        image: Image | str | os.PathLike[str],
        max_faces: int | None = None,
    ) -> Detections:
        """The faces of one image, in its pixels, best score first.

        Args:
            image: uint8 RGB array (H, W, 3), or the path of an image file.
            max_faces: the most to return. `demo` prefers large faces near the centre (area
                less twice the squared distance, in pixels) and returns them in that order;
                `widerface` prefers high scores.

        Raises:
            DataError: not such an array, or a missing or broken file.
            TrialError: the network's outputs are not numbers.
        """
        pixels_HW3 = _pixels(image)
        if max_faces is not None and max_faces < 1:
            raise ConfigError(f"max_faces must be at least 1, got {max_faces}")
        if self.protocol == "demo":
            return self._detect_demo(pixels_HW3, max_faces)
        height, width = self.image_size
        if height != width:
            raise ConfigError(f"protocol widerface needs a square, got {height} x {width}")
        limits = Thresholds(score=_below(self.score_threshold), nms=self.nms_threshold)
        size = input_size(str(height))
        found = detect_image(self._predict, pixels_HW3, size, thresholds=limits, device=self.device)
        return found.select(np.arange(len(found))[:max_faces])

    def _load(self, path: Path, device: str, threads: int | None) -> Predict:
        if path.suffix.lower() == ".onnx":
            if device not in ("cpu", "auto"):
                raise ConfigError(f"an ONNX file runs on the CPU here, got device {device!r}")
            network = _OnnxNetwork(path, threads)
            self.image_size = network.fixed_size or self.image_size
            return network
        self.device = resolve_device(device)
        _, detector = load_model(path)
        return detector.to(self.device)

    def _detect_demo(self, image_HW3: Image, max_faces: int | None) -> Detections:
        input_3HW, scale = _fit(image_HW3, self.image_size)
        with torch.inference_mode():
            outputs = self._predict(input_3HW[None].to(self.device))
        threshold = _below(self.score_threshold)
        found = decode(outputs, score_threshold=threshold, nms_threshold=None)[0]
        found = found.scaled(1 / scale, 1 / scale)
        found = found.select(nms_plus_one(found.boxes_N4, found.scores_N, self.nms_threshold))
        if max_faces is None or len(found) <= max_faces:
            return found
        return found.select(_prominent(found, image_HW3.shape[:2])[:max_faces])


class _OnnxNetwork(OnnxDetector):
    """An ONNX detector that knows whether it takes only one size."""

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(height, width) of the only input size; None if the file takes any."""
        height, width = self._session.get_inputs()[0].shape[2:]
        is_fixed = isinstance(height, int) and isinstance(width, int)
        return (height, width) if is_fixed else None


def _fit(image_HW3: Image, size: tuple[int, int]) -> tuple[Tensor, float]:
    """The image at the upper left of a black canvas, normalised, and the enlargement.

    Both sides are scaled by the same number, rounded down to pixels; the canvas is enlarged
    to whole cells of the coarsest level.
    """
    height, width = image_HW3.shape[:2]
    new_height, new_width = size
    if height / width > size[0] / size[1]:
        new_width = max(1, int(size[0] / (height / width)))
    else:
        new_height = max(1, int(size[1] * (height / width)))
    rows, columns = (-(-side // MULTIPLE) * MULTIPLE for side in size)
    canvas_HW3 = np.zeros((rows, columns, 3), np.uint8)
    canvas_HW3[:new_height, :new_width] = resize_bilinear(image_HW3, (new_height, new_width))
    return normalise(canvas_HW3), new_height / height


def _prominent(found: Detections, image_hw: tuple[int, int]) -> np.typing.NDArray[np.int64]:
    """Detections by area less twice the squared distance to the image's centre."""
    boxes_N4 = found.boxes_N4.astype(np.float64)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    center = np.array([image_hw[1] // 2, image_hw[0] // 2])
    offsets_N2 = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2 - center
    return np.argsort(-(sides_N2.prod(axis=1) - 2 * (offsets_N2**2).sum(axis=1)), kind="stable")


def _pixels(image: Image | str | os.PathLike[str]) -> Image:
    if not isinstance(image, np.ndarray):
        return read_image(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(f"an image is a uint8 RGB array (H, W, 3), got {image.dtype} {image.shape}")
    return image


def _below(threshold: float) -> float:
    """The float32 before `threshold`: decoding keeps what is above it, here it is at least."""
    return float(np.nextafter(np.float32(threshold), np.float32(0)))


def _fraction(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"the {name} must be from 0 to 1, got {value}")
    return float(value)


def _size(value: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (value, value) if isinstance(value, int) else value
    if not all(SMALLEST <= side <= LARGEST for side in (height, width)):
        rule = f"the image size must be {SMALLEST} to {LARGEST} pixels"
        raise ConfigError(f"{rule}, got {height} x {width}")
    return height, width
