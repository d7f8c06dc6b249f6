"""`scrfd-nas status`: the block that the running command shows, from any terminal."""

import shlex
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.shared import common, run_flags
from nas.cli.shared.run_flags import Json, SearchDirectory

if TYPE_CHECKING:
    from nas.search.directory import SearchDir

_WATCH_S = 1.0


def status(
    search_dir: SearchDirectory = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it live, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> None:
    """Show the progress of a search, from any terminal."""
    from nas.monitoring.read_status import read_status

    if watch and as_json:
        raise typer.BadParameter("--watch prints no JSON; leave out one of the two")
    directory = run_flags.opened(search_dir)
    stages = [read_status(directory, stage) for stage in sorted(directory.requests())]
    driver = directory.driver()
    if as_json:
        content = {f"stage{status.stage}": status.to_dict() for status in stages}
        who = asdict(driver) if driver else None
        common.print_json({"search_dir": str(directory), "driver": who, **content})
        return
    text = f"run by process {driver.pid} on {driver.host}" if driver else "not running"
    common.print_rich(f"{directory}: {text}")
    if watch:
        _watch(directory)
        return
    from rich.console import Console

    from nas.monitoring.block import Block

    for line in stages:
        Console(highlight=False).print(
            Block(status=line, resume=resume_command(directory)), crop=False
        )
    note_damaged(directory)


def resume_command(directory: "SearchDir") -> str:
    """Return the command that continues a search, for the user to read."""
    from nas.search.directory import PLAN_FILE

    where = f"--search-dir {shlex.quote(str(directory))}"
    if (directory.root / PLAN_FILE).is_file():
        return f"scrfd-nas search {where}, with its other options"
    return f"scrfd-nas resume {where}"


def _watch(directory: "SearchDir") -> None:
    """Display the stage that runs, else the last one, until Ctrl-C."""
    from nas.monitoring.housekeeping import refreshing
    from nas.monitoring.progress import shown
    from nas.monitoring.read_status import read_status

    refresh = refreshing(directory)
    with suppress(KeyboardInterrupt), shown(common.console(), resume_command(directory)) as display:
        while True:
            driver = directory.driver()
            stage = driver.stage if driver else max(directory.requests())
            display.show(read_status(directory, stage))
            time.sleep(_WATCH_S)
            refresh()


def note_damaged(directory: "SearchDir") -> None:
    """Name the recorded outcomes of a search that cannot be read, on standard error."""
    for stage in sorted(directory.requests()):
        for line in directory.damaged_records(stage):
            common.print_note(line)


COMMANDS = {"status": status}
