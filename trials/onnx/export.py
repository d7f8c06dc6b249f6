"""Exporting a detector as an ONNX file that existing SCRFD runtimes take.

Source: REFERENCE facts of SCRFD, section 10. Shapes: B images, H x W pixels.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search_spaces.errors import ConfigError, DataError, TrialError
from search_spaces.files import replacing
from search_spaces.network.detector import Detector
from trials.onnx.graph_writer import build_model
from trials.onnx.package import import_onnx, import_onnxruntime

MULTIPLE = 32
LARGEST = 8192
TOLERANCE = 1e-4
_CHECKED_SIZES = ((2, 160, 192), (1, 96, 64))


def export_onnx(
    detector: Detector,
    path: str | os.PathLike[str],
    shape: tuple[int, int] | None = None,
) -> float:
    """Write `detector` to `path` after comparing the file's outputs with the network's.

    Input `input.1` (B, 3, H, W), normalised RGB; outputs `score_8`, `score_16`, `score_32`
    (B, 2 H/s W/s, 1) after the sigmoid, `bbox_*` (.., 4) in units of the stride, and for a
    detector with key points `kps_*` (.., 10). B is open in every case.

    Args:
        detector: on the CPU; it is exported in evaluation mode.
        path: written whole, or not at all.
        shape: fixed (H, W), multiples of 32; None leaves both open.

    Returns:
        The largest difference between both, relative to 1 + the network's largest value.

    Raises:
        ConfigError: a bad shape, or onnx or onnxruntime is not installed.
        TrialError: the file does not compute what the network does; nothing is written.
    """
    _check_shape(shape)
    import_onnxruntime()
    was_training = detector.training
    detector.eval()
    try:
        content = build_model(detector, shape).SerializeToString()
        difference = _compare(detector, _session(content), _sizes(shape))
    finally:
        detector.train(was_training)
    if not difference <= TOLERANCE:
        raise TrialError(
            f"{path}: was not written: the ONNX graph's outputs differ from the network's by "
            f"{difference:.2g}, {TOLERANCE} is allowed; are the weights finite?"
        )
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return difference


def onnx_bytes(detector: Detector, shape: tuple[int, int] | None = None) -> bytes:
    """The content of an ONNX file of `detector`, unchecked (for timing)."""
    import_onnx()
    return bytes(build_model(detector.eval(), shape).SerializeToString())


def flat_outputs(detector: Detector, images_B3HW: Tensor) -> list[Tensor]:
    """What the ONNX file of `detector` gives for `images_B3HW`: tensors in its order."""
    with torch.inference_mode():
        outputs = detector(images_B3HW)
    scores = [_flat(level, 1).sigmoid() for level in outputs.scores]
    boxes = [_flat(level, 4) for level in outputs.boxes]
    return scores + boxes + [_flat(level, 10) for level in outputs.keypoints or []]


def _flat(values: Tensor, last: int) -> Tensor:
    """(B, 2 v, H, W) as (B, 2 H W, v)."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, last)


def _check_shape(shape: Sequence[int] | None) -> None:
    if shape is None:
        return
    if len(shape) != 2 or any(side % MULTIPLE or not 0 < side <= LARGEST for side in shape):
        rule = f"the shape must be a height and a width, multiples of {MULTIPLE} up to {LARGEST}"
        raise ConfigError(f"{rule}, got {' x '.join(map(str, shape))}")


def _sizes(shape: tuple[int, int] | None) -> list[tuple[int, int, int]]:
    """Inputs (B, H, W) on which file and network must agree."""
    return list(_CHECKED_SIZES) if shape is None else [(1, *shape), (2, *shape)]


def compare_with_onnx(detector: Detector, path: str | os.PathLike[str]) -> float:
    """The largest difference of a detector's outputs to those of a SCRFD ONNX file.

    Outputs are compared by position, so that their names do not matter; a file without a
    batch dimension in its outputs is compared on one image.

    Raises:
        ConfigError: onnxruntime is not installed.
        DataError: onnxruntime cannot open or run the file.
    """
    try:
        session = _session(str(path))
        shape = session.get_inputs()[0].shape
        height, width = (side if isinstance(side, int) else 160 for side in shape[2:])
        return _compare(detector, session, [(1, height, width)])
    except ConfigError:
        raise
    except Exception as error:  # onnxruntime has its own unexported types
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be run by onnxruntime ({reason})") from error


def _compare(detector: Detector, session: Any, sizes: list[tuple[int, int, int]]) -> float:
    """The largest relative difference over random inputs of the given sizes."""
    name = session.get_inputs()[0].name
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, height, width in sizes:
        images_B3HW = torch.randn(batch, 3, height, width, generator=generator)
        arrays = session.run(None, {name: images_B3HW.numpy()})
        wanted = flat_outputs(detector, images_B3HW)
        if len(arrays) != len(wanted):
            return float("inf")
        for array, values in zip(arrays, wanted, strict=True):
            got = torch.from_numpy(array)
            worst = max(worst, _difference(got[None] if got.ndim == 2 else got, values))
    return worst


def _difference(got: Tensor, wanted: Tensor) -> float:
    """Infinite where shapes differ or a value is not a number."""
    if got.shape != wanted.shape:
        return float("inf")
    worst = float((got - wanted).abs().max() / (1 + wanted.abs().max()))
    return worst if np.isfinite(worst) else float("inf")


def _session(content: bytes | str) -> Any:
    """An onnxruntime session on the CPU for a file's content or its path."""
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
