"""`scrfd-nas propose`: candidate architectures of a stage as files, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nas.cli.searches.screening import read_screen
from nas.cli.shared import common
from nas.cli.shared.flags import build, declared
from nas.cli.shared.run_flags import RunFlags
from nas.cli.shared.stage_input import network_flags, refuse_other_stage, with_config
from nas.search.options import StageOption, stage_option
from search_spaces.errors import ConfigError
from trials.options import OPTION, OptionField, option_field, option_fields

if TYPE_CHECKING:
    from nas.candidates.pool import Pool
    from nas.candidates.proposals import Proposals
    from search_spaces.architecture import Architecture

Integers = tuple[int, int]
Ratios = tuple[float, float]

_HELP = """Write distinct random candidates of a FLOPs budget as architecture files and a CSV.

The same seed gives the same files on every machine; a larger --num-candidates adds to them.
"""
_POOL = (
    *("flops", "num_candidates", "seed", "tolerance", "screen", "screen_from", "ranges"),
    *("space", "template", "stage2_space", "ratio_tolerance"),
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


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(declared(_propose, _offered(), "propose", _HELP))


def _offered() -> list[OptionField]:
    """Return all options of the command."""
    pool = [_spelled(item) for item in network_flags() if item.name in _POOL]
    run = [option_field(RunFlags, name) for name in _RUN_FLAGS]
    return [*option_fields(ProposeOptions), *pool, *option_fields(Ranges), *run]


def _spelled(item: OptionField) -> OptionField:
    """Return an option of the stages with the spelling and default that it has here."""
    changes = _CHANGES.get(item.name, {})
    return replace(item, option=replace(item.option, **changes))


def _propose(given: dict[str, Any]) -> None:
    own = build(ProposeOptions, given)
    refuse_other_stage(own.stage, given, _offered())
    offered = [item for item in _offered() if own.stage in item.option.stages]
    values = {item.name: item.default for item in offered if item.name in _POOL}
    values |= with_config(own.stage, given, offered)
    run = build(RunFlags, values)
    from nas.candidates.proposals import confirmed, write_proposals

    screen = read_screen(own.stage, values, run)
    with common.console.status("proposing") as status:
        pool = _pool(own.stage, values, screen.pool_size, run.search_dir)
        proposals = confirmed(
            pool,
            screen.choose(pool, own.out),
            lambda done, wanted: status.update(f"confirming FLOPs: {done}/{wanted}"),
        )
    files = write_proposals(proposals, own.out)
    if proposals.note:
        common.print_note(f"note: {proposals.note}")
    if run.as_json:
        common.print_json(_document(proposals, files))
    else:
        _print(proposals, own.out)


def _pool(stage: int, values: Mapping[str, Any], num: int, search_dir: Path | None) -> "Pool":
    """Return the `num` candidates that the options ask for."""
    from nas.candidates.pool import Stage2Options, stage1_pool, stage2_pool
    from search_spaces.cost.detector import flops_by_part, total

    flops, seed = values["flops"], values["seed"]
    ranges = {**(values.get("ranges") or {}), **build(Ranges, values).given()}
    shared = {"tolerance": values["tolerance"], "ranges": ranges}
    if stage == 1:
        if flops is None:
            raise ConfigError("stage 1 needs a target: give --flops, such as --flops 2.5G")
        return stage1_pool(flops, num, seed, space=values["space"], **shared)
    if values["template"] is None:
        rule = "stage 2 needs --template: a built-in name, a file, a candidate's number or best"
        raise ConfigError(rule)
    start = _template(str(values["template"]), search_dir)
    target = total(flops_by_part(start)) if flops is None else flops
    names = ("stage2_space", "ratio_tolerance")
    space = Stage2Options(**shared, **{name: values[name] for name in names})
    return stage2_pool(start, target, num, seed, space)


def _template(reference: str, search_dir: Path | None) -> "Architecture":
    """Return the architecture of FILE, NAME, N or `best`.

    N is the number of a candidate of `search_dir`, which is a search directory or a folder of
    `propose`; without one, of the only search in `runs`.
    """
    from nas.candidates.proposals import TABLE_FILE
    from nas.resolve_request import is_candidate, stage1_template
    from nas.search.directory import SearchDir, find_search_dir
    from search_spaces.architecture import load_architecture
    from trials.candidate import resolve_candidate

    if not is_candidate(reference):
        return resolve_candidate(reference)
    if search_dir is None:
        return stage1_template(find_search_dir(None), reference)[1]
    if reference != "best" and (search_dir / TABLE_FILE).is_file():
        return load_architecture(search_dir / f"{int(reference):04d}.yaml")
    directory = SearchDir(search_dir)
    directory.refresh()
    return stage1_template(directory, reference)[1]


def _document(proposals: "Proposals", files: list[Path]) -> dict[str, Any]:
    candidates = [
        {
            "number": candidate.number,
            "file": str(file),
            "flops": candidate.total_flops,
            "params": candidate.params,
            "hash": candidate.hash,
        }
        for candidate, file in zip(proposals.candidates, files, strict=True)
    ]
    return {"candidates": candidates, "feasible": proposals.feasible}


def _print(proposals: "Proposals", out: Path) -> None:
    rows = []
    for candidate in proposals.candidates:
        backbone = candidate.architecture.backbone
        neck, head = candidate.architecture.neck, candidate.architecture.head
        shares = [f"{100 * n / candidate.total_flops:.0f}" for n in candidate.flops.values()]
        rows.append(
            (
                candidate.number,
                common.format_flops(candidate.total_flops),
                " ".join(shares),
                f"{candidate.params:,}",
                backbone.block,
                ",".join(map(str, backbone.depths)),
                ",".join(map(str, (*backbone.stem_widths, *backbone.widths))),
                f"{neck.width}, {head.convs} x {head.width}",
                candidate.hash,
            )
        )
    columns = ("number", "FLOPs", "shares %", "params", "block", "depths", "stem and stages")
    text = ("block", "hash", "depths", "stem and stages", "neck, head")
    common.print_table("Candidates", (*columns, "neck, head", "hash"), rows, text_columns=text)
    feasible = "uncounted" if proposals.feasible is None else f"{proposals.feasible:,}"
    common.print_rich(f"Architectures that satisfy the constraints: {feasible}. Written to {out}")
