"""Export of a detector as an ONNX file that existing SCRFD runtimes take.

Names and layout of inputs and outputs are those of the reference's tools/scrfd2onnx.py.
Shapes: B images, H x W pixels.
"""

import math
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from search_spaces.errors import ConfigError, TrialError
from search_spaces.files import replacing
from search_spaces.network.detector import Detector
from trials.onnx.graph_writer import build_model
from trials.onnx.outputs import usual_order
from trials.onnx.runtime import OnnxSession
from trials.settings import LARGEST, MULTIPLE

TOLERANCE = 1e-4
_CHECKED_SIZES = ((2, 160, 192), (1, 96, 64))
_OPEN_SIDE = 160


def export_onnx(
    detector: Detector,
    path: str | os.PathLike[str],
    shape: tuple[int, int] | None = None,
) -> float:
    """Write `detector` to `path` after comparing the file's outputs with the network's.

    The input `input.1` is (B, 3, H, W), normalised RGB. The outputs are `score_8`,
    `score_16`, `score_32` (B, 2 H/s W/s, 1) after the sigmoid, `bbox_*` (.., 4) in units of
    the stride, and for a detector with key points `kps_*` (.., 10). B is always open.

    Args:
        detector: on the CPU; it is exported in evaluation mode and left in its mode.
        path: written whole, or not at all.
        shape: fixed (H, W), multiples of 32; None leaves both open.

    Returns:
        The largest difference between both, relative to 1 + the network's largest value.

    Raises:
        ConfigError: a bad shape.
        TrialError: the file does not compute what the network does; nothing is written.
    """
    _check_shape(shape)
    sizes = _CHECKED_SIZES if shape is None else [(batch, *shape) for batch in (1, 2)]
    was_training = detector.training
    detector.eval()
    try:
        content = onnx_bytes(detector, shape)
        difference = _compare(detector, OnnxSession(content), sizes)
    finally:
        detector.train(was_training)
    if not difference <= TOLERANCE:
        raise TrialError(
            f"{path}: was not written: the ONNX graph's outputs differ from the network's by "
            f"{difference:.2g}, at most {TOLERANCE} is allowed; check that the weights are finite"
        )
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return difference


def onnx_bytes(detector: Detector, shape: tuple[int, int] | None = None) -> bytes:
    """Return the content of an ONNX file of `detector`, which is put into evaluation mode.

    Nothing is checked; arguments as for `export_onnx`.
    """
    return bytes(build_model(detector.eval(), shape).SerializeToString())


def flat_outputs(detector: Detector, images_B3HW: Tensor) -> list[Tensor]:
    """Return the tensors that the ONNX file of `detector` gives, in its order."""
    with torch.inference_mode():
        outputs = detector(images_B3HW)
    scores = [_flat(level, 1).sigmoid() for level in outputs.scores]
    boxes = [_flat(level, 4) for level in outputs.boxes]
    return scores + boxes + [_flat(level, 10) for level in outputs.keypoints or []]


def _flat(values: Tensor, last: int) -> Tensor:
    """Return (B, 2 v, H, W) as (B, 2 H W, v)."""
    return values.permute(0, 2, 3, 1).reshape(values.shape[0], -1, last)


def _check_shape(shape: Sequence[int] | None) -> None:
    if shape is None:
        return
    if len(shape) != 2 or any(side % MULTIPLE or not 0 < side <= LARGEST for side in shape):
        rule = f"the shape must be a height and a width, multiples of {MULTIPLE} up to {LARGEST}"
        raise ConfigError(f"{rule}, got {' x '.join(map(str, shape))}")


def compare_with_onnx(detector: Detector, path: str | os.PathLike[str]) -> float:
    """Return the largest difference of a detector's outputs from those of a SCRFD ONNX file.

    Outputs are compared in the usual order, so that their names do not matter; a file without
    a batch dimension in its outputs is compared on one image.

    Raises:
        DataError: onnxruntime cannot open or run the file.
    """
    session = OnnxSession(path)
    height, width = (side or _OPEN_SIDE for side in session.input_size)
    return _compare(detector, session, [(1, height, width)])


def _compare(
    detector: Detector, session: OnnxSession, sizes: Sequence[tuple[int, int, int]]
) -> float:
    """Return the largest relative difference over random inputs of sizes (B, H, W)."""
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for batch, height, width in sizes:
        images_B3HW = torch.randn(batch, 3, height, width, generator=generator)
        names = usual_order(session.outputs, session.shapes)
        arrays = session.run(images_B3HW.numpy(), names)
        wanted = flat_outputs(detector, images_B3HW)
        if len(arrays) != len(wanted):
            return float("inf")
        for array, values in zip(arrays, wanted, strict=True):
            got = torch.from_numpy(array)
            worst = max(worst, _difference(got[None] if got.ndim == 2 else got, values))
    return worst


def _difference(got: Tensor, wanted: Tensor) -> float:
    """Return the relative difference; infinite for other shapes or a value that is not finite."""
    if got.shape != wanted.shape:
        return float("inf")
    worst = float((got - wanted).abs().max() / (1 + wanted.abs().max()))
    return worst if math.isfinite(worst) else float("inf")
