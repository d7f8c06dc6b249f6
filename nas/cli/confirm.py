"""`scrfd-nas confirm`: the best candidates with other seeds, and ranks that say who is tied."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli import common, leaderboards
from nas.cli.stage_options import JSON_HELP, SEARCH_DIR


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(confirm)


def confirm(
    top: Annotated[int, typer.Option(min=1, help="Best candidates, by their hard AP.")] = 5,
    seeds: Annotated[int, typer.Option(min=2, help="Seeds in all, with the search's own.")] = 3,
    search_dir: Annotated[Path | None, SEARCH_DIR] = None,
    stage: Annotated[
        int | None, typer.Option(min=1, max=3, help="1, 2 or 3. (default: the last one begun)")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="A running Ray cluster: auto or HOST:PORT.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Train the best candidates again with other seeds; run it again to continue.

    The leaderboard then shows means with 95 % intervals, and one rank for those that are
    tied. `stage2 --template best` takes the highest mean.
    """
    from nas.monitoring.progress import shown
    from nas.results.confirm import Confirmation
    from nas.results.confirm import confirm as run_confirmation
    from nas.search.directory import find_search_dir
    from nas.stage import RunOptions

    directory = find_search_dir(search_dir)
    asked = Confirmation(stage=stage or max(directory.requests()), top=top, seeds=seeds)
    try:
        with shown(common.console) as update:
            table = run_confirmation(
                directory,
                asked,
                RunOptions(address=ray_address),
                update=update,
                note=common.print_note,
            )
    except (KeyboardInterrupt, SystemExit):
        common.print_note(f"stopped; the same command continues in {directory}")
        raise
    leaderboards.print_leaderboards(directory, {asked.stage: table}, as_json=json)
