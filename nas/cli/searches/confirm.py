"""`scrfd-nas confirm`: training of the best candidates with more seeds, to find ties."""

from typing import Annotated

import typer

from nas.cli.shared import common, leaderboards, run_flags
from nas.cli.shared.run_flags import Json, MovedData, RayAddress, SearchDirectory, Stage


def confirm(
    top: Annotated[int, typer.Option(min=1, help="Number of candidates, by hard AP.")] = 5,
    seeds: Annotated[
        int, typer.Option(min=2, help="Number of seeds, that of the search included.")
    ] = 3,
    search_dir: SearchDirectory = None,
    stage: Stage = None,
    data: MovedData = None,
    ray_address: RayAddress = None,
    as_json: Json = False,
) -> None:
    """Train the best candidates again with other seeds.

    Run the command again to resume.

    The leaderboard then shows means with 95 % intervals, and one rank for candidates that are
    tied. `stage2 --template best` takes the highest mean.
    """
    from nas.results.confirm import Confirmation
    from nas.results.confirm import confirm as run_confirmation
    from nas.stage import RunOptions

    directory = run_flags.opened(search_dir)
    asked = Confirmation(stage=stage or max(directory.requests()), top=top, seeds=seeds)
    with common.resumable(f"in {directory}") as display:
        table = run_confirmation(directory, asked, RunOptions(address=ray_address), display, data)
    leaderboards.print_leaderboards(directory, {asked.stage: table}, as_json=as_json)


COMMANDS = {"confirm": confirm}
