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
from nas.request import AnyRequest
from nas.resolve import resolve_request
from nas.search_dir import BusyError, SearchDir
from nas.status import stage_rows
from nas.study import Entry, Study
from nas.tasks import Resources, TrialEvent, TrialTask, plain_settings
from reports.leaderboard import leaderboard, write_leaderboard
from search_spaces.architecture import Architecture, save_architecture
from search_spaces.cost import flops_by_part, params_by_part, total
from search_spaces.errors import IncomparableError
from trials.result import Outcome, TrialFailure, TrialResult, save_outcome


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
        directory.write_request(request)
        candidates = _ensure_candidates(directory, request, template, run, note)
        try:
            request = _run_trials(directory, request, candidates, run, update, note)
        finally:
            table = write_stage_leaderboard(directory, stage)
    return Summary(request=request, table=table, outcomes=directory.outcomes(stage))


def write_stage_leaderboard(directory: SearchDir, stage: int) -> pd.DataFrame:
    """Rank the stage's candidates as its files are now; writes `leaderboard.csv`."""
    table = leaderboard(stage_rows(directory, stage))
    write_leaderboard(table, directory.leaderboard_file(stage))
    return table


def _ensure_candidates(
    directory: SearchDir,
    request: AnyRequest,
    template: Architecture | None,
    run: RunOptions,
    note: Note,
) -> dict[int, Architecture]:
    """The stage's candidates, numbered from 1; proposes those that have no file yet."""
    if template is not None:
        save_architecture(template, directory.stage_folder(2) / "template.yaml")
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
    for number in sorted(set(numbered) - set(existing)):
        save_architecture(numbered[number], directory.architecture_file(request.stage, number))
    return numbered


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
        recorder = _Recorder(directory, stage, study, progress, update)
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


@dataclass(frozen=True)
class _Recorder:
    """Turns the executor's events into files, the study, and the display."""

    directory: SearchDir
    stage: int
    study: Study
    progress: SearchProgress
    update: Update

    def note(self, event: TrialEvent) -> None:
        """Record one event; what must not be lost goes first."""
        outcome, text = None, ""
        if event.kind == "started":
            self.study.start(event.number)
        elif event.kind == "epoch" and event.hard is not None:
            self.study.report(event.number, event.epoch, event.hard)
        elif event.kind == "retried" and event.failure:
            text = f"candidate {event.number}: {event.failure.reason}; it is tried again"
        elif event.kind in ("finished", "failed"):
            outcome, text = self._outcome(event)
            self.study.finish(event.number, outcome)
        self.progress.note(event, outcome)
        self.update(self.progress.status(), text)

    def _outcome(self, event: TrialEvent) -> tuple[Outcome, str]:
        """What the trial's folder says, or the failure, which is put there."""
        folder = self.directory.trial_folder(self.stage, event.number)
        result = self.directory.outcome(self.stage, event.number)
        if isinstance(result, TrialResult):
            return result, f"candidate {event.number}: hard AP {result.hard:.4f}"
        failure = event.failure or TrialFailure(reason="it ended without a result")
        save_outcome(failure, folder)
        return failure, f"candidate {event.number} failed: {failure.reason}"
