"""Inference of the Architecture from the names and shapes of a reference checkpoint's weights."""

import re
from collections.abc import Mapping
from typing import Any, Protocol

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.errors import ConfigError
from search_spaces.zoo import load_zoo, zoo_names


class Shaped(Protocol):
    """An object with a shape, for example a tensor."""

    @property
    def shape(self) -> Any:
        """Sizes of the dimensions."""


def recognise(
    weights: Mapping[str, Shaped], source: str, groups: int | None = None
) -> Architecture:
    """Return the Architecture whose reference weights have these names and shapes.

    The weights do not show the number of GroupNorm groups: without `groups` it is that of the
    built-in architecture that is otherwise equal.

    Args:
        weights: tensors by the reference's names (see `reference_keys`).
        source: prefix of error messages.
        groups: of a GroupNorm head, where they are known.

    Raises:
        ConfigError: the weights are not those of SCRFD, or the groups are unknown.
    """
    try:
        backbone, neck = _backbone(weights), Neck(width=_size(weights, _LATERAL, 0))
        normed = any(".gn." in name for name in weights)
        if not normed:
            return Architecture(backbone=backbone, neck=neck, head=_head(weights, 0))
        if groups is not None:
            return Architecture(backbone=backbone, neck=neck, head=_head(weights, groups))
    except (ConfigError, IndexError) as error:
        raise ConfigError(f"{source}: is not a SCRFD checkpoint: {error}") from error
    found = known_name(Architecture(backbone=backbone, neck=neck, head=_head(weights, 1)), True)
    if found is None:
        raise ConfigError(
            f"{source}: weights do not tell the number of GroupNorm groups, and no built-in "
            "architecture has these sizes; give the architecture (--architecture)"
        )
    return load_zoo(found)


def known_name(architecture: Architecture, ignore_groups: bool = False) -> str | None:
    """Return the name of the equal built-in architecture, None if there is none."""
    for name in zoo_names():
        other = load_zoo(name)
        if other == architecture:
            return name
        if ignore_groups and _ungrouped(other) == _ungrouped(architecture):
            return name
    return None


_LATERAL = "neck.lateral_convs.0.conv.weight"


def _ungrouped(architecture: Architecture) -> dict[str, Any]:
    content = architecture.to_dict()
    content.pop("name", None)
    content["head"].pop("groups")
    return content


def _backbone(weights: Mapping[str, Shaped]) -> Backbone:
    block, width_key = _block(weights)
    depths = tuple(_count(weights, rf"backbone\.layer{i}\.(\d+)\.") for i in range(1, 5))
    widths = tuple(_size(weights, f"backbone.layer{i}.0.{width_key}", 0) for i in range(1, 5))
    stem_keys = ["backbone.stem.6.weight"]
    if block == "depthwise":
        stem_keys = ["backbone.stem.0.0.weight", "backbone.stem.1.3.weight"]
    stem = tuple(_size(weights, key, 0) for key in stem_keys)
    return Backbone(block=block, stem_widths=stem, depths=depths, widths=widths)


def _block(weights: Mapping[str, Shaped]) -> tuple[str, str]:
    """Return the kind of block, and the weight whose outputs are the width of a stage."""
    if "backbone.layer1.0.conv3.weight" in weights:
        return "bottleneck", "conv1.weight"
    if "backbone.layer1.0.conv2.weight" in weights:
        return "basic", "conv2.weight"
    return "depthwise", "3.weight"


def _head(weights: Mapping[str, Shaped], groups: int) -> Head:
    shared = "bbox_head.stride_cls.0.weight" in weights
    level = "0" if shared else "(8, 8)"
    tower = f"bbox_head.cls_stride_convs.{level}"
    return Head(
        convs=_count(weights, rf"{re.escape(tower)}\.(\d+)\."),
        width=_size(weights, f"bbox_head.stride_cls.{level}.weight", 1),
        depthwise=f"{tower}.0.depthwise_conv.conv.weight" in weights,
        norm="group" if groups else "batch",
        groups=groups,
        shared=shared,
        keypoints=5 if f"bbox_head.stride_kps.{level}.weight" in weights else 0,
        level_scales="bbox_head.scales.0.scale" in weights,
    )


def _size(weights: Mapping[str, Shaped], name: str, axis: int) -> int:
    if name not in weights:
        raise ConfigError(f"it lacks {name}")
    return int(weights[name].shape[axis])


def _count(weights: Mapping[str, Shaped], pattern: str) -> int:
    """Return one more than the highest number that the pattern matches in a name; 0 for none."""
    found = (re.match(pattern, name) for name in weights)
    return max((int(match[1][:6]) + 1 for match in found if match), default=0)
