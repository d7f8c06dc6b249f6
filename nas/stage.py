"""A stage from top to bottom: request -> candidates -> trials -> records -> leaderboard.

A stage can be stopped at any point: what it has done is in the search directory, and the next
call continues from there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from nas.early_stopping.asha import RungDecision, RungRecords
from nas.early_stopping.rounds import Round
from nas.monitoring.progress import Display, SearchProgress
from nas.monitoring.read_status import write_displayed
from nas.monitoring.rows import stage_rows
from nas.recording.event_hooks import EventHook, event_hook
from nas.recording.subscribers import FolderRecorder, StudyRecorder
from nas.recording.tracking import tracking
from nas.resolve_request import resolve_request
from nas.run_options import RunOptions
from nas.running.cluster import Cluster
from nas.running.node_requirements import NodeFailures
from nas.running.tasks import Resources, TrialJob, TrialTask, trial_task
from nas.search.budget import HOURS_FILE, Budget
from nas.search.decisions import Decisions
from nas.search.directory import SearchDir
from nas.search.disk import naming_full_disks, stop_if_disk_full
from nas.search.events import Subscriber, decision_event, publisher
from nas.search.report_limits import report_limits
from nas.search.request import AnyRequest
from nas.stage_candidates import (
    StageCandidates,
    log_unfinished,
    repair_architectures,
    stage_candidates,
)
from nas.storage.driver_lock import BusyError
from nas.study.study import Study
from reports.leaderboard import leaderboard, write_leaderboard
from search_spaces.errors import InfeasibleError, TrialError, counted
from trials.data.dataset import describe_left_out
from trials.result import Outcome, TrialResult, TrialStopped

__all__ = ["RunOptions", "Summary", "run_stage", "write_stage_leaderboard"]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Result of running one stage.

    Attributes:
        request: Request of the stage.
        table: Leaderboard (see `reports.leaderboard`).
        outcomes: Outcomes by candidate; complete unless the run was interrupted.
    """

    request: AnyRequest
    table: pd.DataFrame
    outcomes: Mapping[int, Outcome]

    @property
    def num_finished(self) -> int:
        """Number of candidates that have an AP."""
        return sum(isinstance(outcome, TrialResult) for outcome in self.outcomes.values())

    def require_finished(self) -> None:
        """Raise TrialError if no candidate has an AP."""
        if not self.num_finished:
            reason = next(iter(self.table["reason"]), "there are no candidates")
            stage = self.request.stage
            raise TrialError(f"no candidate of stage {stage} finished; the first failed: {reason}")


def run_stage(
    directory: SearchDir, stage: int, options: Mapping[str, Any], run: RunOptions, display: Display
) -> Summary:
    """Run or continue a stage until every candidate has an outcome.

    Args:
        directory: Search directory; created if absent.
        stage: 1, 2, or 3 for `stage-sr`.
        options: Keys of the stage's request; keys that are left out are as in the run before,
            in stage 1 (for stage 2), or the default.
        run: Options about this run.
        display: Receives every status and line for the user.

    Raises:
        IncomparableError: The options contradict those of the run before, or stage 1's.
        ConfigError: An option breaks a rule; the template does not exist.
        InfeasibleError: No candidate satisfies the constraints.
        DataError: There are no data.
        BusyError: Another driver works in the directory.
        DiskFullError: No space is left; the search can be continued.
        LimitReached: The search has used its hours; it can be continued.
        KeyboardInterrupt, Terminated: A signal arrived; the search can be continued.
    """
    with event_hook(run.on_event, directory, stage, display.log) as hook:
        known = directory.requests()
        # Before the directory is created, so that a mistyped option leaves nothing behind.
        request, template = resolve_request(directory, stage, options)
        directory.place_of(request).check()
        with naming_full_disks(directory.root), directory.held(stage, display.log):
            if directory.requests() != known:
                raise BusyError(f"{directory}: was changed by another process; run this again")
            repair_architectures(directory, stage, display)
            if stage == 2:
                log_unfinished(directory, 1, display)
            candidates = stage_candidates(directory, request, template, run, display)
            # Only after candidates exist: an infeasible request must not constrain the next run.
            directory.write_request(_with_granted_resources(request, known))
            candidates.save(template)
            _log_data(directory, request, display)
            said = {line for before in known.values() for line in report_limits(before)}
            for line in report_limits(request):
                if line not in said:
                    display.log(line)
            try:
                request = _run_trials(candidates, run, display, hook)
            finally:
                table = write_stage_leaderboard(directory, stage, is_over=True)
    return Summary(request=request, table=table, outcomes=directory.outcomes(stage))


