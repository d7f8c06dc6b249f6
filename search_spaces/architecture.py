"""The architecture of a candidate: everything that defines its network, as plain data.

The three parts are those of SCRFD (arXiv 2105.04714): a backbone of a stem and four
stages (C2-C5, strides 4, 8, 16, 32), a PAFPN neck on C3-C5, and a head on strides
8, 16 and 32 with two square anchors per cell.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from search_spaces.checks import require_fields, require_integer
from search_spaces.errors import ConfigError
from search_spaces.files import read_text, write_text
from search_spaces.yaml_files import dump_yaml, parse_yaml

BLOCKS = ("basic", "bottleneck", "depthwise")
NORMS = ("group", "batch")
BOTTLENECK_EXPANSION = 4
NUM_STAGES = 4
NUM_LEVELS = 3
MAX_WIDTH = 4096
MAX_DEPTH = 100


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A backbone: a stem and four stages.

    Attributes:
        block: `basic` and `bottleneck` are residual, `depthwise` is MobileNet-v1's.
        stem_widths: output width of the stem: (w0,) for residual backbones, whose three
            stem convs have w0/2, w0/2, w0 channels; (first conv, first depthwise block)
            for `depthwise`.
        depths: blocks in each of the stages C2, C3, C4, C5.
        widths: channels of each stage. A bottleneck stage outputs four times its width.
    """

    block: str
    stem_widths: tuple[int, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        _require(self.block in BLOCKS, f"block must be one of {', '.join(BLOCKS)}", self.block)
        stem = 2 if self.block == "depthwise" else 1
        _set_integers(self, "stem_widths", stem, MAX_WIDTH)
        _set_integers(self, "depths", NUM_STAGES, MAX_DEPTH)
        _set_integers(self, "widths", NUM_STAGES, MAX_WIDTH)
        if self.block != "depthwise":
            rule = "the stem of a residual backbone halves its width, so stem_widths must be even"
            _require(self.stem_widths[0] % 2 == 0, rule, self.stem_widths[0])

    @property
    def output_widths(self) -> tuple[int, ...]:
        """Output channels of each stage (four times the width for bottlenecks)."""
        factor = BOTTLENECK_EXPANSION if self.block == "bottleneck" else 1
        return tuple(factor * width for width in self.widths)


@dataclass(frozen=True, kw_only=True)
class Neck:
    """A PAFPN neck with `width` channels at every level."""

    width: int

    def __post_init__(self) -> None:
        _set_integer(self, "width", 1, MAX_WIDTH)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head: one tower for classification and regression, then the prediction convs.

    Attributes:
        convs: tower convs (each a depthwise and a pointwise conv when `depthwise`).
        width: channels of the tower.
        depthwise: separable tower convs, as in the mobile family.
        norm: `group` (GroupNorm with `groups`) or `batch` (BatchNorm, `groups` is 0).
        groups: GroupNorm groups; must divide the width (and, for a separable tower, the
            neck's width, which its first depthwise conv normalises).
        shared: one tower for all strides, or one per stride.
        keypoints: 0, or 5 for a key-point branch.
        level_scales: whether a learned scalar per level multiplies the box output.
    """

    convs: int
    width: int
    depthwise: bool = False
    norm: str = "group"
    groups: int = 0
    shared: bool = True
    keypoints: int = 0
    level_scales: bool = True

    def __post_init__(self) -> None:
        _set_integer(self, "convs", 1, MAX_DEPTH)
        _set_integer(self, "width", 1, MAX_WIDTH)
        for name in ("depthwise", "shared", "level_scales"):
            value = getattr(self, name)
            _require(isinstance(value, bool), f"head.{name} must be true or false", value)
        _require(self.norm in NORMS, f"head.norm must be one of {', '.join(NORMS)}", self.norm)
        _set_integer(self, "groups", 0, MAX_WIDTH)
        _set_integer(self, "keypoints", 0, 5)
        _require(self.keypoints in (0, 5), "head.keypoints must be 0 or 5", self.keypoints)
        if self.norm == "batch":
            _require(self.groups == 0, "a BatchNorm head has no groups (0)", self.groups)
            return
        _require(self.groups >= 1, "a GroupNorm head needs groups of at least 1", self.groups)
        rule = f"head.groups must divide the head's width of {self.width}"
        _require(self.width % self.groups == 0, rule, self.groups)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A whole detector. Equal architectures have equal `content_hash`; `name` is only a label."""

    backbone: Backbone
    neck: Neck
    head: Head
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _require(isinstance(self.name, str), "name must be text", self.name)
        head = self.head
        if head.norm == "group" and head.depthwise:
            rule = f"a separable tower's head.groups must divide the neck's width {self.neck.width}"
            _require(self.neck.width % head.groups == 0, rule, head.groups)

    @property
    def content_hash(self) -> str:
        """12 hex digits of the SHA-256 of the canonical JSON of all fields except the name."""
        content = self.to_dict()
        content.pop("name", None)
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Return plain nested data: lists instead of tuples, the name first if there is one."""
        content = asdict(self, dict_factory=_with_lists)
        name = content.pop("name")
        return {"name": name, **content} if name else content

    @classmethod
    def from_dict(cls, content: object, source: str = "architecture") -> "Architecture":
        """Return the architecture of nested plain data.

        Raises:
            ConfigError: a key is missing or unknown, or a value breaks a rule; the
                message begins with `source`.
        """
        try:
            outer = require_fields(cls, content, "the architecture")
            parts = {"backbone": Backbone, "neck": Neck, "head": Head}
            for key, part in parts.items():
                outer[key] = part(**require_fields(part, outer[key], key))
            return cls(**outer)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error

    def to_yaml(self) -> str:
        """Return the architecture as YAML text."""
        return dump_yaml(self.to_dict())

    @classmethod
    def from_yaml(cls, text: str, source: str = "architecture") -> "Architecture":
        """Parse YAML text. Raises ConfigError (see `from_dict`)."""
        return cls.from_dict(parse_yaml(text, source), source)


def load_architecture(path: str | os.PathLike[str]) -> Architecture:
    """Read an architecture file. Raises ConfigError naming the file and the rule."""
    return Architecture.from_yaml(read_text(path), str(Path(path)))


def save_architecture(architecture: Architecture, path: str | os.PathLike[str]) -> None:
    """Write `architecture` as YAML to `path` atomically."""
    write_text(path, architecture.to_yaml())


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{rule}, got {value!r}")


def _set_integer(part: object, name: str, low: int, high: int) -> None:
    value = getattr(part, name)
    checked = require_integer(value, _label(part, name), low, high)
    object.__setattr__(part, name, checked)


def _set_integers(part: object, name: str, length: int, high: int) -> None:
    label, values = _label(part, name), getattr(part, name)
    is_sequence = isinstance(values, list | tuple)
    _require(is_sequence and len(values) == length, f"{label} must be {length} integers", values)
    checked = tuple(require_integer(value, label, 1, high) for value in values)
    object.__setattr__(part, name, checked)


def _label(part: object, name: str) -> str:
    return f"{type(part).__name__.lower()}.{name}"


def _with_lists(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in items}
