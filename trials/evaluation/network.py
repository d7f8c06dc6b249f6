"""Trained networks of torch and ONNX files behind one interface."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from search_spaces.errors import ConfigError
from search_spaces.network.head import HeadOutputs
from search_spaces.zoo import zoo_names
from trials.device import resolve_device
from trials.model_file import load_model
from trials.onnx.runtime import OnnxDetector

Predict: TypeAlias = Callable[[Tensor], HeadOutputs]
"""Normalised RGB images (B, 3, H, W), H and W multiples of 32, to raw predictions."""


def open_network(
    path: str | os.PathLike[str], device: str = "auto", threads: int | None = None
) -> tuple[Predict, torch.device]:
    """Open a trained network; return it and the device of its inputs.

    Args:
        path: a model file (`.pt`) or an ONNX file (`.onnx`), which runs on the CPU.
        device: `cpu`, `cuda`, `cuda:N` or `auto`.
        threads: CPU threads of an ONNX file; None leaves the number to onnxruntime.

    Raises:
        ConfigError: no such device, or a GPU for an ONNX file.
        DataError: missing, damaged, or not a detector.
    """
    if Path(path).suffix.lower() == ".onnx":
        if device not in ("auto", "cpu"):
            raise ConfigError(f"an ONNX model runs on the CPU, got device {device!r}")
        return OnnxDetector(path, threads), torch.device("cpu")
    if not os.path.exists(path) and os.fspath(path) in zoo_names():
        raise ConfigError(
            f"{path} is a built-in architecture without weights; give a model (.pt, .onnx): "
            f"`scrfd-nas train {path}` trains one, `scrfd-nas convert` reads released weights"
        )
    resolved = resolve_device(device)
    return load_model(path)[1].to(resolved), resolved