def write_stage_leaderboard(
    directory: SearchDir, stage: int, *, is_over: bool = False
) -> pd.DataFrame:
    """Rank the stage's candidates by its files and write `leaderboard.csv`; returns the table.

    `is_over` is that of `nas.monitoring.rows.stage_rows`.
    """
    table = leaderboard(stage_rows(directory, stage, is_over=is_over))
    write_leaderboard(table, directory.leaderboard_file(stage))
    return table


def _log_data(directory: SearchDir, request: AnyRequest, display: Display) -> None:
    """State which faces the APs are of, and which images training leaves out."""
    display.log(str(directory.origin(request.stage)["subsets"]))
    left_out = describe_left_out(request.data, request.settings(threads=1).held_out)
    if left_out:
        display.log(left_out)


def _with_granted_resources(request: AnyRequest, known: Mapping[int, AnyRequest]) -> AnyRequest:
    """Return `request` with resources that a cluster has granted before.

    Otherwise a later run without flags would ask again for a GPU that does not exist.
    """
    granted = known.get(request.stage) or known.get(1)
    return replace(
        request,
        cpus_per_trial=granted.cpus_per_trial if granted else None,
        gpus_per_trial=granted.gpus_per_trial if granted else None,
    )


def _run_trials(
    candidates: StageCandidates, run: RunOptions, display: Display, hook: EventHook
) -> AnyRequest:
    """Run the trials without an outcome; returns the request with the resources that they had."""
    directory, request = candidates.directory, candidates.request
    if run.retry_failed:
        candidates.forget_failures()
    study = Study(directory.study_place(candidates.stage), candidates.stage, display.log)
    study.synchronize(candidates.entries(), candidates.outcomes())
    if candidates.is_done():
        count = len(candidates.architectures)
        display.log(f"stage {candidates.stage} is done: {counted(count, 'candidate')}")
        return request
    progress = _progress(candidates, display, hook)
    with (
        tracking(run.track, directory.root, request, candidates.entry, display.log) as tracker,
        run.cluster(directory, request, candidates.expected) as (cluster, resources),
        closing(_budget(candidates, resources)) as budget,
    ):
        request = replace(request, **asdict(resources))
        directory.write_request(request)
        records = _record_keepers(candidates, study)
        trials = _Trials(
            candidates=candidates,
            cluster=cluster,
            resources=resources,
            entry=run.entry,
            study=study,
            progress=progress,
            budget=budget,
            display=display,
            publish=publisher([*records, progress, hook, tracker, *run.subscribers, budget]),
        )
        try:
            budget.check()
            trials.run()
        finally:
            study.stop()
    return request


def _progress(candidates: StageCandidates, display: Display, hook: EventHook) -> SearchProgress:
    """Return the progress that the events will change, after displaying the present status."""
    record = partial(write_displayed, root=candidates.directory.root)
    progress = SearchProgress(candidates.counts(), display, candidates.outcome, record=record)
    waiting = progress.status().waiting
    display.log(f"stage {candidates.stage}: {counted(waiting, 'trial')} to run, starting Ray")
    progress.show()
    hook.follow(progress.status)
    return progress


def _record_keepers(candidates: StageCandidates, study: Study) -> list[Subscriber]:
    """Return the subscribers that record events; they go first, and what must last goes first."""
    directory, stage = candidates.directory, candidates.stage
    return [
        stop_if_disk_full,
        NodeFailures(),
        FolderRecorder(directory, partial(directory.trial_folder, stage)),
        Decisions(directory.stage_folder(stage), candidates.request.scheduler),
        StudyRecorder(study, candidates.outcome),
    ]


