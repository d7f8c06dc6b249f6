"""The two stages: candidates -> trials -> study -> leaderboard, continued at any point."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pandas as pd

from nas import executor
from nas.executor import Cluster
from nas.progress import SearchProgress, Update
from nas.proposals import propose
from nas.recorder import Recorder
from nas.request import AnyRequest
from nas.resolve import resolve_request
from nas.search_dir import BusyError, SearchDir
from nas.status import stage_rows
from nas.study import Entry, Study
from nas.tasks import Resources, TrialTask, plain_settings
from reports.leaderboard import leaderboard, write_leaderboard
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.cost import flops_by_part, params_by_part, total
from search_spaces.errors import IncomparableError
from trials.result import Outcome, TrialFailure, TrialResult


class Proposed(Protocol):
    """What a source of candidates hands over (see `nas.proposals.Proposals`)."""

    @property
    def architectures(self) -> Sequence[Architecture]:
        """Distinct candidates; asking for more begins with the same ones."""

    @property
    def note(self) -> str | None:
        """What the user should be told."""


Propose = Callable[[AnyRequest, Architecture | None], Proposed]
Connect = Callable[[str | None], AbstractContextManager[Cluster]]
Note = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a stage is run now; nothing of it is part of the request.

    Attributes:
        address: of a Ray cluster; None: this machine.
        retry_failed: give failed trials another chance.
        entry: what runs one trial (see `TrialTask`).
        propose, connect: where candidates and machines come from.
    """

    address: str | None = None
    retry_failed: bool = False
    entry: str = "trials.run:run_trial"
    propose: Propose = propose
    connect: Connect = executor.connected


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
        stage: 1 or 2.
        options: keys of the stage's request; what is left out is as in the run before, in
            stage 1 (for stage 2), or the default.
        run: how to run it now.
        update: hears of every change of the status (see `nas.progress.shown`).
        note: hears of what the user should know.

    Raises:
        IncomparableError: the options contradict those of the run before, or stage 1's.
        ConfigError: an option breaks a rule; the template does not exist.
        InfeasibleError: no candidate satisfies the constraints.
        DataError: there are no data.
        BusyError: another driver works in the directory.
        KeyboardInterrupt, Terminated: a signal; the directory can be continued.
    """
    known = directory.requests()
    # Before the directory is made and held, so that a mistyped option leaves nothing behind.
    request, template = resolve_request(directory, stage, options)
    with directory.held(stage):
        if directory.requests() != known:
            raise BusyError(f"{directory.root}: was changed by another process; run this again")
        if stage == 2:
            _note_unfinished(directory, note)
        candidates = _candidates(directory, request, template, run, note)
        # Not earlier: a request that nothing satisfies must not bind the next one.
        directory.write_request(_with_granted_resources(request, known))
        _save_candidates(directory, stage, candidates, template)
        try:
            request = _run_trials(directory, request, candidates, run, update, note)
        finally:
            table = write_stage_leaderboard(directory, stage)
    return Summary(request=request, table=table, outcomes=directory.outcomes(stage))


def _note_unfinished(directory: SearchDir, note: Note) -> None:
    unfinished = set(directory.numbers(1)) - set(directory.outcomes(1))
    if unfinished:
        note(f"stage 1 has {len(unfinished)} candidates without a result yet")


def write_stage_leaderboard(directory: SearchDir, stage: int) -> pd.DataFrame:
    """Rank the stage's candidates as its files are now; writes `leaderboard.csv`."""
    table = leaderboard(stage_rows(directory, stage))
    write_leaderboard(table, directory.leaderboard_file(stage))
    return table


