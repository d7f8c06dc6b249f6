"""Conversion of SCRFD models of other programs (ONNX, mmdetection) to model files."""

import os
import re
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
from search_spaces.network.reference_keys import (
    UNUSED_REFERENCE_KEYS,
    from_reference,
    reference_key,
)
from trials.model_file import FORMAT, build_claimed, read_foreign_tensors, save_model
from trials.onnx.export import compare_with_onnx
from trials.onnx.network_import import read_onnx

ONNX_TOLERANCE = 1e-3
EMA_PREFIX = "ema_"
CHECKPOINTS = (".pth", ".pt", ".pkl", ".ckpt")
_WEIGHTS_KEYS = ("state_dict", "model", "model_state_dict", "net")
# Of data-parallel training, of Lightning and of torch.compile.
_WRAPPERS = re.compile(r"^(?:module\.|model\.|_orig_mod\.)+")


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Result of a conversion.

    Attributes:
        architecture: with the built-in name if it is one of the family.
        tensors: number of tensors that were mapped.
        ignored: names of tensors of the source that are known to be unused.
        difference: largest difference of the outputs from the ONNX file's, relative to
            1 + their largest value; None for a checkpoint, which cannot be run.
    """

    architecture: Architecture
    tensors: int
    ignored: tuple[str, ...]
    difference: float | None


def convert_model(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    architecture: Architecture | None = None,
    *,
    ema: bool = False,
) -> Conversion:
    """Convert a SCRFD `.onnx` file or mmdetection `.pth` checkpoint to a model file.

    Every weight must have a place and every place a weight. An ONNX file is run to prove
    that the result computes the same.

    Args:
        source: the file; its suffix tells the format.
        out: the model file, written atomically.
        architecture: the source's; None recognises it.
        ema: take the averaged weights of a checkpoint that has them beside the live ones.

    Raises:
        ConfigError: the source has another architecture than the given one.
        DataError: damaged, not a SCRFD model, or weights left over or missing.
    """
    path = Path(source)
    if path.suffix.lower() == ".onnx":
        if ema:
            raise ConfigError(f"{path}: an ONNX file has no averaged weights; leave --ema out")
        conversion, detector = _from_onnx(path, architecture)
    elif path.suffix.lower() in CHECKPOINTS:
        conversion, detector = _from_checkpoint(path, architecture, ema=ema)
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
            f"{difference:.2g}, at most {ONNX_TOLERANCE} is allowed; it is not a plain SCRFD model"
        )
    conversion = Conversion(
        architecture=architecture, tensors=len(weights), ignored=(), difference=difference
    )
    return conversion, detector


def _from_checkpoint(
    path: Path, wanted: Architecture | None, *, ema: bool
) -> tuple[Conversion, Detector]:
    content = read_foreign_tensors(path)
    weights = _chosen_weights(_state_dict(content, path), path, ema=ema)
    found = wanted or _recognised(content, weights, path)
    architecture = _named(found)
    places = build_claimed(architecture, path).state_dict()
    try:
        ours = from_reference(_with_counters(weights, places, architecture), places, architecture)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error
    detector = _loaded(architecture, ours, path)
    ignored = tuple(name for name in UNUSED_REFERENCE_KEYS if name in weights)
    conversion = Conversion(
        architecture=architecture, tensors=len(ours), ignored=ignored, difference=None
    )
    return conversion, detector


def _state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by the reference's names."""
    weights = content
    if isinstance(content, Mapping):
        if content.get("format") == FORMAT:
            raise DataError(f"{path}: is a model file of this program already")
        inner = (content.get(key) for key in _WEIGHTS_KEYS)
        weights = next((item for item in inner if isinstance(item, Mapping)), content)
    if not isinstance(weights, Mapping) or not weights:
        raise DataError(f"{path}: is not a checkpoint of mmdetection, it has no state_dict")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(f"{path}: is not a checkpoint of mmdetection: {name!r} is no tensor")
    return {_WRAPPERS.sub("", name): value for name, value in weights.items()}


def _chosen_weights(weights: dict[str, Tensor], path: Path, *, ema: bool) -> dict[str, Tensor]:
    """Return the live weights, or the averaged ones that mmcv's EMAHook keeps beside them.

    The hook names the average of `a.b` `ema_a_b`.
    """
    live = {name: value for name, value in weights.items() if not name.startswith(EMA_PREFIX)}
    if not ema:
        return live
    averaged = {name: EMA_PREFIX + name.replace(".", "_") for name in live}
    if not any(name in weights for name in averaged.values()):
        raise DataError(f"{path}: has no averaged weights ({EMA_PREFIX}*); leave --ema out")
    return {name: weights.get(averaged[name], value) for name, value in live.items()}


def _with_counters(
    weights: dict[str, Tensor], places: Mapping[str, Tensor], architecture: Architecture
) -> dict[str, Tensor]:
    """Return the weights with the batch counters of BatchNorms that older programs leave out."""
    counters = {
        reference_key(name, architecture): value
        for name, value in places.items()
        if name.endswith("num_batches_tracked")
    }
    return counters | weights


def _recognised(content: Any, weights: Mapping[str, Tensor], path: Path) -> Architecture:
    """Recognise the architecture from the shapes, and GroupNorm's groups from the configuration."""
    meta = content.get("meta") if isinstance(content, Mapping) else None
    text = meta.get("config") if isinstance(meta, Mapping) else None
    groups = None
    if isinstance(text, str):
        with suppress(ConfigError):  # of another kind: the shapes alone may be enough
            groups = architecture_from_mmdet(text, str(path)).head.groups or None
    try:
        return recognise(weights, str(path), groups)
    except ConfigError as error:
        raise DataError(str(error)) from error


def _agreed(found: Architecture, wanted: Architecture | None, path: Path) -> Architecture:
    if wanted is not None and wanted != found:
        raise ConfigError(
            f"{path}: has the architecture {_named(found).name or found.to_dict()}, not "
            f"{wanted.name or wanted.content_hash}"
        )
    return wanted or _named(found)


def _named(architecture: Architecture) -> Architecture:
    """Return the architecture with its built-in name if it has none and is of the family."""
    name = architecture.name or known_name(architecture) or ""
    return replace(architecture, name=name)


def _loaded(architecture: Architecture, weights: Mapping[str, Tensor], path: Path) -> Detector:
    """Return the detector with these weights, which must be finite and complete."""
    detector = build_claimed(architecture, path)
    try:
        detector.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: does not fit {architecture.name!r}: {reason}") from error
    for name, value in detector.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise DataError(f"{path}: {name} is not finite")
    return detector.eval()