def _budget(candidates: StageCandidates, resources: Resources) -> Budget:
    return Budget(
        candidates.directory.root / HOURS_FILE,
        candidates.stage,
        resources.gpus_per_trial,
        limit=candidates.request.max_gpu_hours,
        outcomes=candidates.outcomes().values(),
    )


@dataclass(frozen=True, kw_only=True)
class _Trials:
    """Trials of a stage on a cluster; `publish` passes their events to the subscribers."""

    candidates: StageCandidates
    cluster: Cluster
    resources: Resources
    entry: str
    study: Study
    progress: SearchProgress
    budget: Budget
    display: Display
    publish: Subscriber

    def run(self) -> None:
        """Run until every candidate has ended."""
        candidates = self.candidates
        if candidates.request.schedule.is_complete:
            self._run_rounds()
            return
        records = self._rung_records()
        pending = candidates.pending()
        tasks = self._on_demand(pending) if candidates.ask else [self._task(n) for n in pending]
        self.cluster.run(replace(self._job(tasks), records=records))

    def _rung_records(self) -> RungRecords | None:
        """Return the curves and decisions so far, after deciding about interrupted trials."""
        if not self.candidates.request.schedule.stops_trials:
            return None
        records = self.candidates.rung_records()
        for number in self.candidates.pending():
            self._publish_decisions(records.record(number, records.curves[number]))
        return records

    def _job(self, tasks: Iterable[TrialTask]) -> TrialJob:
        return TrialJob(
            tasks=tasks,
            resources=self.resources,
            publish=self.publish,
            check=self._check,
            retries=self.candidates.request.retries,
        )

    def _check(self) -> None:
        """Raise what ends the search early."""
        self.budget.check()
        self.progress.record()
        self.candidates.directory.storage.check()

    def _task(self, number: int, until: int | None = None) -> TrialTask:
        request, directory = self.candidates.request, self.candidates.directory
        folder = directory.trial_folder(request.stage, number)
        task = trial_task(directory, request, number, folder, self.resources)
        return replace(task, entry=self.entry, until=until)

    def _on_demand(self, pending: Sequence[int]) -> Iterator[TrialTask]:
        """Yield the tasks of interrupted candidates, then of candidates chosen one by one."""
        yield from map(self._task, pending)
        try:
            while (number := self.candidates.choose()) is not None:
                self.study.add(number, self.candidates.entry(number))
                yield self._task(number)
        except InfeasibleError as error:
            self.display.log(f"no more candidates: {error}")

    def _run_rounds(self) -> None:
        """Run round after round of complete rungs (see `nas.early_stopping.rounds`)."""
        before: Round | None = None
        while True:
            now = self.candidates.next_round()
            self._publish_decisions(self.candidates.round_decisions(now))
            if not now.numbers:
                return
            if before and before.until == now.until and set(before.numbers) & set(now.numbers):
                rule = f"candidates {now.numbers} ended without an AP after epoch {now.until}"
                raise TrialError(f"{rule}; see trial.log in their folders")
            self._resume_stopped(now)
            self.cluster.run(self._job([self._task(number, now.until) for number in now.numbers]))
            before = now

    def _publish_decisions(self, decisions: Iterable[RungDecision]) -> None:
        for decision in decisions:
            self.publish(decision_event(decision, self.candidates.request.epochs))

    def _resume_stopped(self, now: Round) -> None:
        """Continue candidates that a smaller field stopped, and that are among the best now."""
        outcomes = self.candidates.outcomes()
        stopped = [n for n in now.numbers if isinstance(outcomes.get(n), TrialStopped)]
        for number in stopped:
            self.candidates.forget(number)
            self.progress.forget(number)
        if stopped:
            self.study.synchronize(self.candidates.entries(), self.candidates.outcomes())
