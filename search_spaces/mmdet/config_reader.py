"""Reading of the Architecture from a configuration file of the SCRFD repository.

The model section has the types `SCRFD`, `ResNetV1e`, `MobileNetV1`, `PAFPN` and `SCRFDHead`,
with the defaults of that repository. A field that would build a network which an Architecture
cannot express is an error, never ignored.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from search_spaces.architecture import NUM_LEVELS, NUM_STAGES, Architecture, Backbone, Head, Neck
from search_spaces.errors import ConfigError, shown
from search_spaces.mmdet.python_values import read_assignments

DEPTHS: Mapping[int, tuple[str, tuple[int, ...]]] = {
    0: ("basic", (2, 2, 2, 2)),
    18: ("basic", (2, 2, 2, 2)),
    19: ("basic", (2, 4, 4, 1)),
    20: ("basic", (2, 3, 2, 2)),
    22: ("basic", (2, 4, 3, 1)),
    24: ("basic", (2, 4, 4, 1)),
    26: ("basic", (2, 4, 4, 2)),
    28: ("basic", (2, 5, 4, 2)),
    29: ("basic", (2, 6, 3, 2)),
    30: ("basic", (2, 5, 5, 2)),
    32: ("basic", (2, 6, 5, 2)),
    34: ("basic", (3, 4, 6, 3)),
    35: ("basic", (3, 6, 4, 3)),
    38: ("basic", (3, 8, 4, 3)),
    40: ("basic", (3, 8, 5, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    56: ("bottleneck", (3, 8, 4, 3)),
    68: ("bottleneck", (3, 10, 6, 3)),
    74: ("bottleneck", (3, 12, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
}
"""Kind and number of blocks by `depth`, for configurations without `block_cfg`."""

_MOBILE_DEFAULT = {"stage_blocks": [2, 4, 4, 2], "stage_planes": [8, 16, 32, 64, 128, 256]}
_RESNET_FIXED = {
    "num_stages": (NUM_STAGES,),
    "out_indices": ([0, 1, 2, 3],),
    "strides": ([1, 2, 2, 2],),
    "dilations": ([1, 1, 1, 1],),
    "style": ("pytorch",),
    "in_channels": (3,),
}
_NECK_FIXED = {
    "start_level": (1,),
    "num_outs": (NUM_LEVELS,),
    "end_level": (-1, NUM_STAGES - 1),
    "conv_cfg": (None,),
    "norm_cfg": (None,),
    "act_cfg": (None,),
}
_HEAD_FIXED = {
    "num_classes": (1,),
    "cls_reg_share": (True,),
    "feat_mults": (None,),
    "conv_cfg": (None,),
    "loss_dfl": (False, None),
}
_ANCHORS_FIXED = {
    "ratios": ([1.0],),
    "scales": ([1, 2],),
    "base_sizes": ([16, 64, 256],),
    "strides": ([8, 16, 32],),
}


def architecture_from_mmdet(
    text: str, source: str, name: str = "", folder: Path | None = None
) -> Architecture:
    """Return the Architecture of an SCRFD configuration; the text is parsed, never executed.

    Published configurations and those that the repository's search writes are supported.

    Args:
        text: content of the configuration file.
        source: prefix of error messages, usually the file's name.
        name: name of the result.
        folder: folder of the file, in which bases (`_base_`) are looked up; None: no bases.

    Raises:
        ConfigError: the text is no such configuration, or an Architecture cannot express it.
    """
    model = _Section(read_assignments(text, source, "model", folder), f"{source}: model")
    model.require("type", "SCRFD")
    backbone = _backbone(model.section("backbone"))
    neck_section, head_section = model.section("neck"), model.section("bbox_head")
    width = _neck_width(neck_section, backbone)
    head_section.require("in_channels", width)
    try:
        neck, head = Neck(width=width), _head(head_section)
        return Architecture(backbone=backbone, neck=neck, head=head, name=name)
    except ConfigError as error:
        prefix = "" if str(error).startswith(source) else f"{source}: "
        raise ConfigError(f"{prefix}{error}") from error


class _Section:
    """A dict of a configuration, and its path for error messages."""

    def __init__(self, values: Any, place: str) -> None:
        if not isinstance(values, dict):
            raise ConfigError(f"{place} must be a dict, got {type(values).__name__}")
        self.values = values
        self.place = place

    def section(self, key: str) -> "_Section":
        """Return the dict under `key`."""
        if key not in self.values:
            raise ConfigError(f"{self.place} lacks {key!r}")
        return _Section(self.values[key], f"{self.place}.{key}")

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value; a tuple as a list."""
        value = self.values.get(key, default)
        return list(value) if isinstance(value, tuple) else value

    def require(self, key: str, *allowed: Any) -> None:
        """Raise ConfigError unless the value under `key` is one of `allowed`."""
        value = self.get(key)
        if not any(_same(value, choice) for choice in allowed):
            choices = " or ".join(repr(choice) for choice in allowed)
            raise ConfigError(f"{self.place}.{key} must be {choices}, got {shown(value)}")

    def require_if_present(self, fixed: Mapping[str, tuple[Any, ...]]) -> None:
        """Call `require` for the keys that are present."""
        for key, allowed in fixed.items():
            if key in self.values:
                self.require(key, *allowed)

    def flag(self, key: str, default: bool) -> bool:
        """Return a boolean."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{self.place}.{key} must be True or False, got {shown(value)}")
        return value

    def integers(self, key: str, count: int, default: list[int] | None = None) -> tuple[int, ...]:
        """Return `count` integers."""
        value = self.get(key, default)
        if not isinstance(value, list) or len(value) != count or not all(map(_is_int, value)):
            raise ConfigError(f"{self.place}.{key} must be {count} integers, got {shown(value)}")
        return tuple(value)

    def integer(self, key: str, default: int | None = None) -> int:
        """Return one integer."""
        value = self.get(key, default)
        if not _is_int(value):
            raise ConfigError(f"{self.place}.{key} must be an integer, got {shown(value)}")
        return int(value)


def _backbone(section: _Section) -> Backbone:
    readers: dict[str, Callable[[_Section], Backbone]] = {
        "ResNetV1e": _residual_backbone,
        "MobileNetV1": _mobile_backbone,
    }
    section.require("type", *readers)
    for plugin in ("plugins", "dcn", "conv_cfg"):
        section.require(plugin, None)
    _require_batch_norm(section)
    try:
        return readers[section.values["type"]](section)
    except ConfigError as error:
        text = str(error)
        raise ConfigError(text if section.place in text else f"{section.place}: {text}") from error


def _residual_backbone(section: _Section) -> Backbone:
    section.require_if_present(_RESNET_FIXED)
    base = section.integer("base_channels", 64)
    depth = section.integer("depth", 0)
    if section.get("block_cfg") is None:
        if depth not in DEPTHS:
            raise ConfigError(f"{section.place}.depth must be one of {list(DEPTHS)}, got {depth}")
        block, depths = DEPTHS[depth]
        widths = tuple(base * 2**stage for stage in range(NUM_STAGES))
    else:
        config = section.section("block_cfg")
        config.require("block", "BasicBlock", "Bottleneck")
        block = "basic" if config.get("block") == "BasicBlock" else "bottleneck"
        depths = config.integers("stage_blocks", NUM_STAGES)
        default = [base * 2**stage for stage in range(NUM_STAGES)]
        widths = config.integers("stage_planes", NUM_STAGES, default)
    stem = base if section.get("stem_channels") is None else section.integer("stem_channels")
    return Backbone(block=block, stem_widths=(stem,), depths=depths, widths=widths)


def _mobile_backbone(section: _Section) -> Backbone:
    section.require_if_present({key: _RESNET_FIXED[key] for key in ("num_stages", "out_indices")})
    if section.get("block_cfg") is None:
        config = _Section(_MOBILE_DEFAULT, f"{section.place}.block_cfg")
    else:
        config = section.section("block_cfg")
    depths = config.integers("stage_blocks", NUM_STAGES)
    planes = config.integers("stage_planes", 2 + NUM_STAGES)
    return Backbone(block="depthwise", stem_widths=planes[:2], depths=depths, widths=planes[2:])


def _neck_width(section: _Section, backbone: Backbone) -> int:
    section.require("type", "PAFPN")
    section.require("start_level", 1)
    section.require("num_outs", NUM_LEVELS)
    section.require_if_present(_NECK_FIXED)
    # The first one (C2) is unused, and wrong in a published file.
    inputs = section.integers("in_channels", NUM_STAGES)
    if inputs[1:] != backbone.output_widths[1:]:
        raise ConfigError(
            f"{section.place}.in_channels must end with the backbone's outputs "
            f"{list(backbone.output_widths[1:])}, got {list(inputs)}"
        )
    return section.integer("out_channels")


def _head(section: _Section) -> Head:
    section.require("type", "SCRFDHead")
    section.require("cls_reg_share", True)
    section.require("num_classes", 1)
    section.require_if_present(_HEAD_FIXED)
    if "anchor_generator" in section.values:
        anchors = section.section("anchor_generator")
        for key, allowed in _ANCHORS_FIXED.items():
            anchors.require(key, *allowed)
    shared = section.flag("strides_share", True)
    scale_mode = section.integer("scale_mode", 1)
    norm, groups = _head_norm(section)
    return Head(
        convs=section.integer("stacked_convs", 4),
        width=section.integer("feat_channels", 256),
        depthwise=section.flag("dw_conv", False),
        norm=norm,
        groups=groups,
        shared=shared,
        keypoints=5 if section.flag("use_kps", False) else 0,
        level_scales=scale_mode > 0 and (shared or scale_mode == 2),
    )


def _head_norm(section: _Section) -> tuple[str, int]:
    if "norm_cfg" not in section.values:
        return "group", 32
    norm = section.section("norm_cfg")
    norm.require("type", "GN", "BN")
    return ("group", norm.integer("num_groups")) if norm.get("type") == "GN" else ("batch", 0)


def _require_batch_norm(section: _Section) -> None:
    if "norm_cfg" in section.values:
        section.section("norm_cfg").require("type", "BN")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _same(value: Any, choice: Any) -> bool:
    """Return whether both are equal; True differs from 1."""
    return isinstance(value, bool) == isinstance(choice, bool) and bool(value == choice)
