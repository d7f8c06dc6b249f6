"""Options of `scrfd-nas propose`: some of those of the stages, and ranges of the search space."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas.cli.shared.run_flags import RunFlags
from nas.cli.shared.stage_input import network_flags
from nas.search.options import StageOption, stage_option
from trials.options import OPTION, OptionField, option_field, option_fields

Integers = tuple[int, int]
Ratios = tuple[float, float]

# Names of the options of the stages.
POOL = (
    *("flops", "num_candidates", "seed", "tolerance", "screen", "screen_from", "ranges"),
    *("space", "template", "stage2_space", "ratio_tolerance"),
    *("max_latency", "latency_on", "latency_threads", "latency_size"),
)
# Changes to options of the stages: a second spelling, and no defaults that the stages have.
_CHANGES: dict[str, dict[str, Any]] = {
    "num_candidates": {
        "help": "Number of candidates.",
        "flags": ("--num-candidates", "--num"),
    },
    "flops": {"default_text": "stage 2: the template's"},
    "template": {"default_text": ""},
}
_RUN_FLAGS = ("search_dir", "screen_audit", "screen_force", "config", "as_json")


@dataclass(frozen=True, kw_only=True)
class _RangeOption(StageOption):
    """Declaration of a range; `of` is its field in `BackboneRanges` or `NetworkRanges`."""

    of: str


def _range(stage: int, of: str, help: str, **declaration: Any) -> dict[str, _RangeOption]:
    panel = f"Search space of stage {stage}"
    return {OPTION: _RangeOption(help=help, of=of, stages=(stage,), panel=panel, **declaration)}


def _parse_blocks(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """Options that change the ranges of the search space."""

    blocks: Sequence[str] | None = field(
        default=None,
        metadata=_range(
            1,
            "blocks",
            "Block types, such as basic,bottleneck.",
            default_text="the family's",
            parser=_parse_blocks,
            metavar="NAMES",
        ),
    )
    stem_range: Integers | None = field(
        default=None,
        metadata=_range(1, "stem", "Stem widths.", default_text="8 64; mobile: 8 40"),
    )
    depth_range: Integers | None = field(
        default=None, metadata=_range(1, "depth", "Blocks of a stage.", default_text="1 10")
    )
    ratio_range: Ratios | None = field(
        default=None,
        metadata=_range(1, "ratio", "Growth of the width from stage to stage.", default_text="1 4"),
    )
    stem_ratio_range: Ratios | None = field(
        default=None,
        metadata=_range(
            1, "stem_ratio", "Mobile: growth of the width up to C2.", default_text="1 3"
        ),
    )
    depth_ratio: Ratios | None = field(
        default=None,
        metadata=_range(2, "depth_ratio", "Depths to the template's.", default_text="0.5 3"),
    )
    width_ratio: Ratios | None = field(
        default=None,
        metadata=_range(2, "width_ratio", "Widths to the template's.", default_text="0.5 3"),
    )
    neck_range: Integers | None = field(
        default=None, metadata=_range(2, "neck", "Neck widths, x8.", default_text="8 128")
    )
    head_range: Integers | None = field(
        default=None, metadata=_range(2, "head", "Head widths, x8.", default_text="8 256")
    )
    convs_range: Integers | None = field(
        default=None,
        metadata=_range(2, "convs", "Convolutions in the head's tower.", default_text="1 4"),
    )

    def given(self) -> dict[str, Any]:
        """Return the ranges given, by their field of the search space."""
        values = {item.option.of: getattr(self, item.name) for item in option_fields(Ranges)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ProposeOptions:
    """Options of `propose` itself."""

    stage: int = field(
        metadata=stage_option(
            "1: backbones; 2: networks around a template.", choices=(1, 2), panel=""
        )
    )
    out: Path = field(
        metadata=stage_option("Folder for 0001.yaml, ... and candidates.csv.", panel="")
    )


def offered_options() -> list[OptionField]:
    """Return all options of the command."""
    pool = [_spelled(item) for item in network_flags() if item.name in POOL]
    run = [option_field(RunFlags, name) for name in _RUN_FLAGS]
    return [*option_fields(ProposeOptions), *pool, *option_fields(Ranges), *run]


def _spelled(item: OptionField) -> OptionField:
    """Return an option of the stages with the spelling and default that it has here."""
    changes = _CHANGES.get(item.name, {})
    return replace(item, option=replace(item.option, **changes))