def _candidates(
    directory: SearchDir,
    request: AnyRequest,
    template: Architecture | None,
    run: RunOptions,
    note: Note,
) -> dict[int, Architecture]:
    """The stage's candidates, numbered from 1: those that have a file, and new ones."""
    existing = directory.candidates(request.stage)
    if len(existing) >= request.num_candidates:
        if len(existing) > request.num_candidates:
            note(f"{len(existing)} candidates exist already; asked for {request.num_candidates}")
        return existing
    proposed = run.propose(request, template)
    if proposed.note:
        note(proposed.note)
    numbered = dict(enumerate(proposed.architectures, start=1))
    for number, architecture in existing.items():
        if numbered.get(number) != architecture:
            raise IncomparableError(
                f"{directory.architecture_file(request.stage, number)}: this version of the "
                "program proposes another candidate under this number; choose another "
                "--search-dir, or leave --num-candidates as it was"
            )
    return numbered


def _save_candidates(
    directory: SearchDir,
    stage: int,
    candidates: Mapping[int, Architecture],
    template: Architecture | None,
) -> None:
    """Write the files that are not there yet."""
    if template is not None:
        save_architecture(template, directory.stage_folder(stage) / "template.yaml")
    for number in sorted(set(candidates) - set(directory.numbers(stage))):
        save_architecture(candidates[number], directory.architecture_file(stage, number))


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


def _run_trials(
    directory: SearchDir,
    request: AnyRequest,
    candidates: Mapping[int, Architecture],
    run: RunOptions,
    update: Update,
    note: Note,
) -> AnyRequest:
    """Run what has no outcome yet; returns the request with the resources it was run with."""
    stage = request.stage
    if run.retry_failed:
        _forget_failures(directory, stage)
    outcomes = directory.outcomes(stage)
    study = Study(directory.journal, stage)
    entries = {number: _entry(directory, stage, number, a) for number, a in candidates.items()}
    study.synchronize(entries, outcomes)
    pending = sorted(set(candidates) - set(outcomes))
    if not pending:
        note(f"all {len(candidates)} candidates of stage {stage} are done")
        return request
    done = {number: directory.epochs_done(stage, number) for number in candidates}
    progress = SearchProgress(stage, request.epochs, done, outcomes)
    update(progress.status(), f"stage {stage}: {len(pending)} trials to run, starting Ray")
    with run.connect(run.address) as cluster:
        resources = _resources(request, cluster, len(candidates))
        request = replace(
            request,
            cpus_per_trial=resources.cpus_per_trial,
            gpus_per_trial=resources.gpus_per_trial,
        )
        directory.write_request(request)
        tasks = [_task(directory, request, n, candidates[n], resources, run) for n in pending]
        recorder = Recorder(directory, stage, study, progress, update)
        try:
            cluster.run(tasks, resources, on_event=recorder.note, retries=request.retries)
        finally:
            study.stop()
    return request


def _forget_failures(directory: SearchDir, stage: int) -> None:
    for number, outcome in directory.outcomes(stage).items():
        if isinstance(outcome, TrialFailure):
            directory.result_file(stage, number).unlink(missing_ok=True)


def _entry(directory: SearchDir, stage: int, number: int, architecture: Architecture) -> Entry:
    return Entry(
        architecture=architecture,
        file=str(directory.architecture_file(stage, number).relative_to(directory.root)),
        flops=total(flops_by_part(architecture)),
        params=total(params_by_part(architecture)),
    )


def _resources(request: AnyRequest, cluster: Cluster, num_trials: int) -> Resources:
    """As asked for, as in the run before, or as the cluster suggests."""
    chosen = cluster.default_resources(num_trials)
    if request.gpus_per_trial is not None:
        chosen = replace(chosen, gpus_per_trial=request.gpus_per_trial)
    if request.cpus_per_trial is not None:
        chosen = replace(chosen, cpus_per_trial=request.cpus_per_trial)
    cluster.check(chosen)
    return chosen


def _task(
    directory: SearchDir,
    request: AnyRequest,
    number: int,
    architecture: Architecture,
    resources: Resources,
    run: RunOptions,
) -> TrialTask:
    return TrialTask(
        number=number,
        architecture=architecture.to_dict(),
        recipe=request.recipe,
        settings=plain_settings(request.settings(resources.threads)),
        data_root=request.data,
        folder=str(directory.trial_folder(request.stage, number).resolve()),
        entry=run.entry,
    )
