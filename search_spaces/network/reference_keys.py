"""Names of weights in the reference's checkpoints (mmdetection's state dict).

| ours | the reference's |
|---|---|
| `backbone.stem.I.conv` / `.norm` (residual) | `backbone.stem.{3 I}` / `{3 I + 1}` |
| `backbone.stem.0.conv` / `.norm` (depthwise) | `backbone.stem.0.0` / `.1` |
| `backbone.cS.B` | `backbone.layer{S - 1}.B` |
| `...branch.I.conv` / `.norm` (residual) | `...conv{I + 1}` / `bn{I + 1}` |
| `...shortcut.conv` / `.norm` | `...downsample.1` / `.2` |
| `...depthwise.conv` / `.norm` (backbone) | `...0` / `.1` |
| `...pointwise.conv` / `.norm` (backbone) | `...3` / `.4` |
| `neck.laterals.I` | `neck.lateral_convs.I.conv` |
| `neck.outputs.I` | `neck.fpn_convs.I.conv` |
| `neck.downs.I` | `neck.downsample_convs.I.conv` |
| `neck.path_outputs.I` | `neck.pafpn_convs.I.conv` |
| `head.towers.G.I.conv` / `.norm` | `bbox_head.cls_stride_convs.K.I.conv` / `.gn` or `.bn` |
| `head.towers.G.I.depthwise.conv` | `bbox_head.cls_stride_convs.K.I.depthwise_conv.conv` |
| `head.scores.G`, `.boxes.G`, `.keypoints.G` | `bbox_head.stride_{cls,reg,kps}.K` |
| `head.level_scales.L` | `bbox_head.scales.L.scale` |

K is `0` for a shared head, otherwise `(8, 8)`, `(16, 16)`, `(32, 32)`. The reference's
buffer `bbox_head.integral.project` has no counterpart and is unused.
"""

import re
from collections.abc import Mapping
from typing import TypeVar

from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError

UNUSED_REFERENCE_KEYS = ("bbox_head.integral.project",)
_STRIDES = (8, 16, 32)
_NECK = {
    "laterals": "lateral_convs",
    "outputs": "fpn_convs",
    "downs": "downsample_convs",
    "path_outputs": "pafpn_convs",
}
_PREDICTIONS = {"scores": "stride_cls", "boxes": "stride_reg", "keypoints": "stride_kps"}
_SEPARABLE = {
    "depthwise.conv": "0",
    "depthwise.norm": "1",
    "pointwise.conv": "3",
    "pointwise.norm": "4",
}
_Value = TypeVar("_Value")


def reference_key(our_key: str, architecture: Architecture) -> str:
    """Return the reference's name of a weight or buffer of the detector of `architecture`.

    Raises:
        ConfigError: no detector has such a key.
    """
    part, _, rest = our_key.partition(".")
    translate = {"backbone": _backbone_key, "neck": _neck_key, "head": _head_key}.get(part)
    key = translate(rest, architecture) if translate else None
    if key is None:
        raise ConfigError(f"{our_key!r} is not the name of a weight of a detector")
    return key


def from_reference(
    reference: Mapping[str, _Value], our_keys: Mapping[str, object], architecture: Architecture
) -> dict[str, _Value]:
    """Return `reference` (a state dict of the reference) under our names.

    Args:
        reference: values by the reference's keys.
        our_keys: our detector's state dict, or any mapping with its keys.
        architecture: the architecture of both.

    Raises:
        ConfigError: a key is missing, or an extra one is not in `UNUSED_REFERENCE_KEYS`.
    """
    pairs = {ours: reference_key(ours, architecture) for ours in our_keys}
    missing = sorted(theirs for theirs in pairs.values() if theirs not in reference)
    known = {*pairs.values(), *UNUSED_REFERENCE_KEYS}
    extra = sorted(theirs for theirs in reference if theirs not in known)
    if missing or extra:
        raise ConfigError(
            f"the reference's weights do not fit the architecture {architecture.name!r}: "
            f"{len(missing)} keys missing {missing[:3]}, {len(extra)} left over {extra[:3]}"
        )
    return {ours: reference[theirs] for ours, theirs in pairs.items()}


def _backbone_key(rest: str, architecture: Architecture) -> str | None:
    match = re.fullmatch(r"(stem|c[2-5])\.(\d+)\.(.+)\.(\w+)", rest)
    if not match:
        return None
    stage, index, layer, tensor = match.groups()
    if stage == "stem":
        position = _stem_position(int(index), layer, architecture)
        return position and f"backbone.stem.{position}.{tensor}"
    inner = _block_layer(layer)
    return inner and f"backbone.layer{int(stage[1]) - 1}.{index}.{inner}.{tensor}"


def _stem_position(index: int, layer: str, architecture: Architecture) -> str | None:
    """Return the index of a layer in the flat (residual) or nested (depthwise) reference stem."""
    offset = {"conv": 0, "norm": 1}.get(layer)
    if architecture.backbone.block != "depthwise":
        return None if offset is None else str(3 * index + offset)
    inner = _SEPARABLE.get(layer) if offset is None else str(offset)
    return inner and f"{index}.{inner}"


def _block_layer(layer: str) -> str | None:
    branch = re.fullmatch(r"branch\.(\d)\.(conv|norm)", layer)
    if branch:
        kind = "conv" if branch[2] == "conv" else "bn"
        return f"{kind}{int(branch[1]) + 1}"
    shortcut = {"shortcut.conv": "downsample.1", "shortcut.norm": "downsample.2"}
    return shortcut.get(layer) or _SEPARABLE.get(layer)


def _neck_key(rest: str, architecture: Architecture) -> str | None:
    match = re.fullmatch(r"(\w+)\.(\d)\.(\w+)", rest)
    if not match or match[1] not in _NECK:
        return None
    return f"neck.{_NECK[match[1]]}.{match[2]}.conv.{match[3]}"


def _head_key(rest: str, architecture: Architecture) -> str | None:
    kind, _, tail = rest.partition(".")
    if kind == "level_scales":
        return f"bbox_head.scales.{tail}.scale"
    match = re.fullmatch(r"([0-2])\.(.+)", tail)
    if not match:
        return None
    key = "0" if architecture.head.shared else _stride_key(int(match[1]))
    if kind in _PREDICTIONS:
        return f"bbox_head.{_PREDICTIONS[kind]}.{key}.{match[2]}"
    if kind != "towers":
        return None
    norm = "gn" if architecture.head.norm == "group" else "bn"
    layer = match[2].replace(".norm.", f".{norm}.")
    layer = layer.replace("depthwise.", "depthwise_conv.").replace("pointwise.", "pointwise_conv.")
    return f"bbox_head.cls_stride_convs.{key}.{layer}"


def _stride_key(level: int) -> str:
    return f"({_STRIDES[level]}, {_STRIDES[level]})"
