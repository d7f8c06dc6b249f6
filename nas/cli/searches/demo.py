"""`scrfd-nas demo`: a whole search on this machine with generated faces."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.searches.search import run_and_print
from nas.cli.shared import common
from nas.cli.shared.run_flags import Json

_MEANING = (
    "The leaderboards show that networks of equal FLOPs learn differently well, and how a search "
    "finds that out; after so few epochs on drawn faces, with one or two seeds each, they do not "
    "show which network finds faces in photos best, nor that stage 2 improves on stage 1."
)


def demo(
    out: Annotated[
        Path, typer.Option(help="Search directory; the faces are in its folder data.")
    ] = Path("runs/demo"),
    num_candidates: Annotated[
        int | None, typer.Option(min=1, help="Number of candidates of each stage. (default: 4)")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Epochs of each trial. (default: 5)"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of faces, proposals and trials.")] = 0,
    as_json: Json = False,
) -> None:
    """Search in two stages with drawn faces; write the report.

    Run the command again to resume an interrupted demo.
    """
    with common.resumable(f"the demo in {out}") as display:
        from nas.demo import demo_search

        chosen = {"num_candidates": num_candidates, "epochs": epochs}
        given = {name: value for name, value in chosen.items() if value is not None}
        search = demo_search(out, display, seed=seed, **given)
    run_and_print(search, as_json=as_json)
    if as_json:
        return
    common.print_rich(f"faces:  {search.options['data']}")
    common.print_rich(f"search: {search.directory.root} (study.journal, a folder a candidate)\n")
    common.print_words(_MEANING)
    common.print_rich(f"next:   open {out / 'report.html'}")


COMMANDS = {"demo": demo}
