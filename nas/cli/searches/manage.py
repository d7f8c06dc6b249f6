"""Commands that manage searches: `list`, `logs`, `stop`, `resume`, `clean`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.searches.stages import run_stage_command
from nas.cli.searches.status import resume_command
from nas.cli.shared import common, run_flags
from nas.cli.shared.flags import flag
from nas.cli.shared.run_flags import Json, MovedData, RayAddress, RunFlags, SearchDirectory, Stage
from nas.cli.shared.stage_input import StageInput
from nas.storage.urls import name_of
from search_spaces.errors import ConfigError, counted, printable

if TYPE_CHECKING:
    from nas.monitoring.housekeeping import Found


def list_searches(
    runs: Annotated[str, typer.Argument(help="Folder that holds searches, or its URL.")] = "runs",
    as_json: Json = False,
) -> None:
    """List the searches in a folder and their progress."""
    from nas.monitoring.housekeeping import find_searches

    found = find_searches(runs)
    if as_json:
        common.print_json([_record(item) for item in found])
        return
    columns = ("search", "stage", "state", "finished", "failed", "candidates", "best hard AP")
    rows = [row for item in found for row in _rows(item)]
    title = f"{counted(len(found), 'search', 'searches')} in {runs}"
    common.print_table(title, columns, rows, text_columns=("search", "state"))


def _record(item: "Found") -> dict[str, Any]:
    stages = {f"stage{status.stage}": status.to_dict() for status in item.stages}
    return {"search_dir": str(item.directory), "fault": item.fault or None, **stages}


def _rows(item: "Found") -> list[list[object]]:
    name = name_of(str(item.directory))
    if item.fault:
        return [[name, "", f"unreadable: {item.fault}", "", "", "", ""]]
    rows: list[list[object]] = []
    for status in item.stages:
        waits = status.waiting + status.running
        state = "running" if status.active else "stopped" if waits else "done"
        best = "" if status.best_hard is None else f"{status.best_hard:.4f}"
        counts = (status.finished, status.failed, status.candidates)
        rows.append([name, status.stage, state, *counts, best])
    return rows


def logs(
    number: Annotated[int, typer.Argument(metavar="N", help="The candidate's number.", min=1)],
    search_dir: SearchDirectory = None,
    stage: Stage = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the log until the trial ends.")
    ] = False,
) -> None:
    """Print the log of a candidate's trial."""
    from nas.monitoring.housekeeping import follow as lines_of
    from nas.monitoring.housekeeping import refreshing, trial_log

    directory = run_flags.opened(search_dir)
    chosen = stage or max(directory.requests(), default=1)
    path = trial_log(directory, chosen, number)
    refresh = refreshing(directory)

    def is_over() -> bool:
        if follow:
            refresh()
        is_done = directory.outcome(chosen, number) is not None
        return not follow or is_done or directory.driver() is None

    for line in lines_of(path, is_over):
        typer.echo(printable(line), nl=False)


def stop(
    search_dir: SearchDirectory = None,
    wait: Annotated[
        float, typer.Option(help="Seconds to wait until the driver is gone.", min=0)
    ] = 60.0,
    as_json: Json = False,
) -> None:
    """Stop a running search; `resume` continues it."""
    from nas.monitoring.housekeeping import stop_driver

    directory = run_flags.opened(search_dir)
    pid = stop_driver(directory, wait)
    if pid is None:
        raise ConfigError(f"{directory}: not running; there is nothing to stop")
    text = f"{directory}: process {pid} has stopped; `{resume_command(directory)}` continues"
    content = {"search_dir": str(directory), "stopped": pid}
    common.print_result(content, text, as_json=as_json)


def resume(
    search_dir: SearchDirectory = None,
    stage: Stage = None,
    data: MovedData = None,
    ray_address: RayAddress = None,
    on_event: Annotated[str | None, flag(RunFlags, "on_event")] = None,
    track: Annotated[str | None, flag(RunFlags, "track")] = None,
    as_json: Json = False,
) -> None:
    """Resume a search with its options."""

    directory = run_flags.opened(search_dir)
    begun = sorted(directory.requests())
    chosen = stage or max(begun, default=1)
    if chosen not in begun:
        raise ConfigError(f"{directory}: stage {chosen} has not begun")
    run = RunFlags(
        search_dir=directory.root,
        ray_address=ray_address,
        on_event=on_event,
        track=track,
        as_json=as_json,
    )
    options = {} if data is None else {"data": data}
    run_stage_command(StageInput(stage=chosen, options=options, run=run))


def clean(
    search_dir: SearchDirectory = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and exit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Remove the training states of ended trials.

    best.pt and all results are kept.
    """
    from nas.monitoring import housekeeping

    directory = run_flags.opened(search_dir)
    if dry_run:
        files = housekeeping.removable(directory)
        count, size = len(files), sum(files.values())
    else:
        count, size = housekeeping.clean(directory)
    content = {"search_dir": str(directory), "files": count, "bytes": size}
    content["removed"] = not dry_run
    verb = "would remove" if dry_run else "removed"
    text = f"{directory}: {verb} {counted(count, 'file')}, {size / 1e6:.1f} MB"
    common.print_result(content, text, as_json=as_json)


COMMANDS = {
    "list": list_searches,
    "logs": logs,
    "stop": stop,
    "resume": resume,
    "clean": clean,
}
