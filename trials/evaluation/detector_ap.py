"""The WIDER FACE AP of a detector: of a network in memory, or of a model file."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from search_spaces.errors import ConfigError
from search_spaces.network.detector import Detector
from trials.data.ground_truth import to_xywh
from trials.detection.folding import folded
from trials.device import available_cores, limited_threads
from trials.evaluation.evaluated_images import EvaluatedImages, load_validation
from trials.evaluation.inference import (
    InputSize,
    detect_files,
    detect_in_threads,
    input_size,
    usual_batch_size,
)
from trials.evaluation.network import Predict, open_network
from trials.evaluation.widerface_ap import evaluate
from trials.result import BEST, APs

DEFAULT_SIZE = 640
MOST_READERS = 8
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Result of evaluating a detector.

    Attributes:
        aps: average precisions as fractions; 0 for a subset in which no face counts.
        predictions: image name `event/file` -> (N, 5) float64 x, y, width, height, score in
            pixels of the image, best score first.
        face_counts: how many faces count in `easy`, `medium`, `hard`.
        seconds: wall time of inference and evaluation.
    """

    aps: APs
    predictions: Mapping[str, NDArray[np.float64]]
    face_counts: Mapping[str, int]
    seconds: float


def evaluate_detector(
    detector: Predict,
    images: EvaluatedImages,
    size: InputSize,
    *,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    readers: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate by the WIDER FACE protocol.

    Args:
        detector: a `Detector`, of which a copy is used (see `trials.detection.folding`), or
            any other function from images to head outputs, which is used as it is.
        images: from `trials.evaluation.evaluated_images`.
        size: from `trials.evaluation.inference.input_size`.
        device: where the detector computes.
        batch_size: images in one call of the detector. None means 8 on a GPU; on a CPU it means
            as many calls at the same time as torch has threads, each of one image.
        readers: threads that decode ahead of batches; None means up to 8 beside a GPU.
        progress: called with (images done, images) after each image.

    Raises:
        DataError: an image is missing or broken.
        TrialError: the detector's outputs are not numbers.
    """
    started, device = time.perf_counter(), torch.device(device)
    network = folded(detector).to(device) if isinstance(detector, Detector) else detector
    if device.type == "cpu" and batch_size is None and readers is None:
        found = detect_in_threads(network, images.paths, size, torch.get_num_threads())
    else:
        if readers is None:
            readers = 0 if device.type == "cpu" else min(MOST_READERS, available_cores())
        batch_size = usual_batch_size(device) if batch_size is None else batch_size
        found = detect_files(
            network, images.paths, size, device=device, batch_size=batch_size, readers=readers
        )
    predictions: dict[str, NDArray[np.float64]] = {}
    with closing(found):  # type: ignore[type-var]
        for name, detections in zip(images.truth.names, found, strict=True):
            boxes_N4 = to_xywh(detections.boxes_N4)
            predictions[name] = np.column_stack((boxes_N4, detections.scores_N.astype(np.float64)))
            if progress is not None:
                progress(len(predictions), len(images.paths))
    return Evaluation(
        aps=evaluate(predictions, images.truth),
        predictions=predictions,
        face_counts=images.truth.face_counts,
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """A model file, the data to evaluate it on, and the settings.

    Attributes:
        model: a `.pt` or `.onnx` file, or a trial's folder, whose `best.pt` is meant.
        data: holds `<split>/images`, `<split>/labelv2.txt` and `<split>/gt/*.mat`.
        split: folder below `data`.
        mode: see `trials.evaluation.inference.input_size`.
        image_size: long side in mode `vga`, None for 640; must be None in other modes.
        batch_size: see `evaluate_detector`; 1 is the only one that every ONNX file takes.
        device: of torch; ONNX models run on the CPU.
        threads: CPU threads; None leaves them to torch or onnxruntime.
    """

    model: Path
    data: Path
    split: str = "val"
    mode: str = "vga"
    image_size: int | None = None
    batch_size: int | None = None
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.image_size is not None and self.mode != "vga":
            rule = "image_size belongs to mode vga; a number as mode is the size itself"
            raise ConfigError(f"{rule}, got image_size {self.image_size} and mode {self.mode!r}")
        _ = self.size  # raises for a bad mode or size

    @property
    def file(self) -> Path:
        """The model file."""
        return self.model / BEST if self.model.is_dir() else self.model

    @property
    def size(self) -> InputSize:
        """How images become network inputs."""
        return input_size(self.mode, self.image_size or DEFAULT_SIZE)


def evaluate_model(request: EvaluationRequest, progress: Progress | None = None) -> Evaluation:
    """Evaluate a model file in float32, without the shortcuts that a GPU takes by default.

    Raises:
        ConfigError: no such device, or a GPU for an ONNX file.
        DataError: a model, image, label or ground-truth file is missing or broken.
        TrialError: the model's outputs are not numbers.
    """
    with limited_threads(request.threads), _exact_float32():
        at_once = 1 if request.batch_size is None else request.threads  # see evaluate_detector
        network, device = open_network(request.file, request.device, at_once)
        return evaluate_detector(
            network,
            load_validation(request.data, request.split),
            request.size,
            device=device,
            batch_size=request.batch_size,
            progress=progress,
        )


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Turn off TF32, which keeps 10 bits of a factor and which cuDNN uses by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
