"""`scrfd-nas propose`: candidate architectures of a stage as files, without training."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common, paths, screening
from search_spaces.checks import require_mapping
from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from nas.candidates.pool import Pool
    from nas.candidates.proposals import Progress, Proposals
    from search_spaces.architecture import Architecture

Integers = tuple[int, int]
Ratios = tuple[float, float]

# Ranges by stage: flag -> field of BackboneRanges or NetworkRanges.
_RANGES = {
    1: {
        "blocks": "blocks",
        "stem_range": "stem",
        "depth_range": "depth",
        "ratio_range": "ratio",
        "stem_ratio_range": "stem_ratio",
    },
    2: {
        "depth_ratio": "depth_ratio",
        "width_ratio": "width_ratio",
        "neck_range": "neck",
        "head_range": "head",
        "convs_range": "convs",
    },
}
_OPTIONS = {
    1: ("space",),
    2: ("template", "stage2_space", "ratio_tolerance"),
}
_COMMON = ("flops", "num", "seed", "tolerance", "screen", "screen_from")


def register(app: typer.Typer) -> None:
    """Add `propose` to the command line."""
    app.command()(propose)


def propose(
    stage: Annotated[int, typer.Option(min=1, max=2, help="1: backbones; 2: around a template.")],
    out: Annotated[Path, typer.Option(help="Folder for 0001.yaml, ... and candidates.csv.")],
    flops: Annotated[
        str | None,
        typer.Option(help="Target at 480x640, such as 2.5G. (stage 2, default: the template's)"),
    ] = None,
    num: Annotated[int | None, typer.Option(min=1, help="Candidates. (default: 64)")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the sampling. (default: 0)")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Relative deviation from the target. (default: 0.02)")
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            help="Stage 1: auto, mobile, resnet, or a plug-in's name. "
            "(default: auto, mobile up to 1G)"
        ),
    ] = None,
    template: Annotated[
        str | None, typer.Option(metavar="FILE|NAME|N|best", help="Stage 2: what to start from.")
    ] = None,
    search_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where candidate N lies. (default: the only search in runs)",
            parser=paths.search,
            metavar=paths.SEARCH_METAVAR,
        ),
    ] = None,
    stage2_space: Annotated[
        str | None, typer.Option("--stage2-space", help="Stage 2: free or scaled. (default: free)")
    ] = None,
    ratio_tolerance: Annotated[
        float | None,
        typer.Option(help="Stage 2: of each stage's FLOPs relative to the stem's. (default: 0.1)"),
    ] = None,
    blocks: Annotated[
        str | None, typer.Option(help="Stage 1: such as basic,bottleneck. (default: the family's)")
    ] = None,
    stem_range: Annotated[
        Integers | None, typer.Option(help="Stage 1: stem widths. (default: 8 64; mobile: 8 40)")
    ] = None,
    depth_range: Annotated[
        Integers | None, typer.Option(help="Stage 1: blocks a stage. (default: 1 10)")
    ] = None,
    ratio_range: Annotated[
        Ratios | None,
        typer.Option(help="Stage 1: width of a stage to the last one's. (default: 1 4)"),
    ] = None,
    stem_ratio_range: Annotated[
        Ratios | None, typer.Option(help="Stage 1, mobile: as far as C2's width. (default: 1 3)")
    ] = None,
    depth_ratio: Annotated[
        Ratios | None, typer.Option(help="Stage 2: depths to the template's. (default: 0.5 3)")
    ] = None,
    width_ratio: Annotated[
        Ratios | None, typer.Option(help="Stage 2: widths to the template's. (default: 0.5 3)")
    ] = None,
    neck_range: Annotated[
        Integers | None, typer.Option(help="Stage 2: neck widths, x8. (default: 8 128)")
    ] = None,
    head_range: Annotated[
        Integers | None, typer.Option(help="Stage 2: head widths, x8. (default: 8 256)")
    ] = None,
    convs_range: Annotated[
        Integers | None, typer.Option(help="Stage 2: convs in the head's tower. (default: 1 4)")
    ] = None,
    screen: Annotated[
        str | None,
        typer.Option(
            metavar="PROXY",
            help="Keep the most promising by this training-free score, such as zen; or none. "
            "(default: none)",
        ),
    ] = None,
    screen_from: Annotated[
        int | None, typer.Option(min=1, help="How many --screen scores. (default: 1000)")
    ] = None,
    screen_audit: Annotated[
        Path | None, typer.Option(help="Search whose trials must agree with the score.")
    ] = None,
    screen_force: Annotated[
        bool, typer.Option("--screen-force", help="Use the score whatever trials say of it.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of options; flags override it.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on standard output.")
    ] = False,
) -> None:
    """Write distinct random candidates of a FLOPs budget as architecture files and a CSV.

    The same seed gives the same files on every machine; a larger --num adds to them.
    """
    flags = dict(locals())
    options, ranges = _options(stage, flags)
    from nas.candidates.proposals import write_proposals

    keep = screening.keeping(stage, options, out, screen_audit, force=screen_force)
    with common.console.status("proposing") as status:

        def progress(done: int, wanted: int) -> None:
            status.update(f"confirming FLOPs: {done}/{wanted}")

        proposals = _propose(stage, options, ranges, search_dir, keep, progress)
    files = write_proposals(proposals, out)
    if proposals.note:
        common.print_note(f"note: {proposals.note}")
    if as_json:
        common.print_json(_document(proposals, files))
    else:
        _print(proposals, out)


def _propose(
    stage: int,
    options: Mapping[str, Any],
    ranges: Mapping[str, Any],
    search_dir: Path | None,
    keep: screening.Keep,
    progress: "Progress",
) -> "Proposals":
    """The candidates that the flags ask for, counted by fvcore."""
    from nas.candidates.proposals import confirmed

    pool = _pool(stage, options, ranges, search_dir)
    return confirmed(pool, keep(pool), progress)


def _pool(
    stage: int, options: Mapping[str, Any], ranges: Mapping[str, Any], search_dir: Path | None
) -> "Pool":
    """The one call that the flags amount to."""
    from nas.candidates.pool import stage1_pool, stage2_pool
    from search_spaces.cost.detector import flops_by_part, total

    chosen = {"num": screening.DEFAULT_NUM, "seed": 0, "tolerance": 0.02, **options}
    flops = chosen.pop("flops", None)
    target = common.parse_flops(str(flops)) if flops is not None else None
    if stage == 1:
        if target is None:
            raise ConfigError("stage 1 needs a target: give --flops, such as --flops 2.5G")
        return stage1_pool(target, ranges=ranges, **chosen)
    if "template" not in chosen:
        rule = "stage 2 needs --template: a built-in name, a file, a candidate's number or best"
        raise ConfigError(rule)
    start = _template(str(chosen.pop("template")), search_dir)
    target = target if target is not None else total(flops_by_part(start))
    return stage2_pool(start, target, ranges=ranges, **chosen)


def _options(stage: int, flags: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options and the ranges that were given, flags before the config file."""
    other = 3 - stage
    for name in (*_OPTIONS[other], *_RANGES[other]):
        if flags[name] is not None:
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} belongs to --stage {other}, got --stage {stage}")
    known = (*_COMMON, *_OPTIONS[stage])
    options, ranges = _read_config(flags["config"], known)
    options.update({name: flags[name] for name in known if flags[name] is not None})
    given = {field: flags[flag] for flag, field in _RANGES[stage].items() if flags[flag]}
    if "blocks" in given:
        given["blocks"] = tuple(name.strip() for name in given["blocks"].split(","))
    return options, {**ranges, **given}


def _read_config(
    path: Path | None, known: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options and ranges of a YAML file with the keys of the flags, and `ranges`."""
    if path is None:
        return {}, {}
    from search_spaces.files import read_yaml

    content = require_mapping(read_yaml(path), str(path), (*known, "ranges"))
    ranges = content.pop("ranges", None) or {}
    if not isinstance(ranges, Mapping):
        raise ConfigError(f"{path}: ranges must be a mapping, got {type(ranges).__name__}")
    return content, dict(ranges)


def _template(reference: str, search_dir: Path | None) -> "Architecture":
    """The architecture that FILE, NAME, N or `best` means.

    N is a candidate of `search_dir`, which is a search directory or a `propose` folder;
    without one, of the only search in `runs`.
    """
    from nas.candidates.proposals import TABLE_FILE
    from nas.resolve_request import stage1_template
    from nas.search.directory import SearchDir, find_search_dir
    from search_spaces.architecture import load_architecture
    from trials.candidate import resolve_candidate

    is_number = reference.isascii() and reference.isdigit()
    if not is_number and reference != "best":
        return resolve_candidate(reference)
    if search_dir is None:
        return stage1_template(find_search_dir(None), reference)[1]
    if is_number and (search_dir / TABLE_FILE).is_file():
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
