"""An ONNX detector behind the same interface as a torch one (onnxruntime, optional).

Facts: REFERENCE section 10. Shapes: B images, H x W cells of a level, A = 2 H W anchors.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from search_spaces.errors import ConfigError, DataError
from search_spaces.network.head import HeadOutputs
from trials.detection.anchors import ANCHORS_PER_CELL, STRIDES, grids_for

VALUES = {"score": 1, "bbox": 4, "kps": 10}
"""Kinds of outputs (`score_8`, `bbox_8`, ...) and how many values an anchor has in each."""


class OnnxDetector:
    """A SCRFD ONNX file as a function from images to head outputs.

    The file's scores are probabilities; they are turned back into logits.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        """Open the file on the CPU.

        Args:
            path: the file; input (B, 3, H, W), outputs `score_8`, `bbox_8`, `kps_8`, ...
            threads: CPU threads; None leaves the number to onnxruntime.

        Raises:
            ConfigError: onnxruntime is not installed.
            DataError: no such file, not a valid model, or outputs of other names.
        """
        self.path = Path(path)
        self._session = _open_session(self.path, threads)
        self._input = self._session.get_inputs()[0].name
        names = {output.name for output in self._session.get_outputs()}
        self.has_keypoints = names.issuperset(_names("kps"))
        if missing := sorted({*_names("score"), *_names("bbox")} - names):
            raise DataError(f"{path}: is not a SCRFD model, it lacks the output {missing[0]}")

    def __call__(self, images_B3HW: Tensor) -> HeadOutputs:
        """Raw predictions for normalised RGB images whose sides are multiples of 32.

        Raises:
            DataError: the file does not accept this size or number of images.
        """
        pixels = np.ascontiguousarray(images_B3HW.cpu().numpy())
        kinds = [kind for kind in VALUES if kind != "kps" or self.has_keypoints]
        try:
            names = [name for kind in kinds for name in _names(kind)]
            arrays = self._session.run(names, {self._input: pixels})
        except Exception as error:  # onnxruntime has its own unexported types
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{self.path}: fails on input {pixels.shape} ({reason})") from error
        batch, _, height, width = pixels.shape
        found = iter(arrays)
        maps = {
            kind: [
                self._to_map(next(found), batch, *grid, ANCHORS_PER_CELL * VALUES[kind])
                for grid in grids_for(height, width)
            ]
            for kind in kinds
        }
        logits = [torch.logit(scores) for scores in maps["score"]]
        return HeadOutputs(scores=logits, boxes=maps["bbox"], keypoints=maps.get("kps"))

    def _to_map(self, values: Any, batch: int, rows: int, columns: int, channels: int) -> Tensor:
        """(B, A, v), or (A, v) from a file exported for one image, as (B, 2 v, H, W)."""
        flat = torch.from_numpy(values)
        if flat.numel() != batch * rows * columns * channels:
            raise DataError(
                f"{self.path}: an output of {tuple(flat.shape)} does not fit {batch} images "
                f"of {rows} x {columns} cells; was it exported for another size?"
            )
        return flat.reshape(batch, rows, columns, channels).permute(0, 3, 1, 2)


def _names(kind: str) -> list[str]:
    """Output names of one kind, one a level."""
    return [f"{kind}_{stride}" for stride in STRIDES]


def _open_session(path: Path, threads: int | None) -> Any:
    """An onnxruntime session on the CPU."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError("an .onnx model needs onnxruntime: pip install onnxruntime") from error
    if not path.is_file():
        raise DataError(f"{path}: no such model file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be opened as an ONNX model ({reason})") from error
