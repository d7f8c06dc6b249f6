"""Commands about architectures: cost of one (`flops`), and the built-in ones (`zoo`)."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from nas.cli.shared import common, paths
from nas.cli.shared.run_flags import Json
from reports.page.text import format_ap, format_flops
from search_spaces.zoo import list_models


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
    """Show the FLOPs and parameters of an architecture by part.

    FLOPs are multiply-adds at 480x640.
    """
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
    """List the built-in architectures and their published APs."""
    models = list_models()
    if as_json:
        common.print_json({"architectures": [asdict(model) for model in models]})
        return
    rows = [
        (
            *(m.name, m.block, f"{m.budget / 1e9:g}G", format_flops(m.flops), f"{m.params:,}"),
            *(m.keypoints or "-", *(format_ap(ap) or "-" for ap in (m.easy, m.medium, m.hard))),
        )
        for m in models
    ]
    columns = ("name", "block", "budget", "FLOPs", "params", "points", "easy", "medium", "hard")
    common.print_table("Built-in architectures", columns, rows, text_columns=columns[:2], gap=1)
    common.print_rich("points: key points of a face; easy, medium, hard: published AP at VGA.")


def _cost(architecture: Any) -> dict[str, Any]:
    """Return the content of `flops --json`, by the closed form, which needs no network."""
    from search_spaces.cost import detector as cost

    parts, published = cost.flops_by_part(architecture), cost.mmcv_flops_by_part(architecture)
    return {
        "total": cost.total(parts),
        "params": cost.total(cost.params_by_part(architecture)),
        "parts": parts,
        "published": {
            "convention": "mmcv 1.2.6, as in the SCRFD paper",
            "total": cost.total(published),
            "parts": published,
        },
    }


COMMANDS = {"flops": flops, "zoo": zoo}
