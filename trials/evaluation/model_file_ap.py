"""The WIDER FACE AP of a model file, torch or ONNX, in one of the test modes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from search_spaces.errors import ConfigError
from trials.device import limited_threads, resolve_device
from trials.evaluation.inference import Predict, input_size
from trials.evaluation.validation import Evaluation, Progress, evaluate_detector
from trials.model_file import load_model
from trials.onnx.runtime import OnnxDetector

BEST = "best.pt"
DEFAULT_SIZE = 640


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What to evaluate, and how.

    Attributes:
        model: a `.pt` or `.onnx` file, or a trial's folder, whose `best.pt` is meant.
        data: holds `<split>/images`, `<split>/labelv2.txt` and `<split>/gt/*.mat`.
        split: folder below `data`.
        mode: see `trials.evaluation.inference.input_size`.
        image_size: long side in mode `vga`; None is 640 there, and a must elsewhere.
        batch_size: None: 8 on a GPU; 1 otherwise, which is fastest there and which every
            ONNX file takes.
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
        input_size(self.mode, self.image_size or DEFAULT_SIZE)
        if self.is_onnx and self.device not in ("auto", "cpu"):
            raise ConfigError(f"an ONNX model runs on the CPU, got device {self.device!r}")

    @property
    def file(self) -> Path:
        """The model file."""
        return self.model / BEST if self.model.is_dir() else self.model

    @property
    def is_onnx(self) -> bool:
        """Whether the file is an ONNX model, by its name."""
        return self.file.suffix.lower() == ".onnx"

    @property
    def long_edge(self) -> int | None:
        """The long side that images are resized to; None in mode `original`."""
        return input_size(self.mode, self.image_size or DEFAULT_SIZE).long_edge or None


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelEvaluation:
    """An evaluation, its model file, and the wall time in seconds."""

    evaluation: Evaluation
    file: Path
    seconds: float


def evaluate_model(request: EvaluationRequest, progress: Progress | None = None) -> ModelEvaluation:
    """Evaluate in float32, without the shortcuts that a GPU takes by default.

    Raises:
        ConfigError: no such device.
        DataError: a model, image, label or ground-truth file is missing or broken.
        TrialError: the model's outputs are not numbers.
    """
    device = torch.device("cpu") if request.is_onnx else resolve_device(request.device)
    with limited_threads(request.threads), _exact_float32():
        detector = _open(request)
        started = time.perf_counter()
        evaluation = evaluate_detector(
            detector,
            request.data,
            mode=request.mode,
            image_size=request.image_size or DEFAULT_SIZE,
            device=device,
            batch_size=request.batch_size,
            progress=progress,
            split=request.split,
        )
        seconds = time.perf_counter() - started
    return ModelEvaluation(evaluation=evaluation, file=request.file, seconds=seconds)


def _open(request: EvaluationRequest) -> Predict:
    if request.is_onnx:
        return OnnxDetector(request.file, request.threads)
    _, detector = load_model(request.file)
    predict: Predict = detector.to(memory_format=torch.channels_last)
    return predict


@contextmanager
def _exact_float32() -> Iterator[None]:
    """Without TF32, which keeps 10 bits of a factor and which cuDNN uses by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
