"""Running ONNX files with onnxruntime on the CPU.

Shapes: B images, H x W cells of a level, A = 2 H W anchors.
"""

import os
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from search_spaces.errors import DataError, counted
from search_spaces.network.head import HeadOutputs
from trials.detection.anchors import ANCHORS_PER_CELL, grids_for
from trials.onnx.graph_writer import VALUES
from trials.onnx.model_content import model_content
from trials.onnx.outputs import outputs_by_kind

# Code and place in the source that onnxruntime puts before its messages.
_PLACES = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+:\d+ [^()]*\([^()]*\) ")


class OnnxSession:
    """An ONNX file, or its content, that is ready to run."""

    def __init__(self, model: str | os.PathLike[str] | bytes, threads: int | None = None) -> None:
        """Open a model.

        Args:
            model: the path of a file, or the content of one.
            threads: CPU threads; None leaves the number to onnxruntime.

        Raises:
            DataError: as `model_content`, or not a valid model.
        """
        import onnxruntime

        self.name = "the exported network" if isinstance(model, bytes) else str(model)
        content = model if isinstance(model, bytes) else model_content(model)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has its own unexported types
            raise self._fault("cannot be opened by onnxruntime", error) from error
        found = self._session.get_outputs()
        self.outputs = [output.name for output in found]
        self.shapes = [tuple(output.shape) for output in found]

    @property
    def input_size(self) -> tuple[int | None, int | None]:
        """Height and width of the input in pixels, each None where any is accepted."""
        shape = self._session.get_inputs()[0].shape
        height, width = shape[2:] if len(shape) == 4 else (None, None)
        return (
            height if isinstance(height, int) else None,
            width if isinstance(width, int) else None,
        )

    def run(
        self, images_B3HW: npt.NDArray[np.float32], outputs: list[str] | None = None
    ) -> list[Any]:
        """Return the arrays of the named outputs, or of all of them.

        Raises:
            DataError: the file does not accept this size or number of images.
        """
        name = self._session.get_inputs()[0].name
        try:
            arrays: list[Any] = self._session.run(outputs, {name: images_B3HW})
        except Exception as error:
            batch, _, height, width = images_B3HW.shape
            place = f"fails on {height} x {width} pixels, {counted(batch, 'image')} at once"
            raise self._fault(place, error) from error
        return arrays

    def _fault(self, what: str, error: Exception) -> DataError:
        reason = " ".join(_PLACES.sub("", str(error)).split())[:200]
        return DataError(f"{self.name}: {what} ({reason})")


class OnnxDetector:
    """A SCRFD ONNX file as a function from images to head outputs, as a torch detector is.

    The file's scores are probabilities; they are turned back into logits.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        """Open a file with input (B, 3, H, W), outputs (B, A, 1), (B, A, 4), maybe (B, A, 10).

        Raises:
            DataError: no such file, not a valid model, or other outputs.
        """
        self._session = OnnxSession(path, threads)
        session = self._session
        self._outputs = outputs_by_kind(session.outputs, session.shapes, session.name)
        self.has_keypoints = "kps" in self._outputs

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """Height and width of the only input size in pixels; None if the file takes any."""
        height, width = self._session.input_size
        return None if height is None or width is None else (height, width)

    def __call__(self, images_B3HW: Tensor) -> HeadOutputs:
        """Return raw predictions for normalised RGB images whose sides are multiples of 32.

        Raises:
            DataError: the file does not accept this size or number of images.
        """
        pixels = np.ascontiguousarray(images_B3HW.cpu().numpy())
        wanted = [name for names in self._outputs.values() for name in names]
        arrays = dict(zip(wanted, self._session.run(pixels, wanted), strict=True))
        batch, _, height, width = pixels.shape
        maps = {
            kind: [
                self._to_map(values, (batch, *grid, ANCHORS_PER_CELL * VALUES[kind]))
                for values, grid in zip(
                    sorted((arrays[name] for name in names), key=np.size, reverse=True),
                    grids_for(height, width),
                    strict=True,
                )
            ]
            for kind, names in self._outputs.items()
        }
        logits = [torch.logit(scores) for scores in maps["score"]]
        return HeadOutputs(scores=logits, boxes=maps["bbox"], keypoints=maps.get("kps"))

    def _to_map(self, values: Any, shape: tuple[int, int, int, int]) -> Tensor:
        """Return (B, A, v), or (A, v) from a file exported for one image, as (B, 2 v, H, W)."""
        flat = torch.from_numpy(values)
        batch, rows, columns, channels = shape
        if flat.numel() != batch * rows * columns * channels:
            raise DataError(
                f"{self._session.name}: an output of {tuple(flat.shape)} does not fit {batch} "
                f"images of {rows} x {columns} cells; was it exported for another size?"
            )
        return flat.reshape(shape).permute(0, 3, 1, 2)
