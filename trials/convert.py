"""Converting SCRFD models of other programs (ONNX, mmdetection checkpoints) to ours."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, DataError
from search_spaces.mmdet.config_reader import architecture_from_mmdet
from search_spaces.network.detector import Detector
from search_spaces.network.recognise import known_name, recognise
from search_spaces.network.reference_keys import UNUSED_REFERENCE_KEYS, from_reference
from trials.model_file import build_claimed, read_tensors, save_model
from trials.onnx.export import compare_with_onnx
from trials.onnx.network_import import read_onnx

ONNX_TOLERANCE = 1e-3
CHECKPOINTS = (".pth", ".pt", ".pkl")


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was converted.

    Attributes:
        architecture: recognised, with the built-in name where it is one of the family.
        tensors: how many tensors were mapped.
        ignored: names of the source that carry nothing (documented as unused).
        difference: largest difference of the outputs to the ONNX file's own, relative to
            1 + their largest value; None where the source cannot be run.
    """

    architecture: Architecture
    tensors: int
    ignored: tuple[str, ...]
    difference: float | None


def convert_model(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    architecture: Architecture | None = None,
) -> Conversion:
    """Convert a SCRFD `.onnx` file or mmdetection `.pth` checkpoint to a model file.

    Every weight must find its place and every place its weight. An ONNX file is run beside
    the result to prove that both compute the same.

    Args:
        source: the file; its suffix says which kind it is.
        out: the model file, written atomically.
        architecture: what the source is of; None recognises it.

    Raises:
        ConfigError: another architecture than given, or a missing optional package.
        DataError: damaged, not a SCRFD model, or weights left over or missing.
    """
    path = Path(source)
    if path.suffix.lower() == ".onnx":
        conversion, detector = _from_onnx(path, architecture)
    elif path.suffix.lower() in CHECKPOINTS:
        conversion, detector = _from_checkpoint(path, architecture)
    else:
        raise ConfigError(f"{path}: can convert .onnx and .pth files, got {path.suffix!r}")
    meta = {"converted_from": path.name}
    save_model(out, conversion.architecture, detector.state_dict(), meta)
    return conversion


def _from_onnx(path: Path, wanted: Architecture | None) -> tuple[Conversion, Detector]:
    found, weights = read_onnx(path)
    architecture = _agreed(found, wanted, path)
    detector = _loaded(architecture, weights, path)
    difference = compare_with_onnx(detector, path)
    if not difference <= ONNX_TOLERANCE:
        raise DataError(
            f"{path}: the converted network's outputs differ from the file's by "
            f"{difference:.2g} (at most {ONNX_TOLERANCE} is allowed); it is no plain SCRFD model"
        )
    conversion = Conversion(
        architecture=architecture, tensors=len(weights), ignored=(), difference=difference
    )
    return conversion, detector


def _from_checkpoint(path: Path, wanted: Architecture | None) -> tuple[Conversion, Detector]:
    content = read_tensors(path)
    weights = _state_dict(content, path)
    found = wanted or _recognised(content, weights, path)
    architecture = _named(found)
    places = build_claimed(architecture, path).state_dict()
    try:
        ours = from_reference(weights, places, architecture)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error
    detector = _loaded(architecture, ours, path)
    ignored = tuple(name for name in UNUSED_REFERENCE_KEYS if name in weights)
    conversion = Conversion(
        architecture=architecture, tensors=len(ours), ignored=ignored, difference=None
    )
    return conversion, detector


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the reference's names."""
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise DataError(f"{path}: is not a checkpoint of mmdetection, it has no state_dict")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(f"{path}: is not a checkpoint of mmdetection: {name!r} is no tensor")
    return {name.removeprefix("module."): value for name, value in weights.items()}


def _recognised(content: Any, weights: Mapping[str, Tensor], path: Path) -> Architecture:
    """From the configuration inside the checkpoint for GroupNorm's groups, and the shapes."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    text = meta.get("config") if isinstance(meta, Mapping) else None
    groups = None
    if isinstance(text, str):
        with suppress(ConfigError):  # of another kind: then the shapes alone must do
            groups = architecture_from_mmdet(text, str(path)).head.groups or None
    try:
        return recognise(weights, str(path), groups)
    except ConfigError as error:
        raise DataError(str(error)) from error


def _agreed(found: Architecture, wanted: Architecture | None, path: Path) -> Architecture:
    if wanted is not None and wanted != found:
        raise ConfigError(
            f"{path}: is of the architecture {_named(found).name or found.to_dict()}, not of "
            f"{wanted.name or wanted.content_hash}"
        )
    return wanted or _named(found)


def _named(architecture: Architecture) -> Architecture:
    """The architecture with its built-in name, if it has none and is one of the family."""
    name = architecture.name or known_name(architecture) or ""
    return replace(architecture, name=name)


def _loaded(architecture: Architecture, weights: Mapping[str, Tensor], path: Path) -> Detector:
    """The detector with these weights, every value finite and every name used once."""
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(f"{path}: {name} is not finite")
    detector = build_claimed(architecture, path)
    try:
        detector.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: does not fit {architecture.name!r}: {reason}") from error
    return detector.eval()
