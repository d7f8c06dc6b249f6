"""`scrfd-nas propose`: candidate architectures of a stage as files, without training."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.searches.propose_options import POOL, ProposeOptions, Ranges, offered_options
from nas.cli.shared import common
from nas.cli.shared.flags import build, declared
from nas.cli.shared.run_flags import RunFlags
from nas.cli.shared.stage_input import refuse_other_stage, with_config
from nas.search.stage_request import LARGEST_POOL, NO_SCREEN, latency_options
from reports.page.text import format_flops
from search_spaces.architecture import Architecture, load_architecture
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError

if TYPE_CHECKING:
    from nas.candidates.latency_limit import LatencyLimit
    from nas.candidates.pool import Pool
    from nas.candidates.proposals import Proposals
    from nas.candidates.proxy_approval import Approval
    from trials.evaluation.latency import Latency


def _propose(given: dict[str, Any]) -> None:
    """Write random candidates of a budget without training them.

    The same seed gives the same files on every machine; a larger --num-candidates adds to them.
    """
    own = build(ProposeOptions, given)
    refuse_other_stage(own.stage, given, offered_options())
    offered = [item for item in offered_options() if own.stage in item.option.stages]
    values = {item.name: item.default for item in offered if item.name in POOL}
    values |= with_config(own.stage, given, offered)
    run = build(RunFlags, values)
    from nas.candidates.latency_limit import limited_pool
    from nas.candidates.proposals import confirmed, write_proposals

    num, pool_size = _counts(values)
    approval = None if values["screen"] == NO_SCREEN else _approved(own.stage, values, run)
    sample = partial(_pool, own.stage, values, run.search_dir)
    with _measuring(values, own.out) as limit:
        if limit is None or approval is not None:
            pool = sample(pool_size)
        else:
            pool = limited_pool(sample, num, limit)
    kept = _screened(pool, num, approval, values, own.out) if approval else pool.architectures
    with common.progress_bar("candidates") as progress:
        proposals = confirmed(pool, kept, progress)
    files = write_proposals(proposals, own.out)
    if proposals.note:
        common.print_note(f"note: {proposals.note}")
    latencies = _latencies(values, own.out)
    if run.as_json:
        common.print_json(_document(proposals, files, latencies))
    else:
        _print(proposals, own.out, latencies)


def _counts(values: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of candidates, and of those that they are chosen from."""
    num = require_integer(values["num_candidates"], "num_candidates", 1, LARGEST_POOL)
    size = require_integer(values["screen_from"], "screen_from", 1, LARGEST_POOL)
    if values["screen"] == NO_SCREEN:
        return num, num
    if size < num:
        raise ConfigError(f"screen_from must be at least num_candidates ({num}), got {size}")
    return num, size


def _approved(stage: int, values: Mapping[str, Any], run: RunFlags) -> "Approval":
    from nas.candidates.proxy_approval import approve

    return approve(values["screen"], None, stage, audit=run.screen_audit, force=run.screen_force)


@contextmanager
def _measuring(values: Mapping[str, Any], out: Path) -> "Iterator[LatencyLimit | None]":
    """Yield the limit of the latency, if there is one, and show what is measured."""
    from nas.candidates.latency_limit import LatencyLimit
    from nas.monitoring.progress import shown

    limit_ms, options = values["max_latency"], latency_options(values)
    with shown(common.console()) as display:
        yield limit_ms and LatencyLimit(
            limit_ms=limit_ms, options=options, folder=out, show=display.show
        )


def _latencies(values: Mapping[str, Any], out: Path) -> "Mapping[str, Latency]":
    """Return the latencies that the limit was checked with, by hash; empty without a limit."""
    from reports.latencies import by_hash, read_latencies

    return {} if values["max_latency"] is None else by_hash(read_latencies(out))


def _screened(
    pool: "Pool", num: int, approval: "Approval", values: Mapping[str, Any], folder: Path
) -> "Sequence[Architecture]":
    """Return the `num` candidates with the highest scores, which are kept in `folder`."""
    from nas.candidates.screening import ranked

    with common.progress_bar(f"candidates screened by {approval.proxy}") as progress:
        ranking = ranked(pool, approval.proxy, folder, progress)
    with _measuring(values, folder) as limit:
        chosen = limit.first(ranking, num) if limit else ranking[:num]
    counts = f"the best {len(chosen)} of {len(pool.architectures)} candidates"
    common.print_note(f"{counts} by {approval.describe()}")
    return chosen


def _pool(stage: int, values: Mapping[str, Any], search_dir: Path | None, num: int) -> "Pool":
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
    from nas.resolve_request import is_candidate, stage_template
    from nas.search.directory import SearchDir, find_search_dir
    from trials.candidate import resolve_candidate

    if not is_candidate(reference):
        return resolve_candidate(reference)
    if search_dir is None:
        return stage_template(find_search_dir(None), 1, reference)[1]
    if reference != "best" and (search_dir / TABLE_FILE).is_file():
        return load_architecture(search_dir / f"{int(reference):04d}.yaml")
    directory = SearchDir(search_dir)
    directory.refresh()
    return stage_template(directory, 1, reference)[1]


def _document(
    proposals: "Proposals", files: list[Path], latencies: "Mapping[str, Latency]"
) -> dict[str, Any]:
    candidates = [
        {
            "number": candidate.number,
            "file": str(file),
            "flops": candidate.total_flops,
            "params": candidate.params,
            "hash": candidate.hash,
            **({"latency_ms": latencies[candidate.hash].median_ms} if latencies else {}),
        }
        for candidate, file in zip(proposals.candidates, files, strict=True)
    ]
    return {"candidates": candidates, "feasible": proposals.feasible}


def _print(proposals: "Proposals", out: Path, latencies: "Mapping[str, Latency]") -> None:
    rows = []
    for candidate in proposals.candidates:
        backbone = candidate.architecture.backbone
        neck, head = candidate.architecture.neck, candidate.architecture.head
        shares = [f"{100 * n / candidate.total_flops:.0f}" for n in candidate.flops.values()]
        rows.append(
            (
                candidate.number,
                format_flops(candidate.total_flops),
                " ".join(shares),
                f"{candidate.params:,}",
                backbone.block,
                ",".join(map(str, backbone.depths)),
                ",".join(map(str, (*backbone.stem_widths, *backbone.widths))),
                f"{neck.width}, {head.convs} x {head.width}",
                candidate.hash,
                *([f"{latencies[candidate.hash].median_ms:.2f}"] if latencies else []),
            )
        )
    columns = ("number", "FLOPs", "shares %", "params", "block", "depths", "stem and stages")
    more = ("ms",) if latencies else ()
    text = ("block", "hash", "depths", "stem and stages", "neck, head")
    columns += ("neck, head", "hash", *more)
    common.print_table("Candidates", columns, rows, text_columns=text)
    feasible = "uncounted" if proposals.feasible is None else f"{proposals.feasible:,}"
    common.print_rich(f"Architectures that satisfy the constraints: {feasible}. Written to {out}")


COMMANDS = {"propose": declared(_propose, offered_options())}
