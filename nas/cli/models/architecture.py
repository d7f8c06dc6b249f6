"""Commands about architectures: cost of one (`flops`), and the built-in ones (`zoo`)."""

from typing import Annotated, Any

import typer

from nas.cli.shared import common, paths
from nas.cli.shared.run_flags import Json
from reports.page.text import format_flops
from search_spaces.zoo import load_zoo, zoo_names


def flops(
    architecture: Annotated[
        str,
        typer.Argument(
            metavar="NAME|FILE",
            help="A built-in name or a YAML file; or a trial's folder or URL.",
            parser=paths.reference,
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show the FLOPs (multiply-adds at 480x640) and parameters of an architecture by part."""
    from search_spaces.cost.detector import params_by_part
    from trials.candidate import resolve_candidate

    candidate = resolve_candidate(architecture)
    cost = _cost(candidate)
    if as_json:
        common.print_json(cost)
        return
    total, published, params = cost["total"], cost["published"], params_by_part(candidate)
    rows = [
        (
            part,
            format_flops(counted),
            f"{100 * counted / total:.1f}",
            format_flops(published["parts"][part]),
            f"{params[part]:,}",
        )
        for part, counted in cost["parts"].items()
    ]
    pool = published["parts"]["pool"]
    rows.insert(1, ("pool", "-", "-", format_flops(pool), "-"))
    both = format_flops(total), format_flops(published["total"])
    rows.append(("total", both[0], "100.0", both[1], f"{cost['params']:,}"))
    columns = ("part", "FLOPs", "share %", "published convention", "params")
    common.print_table(f"{architecture} at 480x640", columns, rows, text_columns=("part",))
    common.print_rich(
        "FLOPs: multiply-adds as fvcore counts them, this project's budget. Published\n"
        "convention: as the SCRFD paper's tables (mmcv 1.2.6: also conv biases, ReLU and\n"
        "pooling; neither GroupNorm nor upsampling)."
    )


def zoo(as_json: Json = False) -> None:
    """List the built-in architectures with FLOPs and parameters."""
    from search_spaces.cost import detector as cost

    entries = []
    for name in zoo_names():
        built_in = load_zoo(name)
        entries.append(
            {
                "name": name,
                "block": built_in.backbone.block,
                "flops": cost.total(cost.flops_by_part(built_in)),
                "params": cost.total(cost.params_by_part(built_in)),
                "hash": built_in.content_hash,
            }
        )
    if as_json:
        common.print_json({"architectures": entries})
        return
    rows = [
        (e["name"], e["block"], format_flops(e["flops"]), f"{e['params']:,}", e["hash"])
        for e in entries
    ]
    columns = ("name", "block", "FLOPs", "params", "hash")
    common.print_table("Built-in architectures", columns, rows, text_columns=("name", "block"))


def _cost(architecture: Any) -> dict[str, Any]:
    """Return the content of `flops --json`; fvcore's count is checked against the closed form."""
    from nas.candidates.flops import confirm_flops
    from search_spaces.cost import detector as cost

    published = cost.mmcv_flops_by_part(architecture)
    return {
        "total": confirm_flops(architecture),
        "params": cost.total(cost.params_by_part(architecture)),
        "parts": cost.flops_by_part(architecture),
        "published": {
            "convention": "mmcv 1.2.6, as in the SCRFD paper",
            "total": cost.total(published),
            "parts": published,
        },
    }


COMMANDS = {"flops": flops, "zoo": zoo}
