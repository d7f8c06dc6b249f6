"""The trials of one stage: what is run next, on which machines, and what is heard of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nas.early_stopping.asha import RungRecords
from nas.early_stopping.rounds import Round
from nas.monitoring.progress import SearchProgress, Update
from nas.recorder import Recorder, Watch
from nas.recording.tracking import Tracking, tracking
from nas.run_options import RunOptions
from nas.running.cluster import Cluster
from nas.running.preflight import check_nodes
from nas.running.tasks import Resources, TrialTask, plain_settings
from nas.search.budget import HOURS_FILE, Budget, devices_of, recorded_hours
from nas.search.decisions import Decisions, read_decided
from nas.search.events import EventKind, TrialEvent
from nas.search.request import AnyRequest
from nas.stage_candidates import StageCandidates
from nas.study.study import Study
from search_spaces.errors import InfeasibleError, TrialError
from trials.result import TrialStopped

Note = Callable[[str], None]


def run_trials(
    candidates: StageCandidates, run: RunOptions, update: Update, note: Note
) -> AnyRequest:
    """Run what has no outcome yet; returns the request with the resources it was run with.

    Raises: as `nas.stage.run_stage`.
    """
    stage, directory = candidates.stage, candidates.directory
    if run.retry_failed:
        candidates.forget_failures()
    study = Study(directory.study_place(stage), stage, note)
    study.synchronize(candidates.entries(), candidates.outcomes())
    if candidates.is_done():
        note(f"all {len(candidates.architectures)} candidates of stage {stage} are done")
        return candidates.request
    shown = tracking(run.track, directory.root, candidates.request, candidates.entry, note)
    progress = _progress(candidates)
    status = progress.status()
    update(status, f"stage {stage}: {status.waiting} trials to run, starting Ray")
    with run.connect(run.address) as cluster:
        resources = resources_for(candidates.request, cluster, candidates.expected)
        request = replace(
            candidates.request,
            cpus_per_trial=resources.cpus_per_trial,
            gpus_per_trial=resources.gpus_per_trial,
        )
        if run.address is not None:
            check_nodes(cluster.nodes, resources, request, directory)
        directory.write_request(request)
        budget = _budget(candidates, resources)
        trials = _Trials(
            candidates=candidates,
            run=run,
            cluster=cluster,
            resources=resources,
            study=study,
            progress=progress,
            recorder=_recorder(candidates, study, progress, update, _watch(run, budget)),
            budget=budget,
            note=note,
            tracking=shown,
        )
        try:
            budget.check()
            trials.run_all()
        finally:
            budget.close()
            study.stop()
    return request


def _progress(candidates: StageCandidates) -> SearchProgress:
    return SearchProgress(
        candidates.stage,
        candidates.request.epochs,
        candidates.epochs_done(),
        candidates.outcomes(),
        expected=candidates.expected,
    )


def resources_for(request: AnyRequest, cluster: Cluster, num_trials: int) -> Resources:
    """As asked for, as in the run before, or as the cluster suggests."""
    chosen = cluster.default_resources(num_trials)
    if request.gpus_per_trial is not None:
        chosen = replace(chosen, gpus_per_trial=request.gpus_per_trial)
    if request.cpus_per_trial is not None:
        chosen = replace(chosen, cpus_per_trial=request.cpus_per_trial)
    cluster.check(chosen)
    return chosen


def _recorder(
    candidates: StageCandidates,
    study: Study,
    progress: SearchProgress,
    update: Update,
    watch: Watch,
) -> Recorder:
    directory, stage = candidates.directory, candidates.stage
    decisions = Decisions(directory.stage_folder(stage), candidates.request.scheduler)
    return Recorder(directory, stage, study, progress, decisions, update, watch)


def _budget(candidates: StageCandidates, resources: Resources) -> Budget:
    devices = devices_of(resources.gpus_per_trial)
    return Budget(
        candidates.directory.root / HOURS_FILE,
        candidates.stage,
        devices,
        limit=candidates.request.max_gpu_hours,
        recorded=recorded_hours(candidates.outcomes(), devices),
    )


def _watch(run: RunOptions, budget: Budget) -> Watch:
    """Charge the time that trials run to the budget, and let others see the event."""

    def watch(event: TrialEvent) -> None:
        if event.kind in ("started", "epoch"):
            budget.started(event.number)
        elif event.kind != "promoted":
            budget.ended(event.number)
        run.watch(event)
        budget.check()

    return watch


@dataclass(frozen=True, kw_only=True)
class _Trials:
    """The trials of a stage on a cluster."""

    candidates: StageCandidates
    run: RunOptions
    cluster: Cluster
    resources: Resources
    study: Study
    progress: SearchProgress
    recorder: Recorder
    budget: Budget
    note: Note
    tracking: Tracking | None

    def run_all(self) -> None:
        """Until every candidate has ended."""
        if self.candidates.request.schedule.is_complete:
            self._run_rounds()
        else:
            self._run_side_by_side()

    def _run_side_by_side(self) -> None:
        """Run all trials at once; those that a rung ends stop while the others run."""
        candidates = self.candidates
        records = self._rung_records() if candidates.request.schedule.stops_trials else None
        pending = candidates.pending()
        self.cluster.run(
            [] if candidates.ask else [self._task(number) for number in pending],
            self.resources,
            on_event=self.recorder.note,
            on_step=self._check,
            retries=candidates.request.retries,
            more=self._one_by_one(pending) if candidates.ask else None,
            records=records,
            tracking=self.tracking,
        )

    def _rung_records(self) -> RungRecords:
        """Return the curves and decisions so far, after deciding about interrupted trials."""
        candidates, folder = (
            self.candidates,
            self.candidates.directory.stage_folder(self.candidates.stage),
        )
        records = RungRecords(
            schedule=candidates.request.schedule,
            curves=candidates.curves(candidates.architectures),
            decided=read_decided(folder),
        )
        for number in candidates.pending():
            for decision in records.record(number, records.curves[number]):
                kind: EventKind = "promoted" if decision.continues else "stopped"
                self._tell(kind, number, decision.rung)
        return records

    def _one_by_one(self, pending: Sequence[int]) -> Callable[[], TrialTask | None]:
        """Names the next task: those that were interrupted, then new candidates."""
        waiting = list(pending)

        def next_task() -> TrialTask | None:
            number = waiting.pop(0) if waiting else self._choose()
            return None if number is None else self._task(number)

        return next_task

    def _choose(self) -> int | None:
        try:
            number = self.candidates.choose()
        except InfeasibleError as error:
            self.note(f"no more candidates: {error}")
            return None
        if number is not None:
            self.study.add(number, self.candidates.entry(number))
        return number

    def _run_rounds(self) -> None:
        """Round after round (see `nas.early_stopping.rounds`)."""
        before: Round | None = None
        while True:
            now = self.candidates.next_round()
            self._decide(now)
            if not now.numbers:
                return
            if before and before.until == now.until and set(before.numbers) & set(now.numbers):
                rule = f"candidates {now.numbers} ended without an AP after epoch {now.until}"
                raise TrialError(f"{rule}; see trial.log in their folders")
            self._take_up_again(now)
            self._run_round(now)
            before = now

    def _run_round(self, now: Round) -> None:
        self.cluster.run(
            [self._task(number, now.until) for number in now.numbers],
            self.resources,
            on_event=self.recorder.note,
            on_step=self._check,
            retries=self.candidates.request.retries,
            tracking=self.tracking,
        )

    def _check(self) -> None:
        """Raise what ends the search early."""
        self.budget.check()
        self.candidates.directory.storage.check()

    def _decide(self, now: Round) -> None:
        """Record who goes on and who is stopped, in the order of the candidates."""
        ended = self.candidates.outcomes()
        for number, rung in sorted(now.promoted.items()):
            self._tell("promoted", number, rung)
        for number, rung in sorted(now.stopped.items()):
            if number not in ended:
                self._tell("stopped", number, rung)

    def _tell(self, kind: EventKind, number: int, epoch: int) -> None:
        hard = self.candidates.curves([number])[number].get(epoch)
        epochs = self.candidates.request.epochs
        self.recorder.note(
            TrialEvent(kind=kind, number=number, epoch=epoch, epochs=epochs, hard=hard)
        )

    def _take_up_again(self, now: Round) -> None:
        """Candidates that were stopped in a smaller field, and belong to the best of this one."""
        outcomes = self.candidates.outcomes()
        stopped = [n for n in now.numbers if isinstance(outcomes.get(n), TrialStopped)]
        for number in stopped:
            self.candidates.forget(number)
            self.progress.forget(number)
        if stopped:
            self.study.synchronize(self.candidates.entries(), self.candidates.outcomes())

    def _task(self, number: int, until: int | None = None) -> TrialTask:
        request, directory = self.candidates.request, self.candidates.directory
        folder = directory.trial_folder(request.stage, number)
        return TrialTask(
            number=number,
            architecture=self.candidates.architectures[number].to_dict(),
            recipe=request.recipe_of(number),
            settings=plain_settings(request.settings(self.resources.threads)),
            data_root=request.data,
            folder=str(folder.resolve()),
            remote=directory.url_of(folder),
            entry=self.run.entry,
            until=until,
            fingerprint=request.data_fingerprint,
            witness=directory.witness(request.stage, number),
        )
