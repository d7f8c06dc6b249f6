"""The two stages: candidates -> trials -> study -> leaderboard, continued at any point."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from nas.candidates.screening import ScreeningOptions, screened_candidates
from nas.monitoring.progress import Update
from nas.monitoring.status import stage_rows
from nas.resolve_request import resolve_request
from nas.run_options import RunOptions
from nas.search.directory import SearchDir
from nas.search.disk import naming_full_disks
from nas.search.request import NO_SCREEN, AnyRequest, RedistributionRequest
from nas.stage_candidates import StageCandidates
from nas.stage_trials import Note, run_trials
from nas.storage.driver_lock import BusyError
from nas.strategies.on_demand_proposals import Ask
from reports.leaderboard import leaderboard, write_leaderboard
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.errors import IncomparableError
from search_spaces.files import dump_yaml, write_text
from trials.result import Outcome, TrialResult

__all__ = ["Note", "RunOptions", "Summary", "run_stage", "write_stage_leaderboard"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run of a stage came to.

    Attributes:
        request: what was run.
        table: the leaderboard (see `reports.leaderboard`).
        outcomes: by candidate; complete unless the run was interrupted.
    """

    request: AnyRequest
    table: pd.DataFrame
    outcomes: Mapping[int, Outcome]

    @property
    def num_finished(self) -> int:
        """Candidates that have an AP."""
        return sum(isinstance(outcome, TrialResult) for outcome in self.outcomes.values())


def run_stage(
    directory: SearchDir,
    stage: int,
    options: Mapping[str, Any],
    run: RunOptions,
    *,
    update: Update,
    note: Note,
) -> Summary:
    """Run or continue a stage until every candidate has an outcome.

    Args:
        directory: of the search; made if absent.
        stage: 1, 2, or 3 for `stage-sr`.
        options: keys of the stage's request; what is left out is as in the run before, in
            stage 1 (for stage 2), or the default.
        run: how to run it now.
        update: hears of every change of the status (see `nas.monitoring.progress.shown`).
        note: hears of what the user should know.

    Raises:
        IncomparableError: the options contradict those of the run before, or stage 1's.
        ConfigError: an option breaks a rule; the template does not exist.
        InfeasibleError: no candidate satisfies the constraints.
        DataError: there are no data.
        BusyError: another driver works in the directory.
        DiskFullError: no space is left; the search can be continued.
        LimitReached: the search has cost the hours that it may; it can be continued.
        KeyboardInterrupt, Terminated: a signal; the directory can be continued.
    """
    known = directory.requests()
    # Before the directory is made and held, so that a mistyped option leaves nothing behind.
    request, template = resolve_request(directory, stage, options)
    directory.place_of(request).check()
    with naming_full_disks(directory.root), directory.held(stage, note):
        if directory.requests() != known:
            raise BusyError(f"{directory}: was changed by another process; run this again")
        if stage == 2:
            _note_unfinished(directory, note)
        candidates, ask = _candidates(directory, request, template, run, update, note)
        # Not earlier: a request that nothing satisfies must not bind the next one.
        directory.write_request(_with_granted_resources(request, known))
        _save_candidates(directory, request, candidates, template)
        try:
            chosen = StageCandidates(
                directory=directory, request=request, architectures=candidates, ask=ask
            )
            request = run_trials(chosen, run, update, note)
        finally:
            table = write_stage_leaderboard(directory, stage, is_over=True)
    return Summary(request=request, table=table, outcomes=directory.outcomes(stage))


def _note_unfinished(directory: SearchDir, note: Note) -> None:
    unfinished = set(directory.numbers(1)) - set(directory.outcomes(1))
    if unfinished:
        note(f"stage 1 has {len(unfinished)} candidates without a result yet")


def write_stage_leaderboard(
    directory: SearchDir, stage: int, *, is_over: bool = False
) -> pd.DataFrame:
    """Rank the stage's candidates as its files are now; writes `leaderboard.csv`.

    `is_over` is that of `nas.monitoring.status.stage_rows`.
    """
    table = leaderboard(stage_rows(directory, stage, is_over=is_over))
    write_leaderboard(table, directory.leaderboard_file(stage))
    return table


def _candidates(
    directory: SearchDir,
    request: AnyRequest,
    template: Architecture | None,
    run: RunOptions,
    update: Update,
    note: Note,
) -> tuple[dict[int, Architecture], Ask | None]:
    """The stage's candidates, numbered from 1: those that have a file, and new ones.

    With a strategy that chooses on demand, the new ones are still to be asked for.
    """
    existing = directory.candidates(request.stage)
    if isinstance(request, RedistributionRequest) and template is not None:
        count = max([request.num_candidates, *existing])
        return dict.fromkeys(range(1, count + 1), template), None
    if len(existing) >= request.num_candidates:
        if len(existing) > request.num_candidates:
            note(f"{len(existing)} candidates exist already; asked for {request.num_candidates}")
        return existing, None
    if request.screen != NO_SCREEN:
        screening = ScreeningOptions(pool=run.pool, audit=run.screen_audit, force=run.screen_force)
        chosen = screened_candidates(directory, request, template, screening, update, note)
        return dict(enumerate(chosen, start=1)), None
    ask = run.strategy(request, template)
    if ask is not None:
        return existing, ask
    proposed = run.propose(request, template)
    if proposed.note:
        note(proposed.note)
    numbered = dict(enumerate(proposed.architectures, start=1))
    for number, architecture in existing.items():
        if numbered.get(number) != architecture:
            raise IncomparableError(
                f"{directory.architecture_file(request.stage, number)}: random search would have "
                "another candidate under this number (a strategy chose this one, or another "
                "version of the program); choose another --strategy or --search-dir, or leave "
                "--num-candidates as it was"
            )
    return numbered, None


def _save_candidates(
    directory: SearchDir,
    request: AnyRequest,
    candidates: Mapping[int, Architecture],
    template: Architecture | None,
) -> None:
    """Write the files that are not there yet."""
    stage = request.stage
    if template is not None:
        save_architecture(template, directory.stage_folder(stage) / "template.yaml")
    for number in sorted(set(candidates) - set(directory.numbers(stage))):
        save_architecture(candidates[number], directory.architecture_file(stage, number))
        if stage == 3:
            recipe = dump_yaml(dict(request.recipe_of(number)))
            write_text(directory.recipe_file(stage, number), recipe)


def _with_granted_resources(request: AnyRequest, known: Mapping[int, AnyRequest]) -> AnyRequest:
    """`request` with resources that a cluster has granted before, not those asked for now.

    Otherwise a run without flags would go on asking for a GPU that is not there.
    """
    granted = known.get(request.stage) or known.get(1)
    if granted is None:
        return replace(request, cpus_per_trial=None, gpus_per_trial=None)
    return replace(
        request,
        cpus_per_trial=granted.cpus_per_trial,
        gpus_per_trial=granted.gpus_per_trial,
    )
