"""Commands that run the stages of a search: `stage1`, `stage2`, `stage-sr`."""

import sys
from typing import TYPE_CHECKING, Any

from nas.cli.shared import common, leaderboards
from nas.cli.shared.flags import declared
from nas.cli.shared.run_flags import RunFlags
from nas.cli.shared.stage_input import StageInput, read_input, stage_flags
from nas.search.search_file import file_content
from nas.storage.urls import absolute
from search_spaces.yaml_files import dump_yaml
from trials.options import option_fields

if TYPE_CHECKING:
    from nas.search.directory import SearchDir
    from nas.stage import Summary

_STAGE1_HELP = """Search the backbone: train and rank random candidates.

Run the command again to resume. Options that are left out are those of the run before.
"""
_STAGE2_HELP = """Redistribute a template's compute over all its parts.

FLOPs target, data, recipe, epochs and image size are those of stage 1, if there is one.
"""
_STAGE_SR_HELP = """Search the probabilities of the crop scales in training.

This is the third stage of a search directory. Candidate 1 has the recipe unchanged. The recipe
of each candidate is stored beside its results, for `scrfd-nas train --recipe`.
"""
_STAGES = (
    (1, "stage1", _STAGE1_HELP),
    (2, "stage2", _STAGE2_HELP),
    (3, "stage-sr", _STAGE_SR_HELP),
)


def _stage_command(stage: int, help: str) -> Any:
    """Return the command of a stage."""

    def command(given: dict[str, Any]) -> None:
        run_stage_command(read_input(stage, given))

    command.__doc__ = help
    own = [item for item in option_fields(RunFlags) if stage in item.option.stages]
    return declared(command, [*stage_flags(stage), *own])


def run_stage_command(asked: StageInput) -> None:
    """Run or resume a stage and print its leaderboard."""
    from nas.recording.tracking import require_tracker

    directory, stage, as_json = asked.directory(), asked.stage, asked.run.as_json
    if asked.run.track is not None:
        require_tracker(asked.run.track)
    if asked.run.dry_run:
        _print_request(directory, asked)
        return
    from nas.search.budget import LimitReached
    from nas.stage import write_stage_leaderboard

    try:
        summary = _run(directory, asked)
    except LimitReached:
        so_far = {stage: write_stage_leaderboard(directory, stage)}
        leaderboards.print_leaderboards(directory, so_far, as_json=as_json)
        raise
    leaderboards.print_leaderboards(directory, {stage: summary.table}, as_json=as_json)
    summary.require_finished()


def _run(directory: "SearchDir", asked: StageInput) -> "Summary":
    """Run the stage with a display, which already shows that heavy packages are imported."""
    with common.resumable(f"the search in {directory}") as display:
        from nas.stage import RunOptions, run_stage

        flags = asked.run
        run = RunOptions(
            address=flags.ray_address,
            retry_failed=flags.retry_failed,
            on_event=flags.on_event,
            track=flags.track,
            screen_audit=flags.screen_audit,
            screen_force=flags.screen_force,
        )
        return run_stage(directory, asked.stage, asked.options, run, display)


def _print_request(directory: "SearchDir", asked: StageInput) -> None:
    """Print the request that would be run, in the form of `search.yaml`, which --config takes."""
    from nas.resolve_request import resolve_request
    from nas.search.directory import package_versions

    request, _ = resolve_request(directory, asked.stage, asked.options)
    section = {
        "request": request.to_dict(),
        "run": asked.run.file_content(asked.stage) | {"search_dir": absolute(str(directory))},
        "versions": package_versions(),
    }
    content = file_content({asked.stage: section})
    if asked.run.as_json:
        common.print_json(content)
    else:
        sys.stdout.write(dump_yaml(content))


COMMANDS = {name: _stage_command(stage, text) for stage, name, text in _STAGES}
