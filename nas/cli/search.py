"""Commands of a search: its two stages, and how it stands."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common, leaderboards
from nas.cli.stage_options import (
    JSON_HELP,
    SEARCH_DIR,
    STAGE_OPTIONS,
    request_options,
    run_options,
    stage_command,
)
from nas.storage.urls import absolute
from search_spaces.errors import ConfigError, TrialError

if TYPE_CHECKING:
    from nas.search.directory import SearchDir
    from nas.stage import Summary

_STAGE1_HELP = """Search the backbone: train random candidates of one budget and rank them.

Run it again to continue. Options that are left out are as in the run before.
"""
_STAGE2_HELP = """Redistribute a template's compute over backbone, neck and head.

FLOPs target, data, recipe, epochs and image size are stage 1's, where there was one.
"""
_STAGE_SR_HELP = """Search how often training draws each crop scale, for one fixed network.

The third stage of a search directory. Candidate 1 is the recipe as it is; the recipe of each
candidate lies beside its results, for `scrfd-nas train --recipe`.
"""
_STAGES = (
    (1, "stage1", _STAGE1_HELP),
    (2, "stage2", _STAGE2_HELP),
    (3, "stage-sr", _STAGE_SR_HELP),
)
_JSON = typer.Option("--json", help=JSON_HELP)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for stage, name, text in _STAGES:
        app.command()(stage_command(stage, name, text, run_stage_command))
    app.command()(status)


def status(
    search_dir: Annotated[Path | None, SEARCH_DIR] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Show how a search stands, from any terminal."""
    from dataclasses import asdict

    from nas.monitoring.status import read_status
    from nas.search.directory import find_search_dir

    directory = find_search_dir(search_dir)
    stages = [read_status(directory, stage) for stage in sorted(directory.requests())]
    driver = directory.driver()
    if as_json:
        content = {f"stage{status.stage}": status.to_dict() for status in stages}
        who = asdict(driver) if driver else None
        common.print_json({"search_dir": str(directory), "driver": who, **content})
        return
    text = f"process {driver.pid} on {driver.host} works here" if driver else "nobody works here"
    common.print_rich(f"{directory}: {text}")
    for line in stages:
        common.print_rich(line.describe())


def run_stage_command(stage: int, flags: dict[str, Any]) -> None:
    """Run or continue a stage as `flags` say (see `stage_options`) and print its leaderboard."""
    from nas.recording.tracking import require_tracker

    config = _read_config(stage, flags["config"]) if flags["config"] else {}
    options = _request_options(request_options(stage, flags), config)
    own = run_options(stage, flags, config)
    directory = search_directory(own["search_dir"], options.get("flops"))
    if own["track"] is not None:
        require_tracker(own["track"])
    if flags["dry_run"]:
        _print_request(directory, stage, options, own, as_json=flags["as_json"])
        return
    from nas.search.budget import LimitReached
    from nas.stage import write_stage_leaderboard

    try:
        summary = _run(directory, stage, options, own)
    except (KeyboardInterrupt, SystemExit):
        common.print_note(f"stopped; the same command continues the search in {directory}")
        raise
    except LimitReached:
        so_far = {stage: write_stage_leaderboard(directory, stage)}
        leaderboards.print_leaderboards(directory, so_far, as_json=flags["as_json"])
        raise
    tables = {stage: summary.table}
    leaderboards.print_leaderboards(directory, tables, as_json=flags["as_json"])
    if not summary.num_finished:
        reason = next(iter(summary.table["reason"]), "there are no candidates")
        raise TrialError(f"no candidate of stage {stage} finished; the first failed: {reason}")


def _run(
    directory: "SearchDir", stage: int, options: Mapping[str, Any], own: Mapping[str, Any]
) -> "Summary":
    """Run the stage with a display, and tell the command of `--on-event`."""
    from nas.monitoring.progress import shown
    from nas.recording.event_hooks import telling
    from nas.stage import RunOptions, run_stage

    note = common.print_note
    with (
        shown(common.console) as update,
        telling(own["on_event"], directory, stage, note) as teller,
    ):
        run = RunOptions(
            address=own["ray_address"],
            retry_failed=own["retry_failed"],
            screen_audit=own.get("screen_audit"),
            screen_force=bool(own.get("screen_force")),
            watch=teller.watch,
            track=own["track"],
        )
        following = teller.following(update)
        return run_stage(directory, stage, options, run, update=following, note=note)


def _print_request(
    directory: "SearchDir",
    stage: int,
    options: Mapping[str, Any],
    own: Mapping[str, Any],
    *,
    as_json: bool,
) -> None:
    """What would be run, in the form of `search.yaml`, so that --config takes it."""
    from nas.resolve_request import resolve_request
    from nas.search.directory import package_versions
    from search_spaces.files import dump_yaml

    request, _ = resolve_request(directory, stage, options)
    run = {**own, "search_dir": absolute(str(directory))}
    section = {
        "request": request.to_dict(),
        "run": {k: str(v) if isinstance(v, Path) else v for k, v in run.items()},
        "versions": package_versions(),
    }
    content = {f"stage{stage}": section}
    if as_json:
        common.print_json(content)
    else:
        sys.stdout.write(dump_yaml(content))


def read_options(stage: int, flags: Mapping[str, Any], config: Path | None) -> dict[str, Any]:
    """The options given in the file and by flags, as `nas.stage.run_stage` takes them."""
    return _request_options(flags, _read_config(stage, config) if config else {})


def _request_options(flags: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    from trials.recipe import load_recipe

    names = {option.name for option in STAGE_OPTIONS if option.is_in_run_section}
    options = {key: value for key, value in config.items() if key not in names} | dict(flags)
    if isinstance(options.get("flops"), str):
        options["flops"] = common.parse_flops(options["flops"])
    if isinstance(options.get("recipe"), str):
        options["recipe"] = load_recipe(options["recipe"]).to_dict()
    if "data" in options:
        options["data"] = str(options["data"])
    return options


def _read_config(stage: int, path: Path) -> dict[str, Any]:
    """A flat file of options, one with a section a stage, or another search's search.yaml."""
    from search_spaces.files import read_yaml

    content = read_yaml(path)
    if isinstance(content, Mapping) and {"stage1", "stage2", "stage3"} & set(content):
        content = content.get(f"stage{stage}", {})
    if isinstance(content, Mapping) and "request" in content:
        parts = [content["request"], content.get("run") or {}]
    else:
        parts = [content]
    for part in parts:
        if not isinstance(part, Mapping):
            raise ConfigError(f"{path}: must be a mapping of options, got {type(part).__name__}")
    computed = ("data_fingerprint", "template_hash", "study")  # of what is there now
    given = {str(key): value for part in parts for key, value in part.items()}
    return {key: value for key, value in given.items() if key not in computed}


def search_directory(given: Path | None, flops: object) -> "SearchDir":
    """The directory given, that of the target, or the only search below `runs`."""
    from nas.search.directory import SearchDir, find_search_dir

    if given is not None:
        directory = SearchDir(given)
        directory.refresh()
        return directory
    if isinstance(flops, int):
        return SearchDir(Path("runs") / f"scrfdgen{flops / 1e9:g}g")
    return find_search_dir(None)
