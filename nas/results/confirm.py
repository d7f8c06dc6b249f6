"""The best candidates trained again with other seeds, so that their ranks can be trusted.

The trainings lie beside the candidate's own, in `seeds/<seed>`, and differ from it in the
seed alone. They are no candidates: the study does not know them; the leaderboard does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from nas.monitoring.progress import SearchProgress, Update
from nas.run_options import RunOptions
from nas.running.node_requirements import Misplacements
from nas.running.preflight import check_nodes
from nas.running.remote_trial_folder import fetch_trial
from nas.running.tasks import Resources, TrialTask, plain_settings
from nas.search.directory import SearchDir
from nas.search.disk import naming_full_disks, stop_if_disk_full
from nas.search.events import TrialEvent
from nas.search.request import AnyRequest
from nas.stage import write_stage_leaderboard
from nas.stage_trials import Note, resources_for
from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError, IncomparableError
from trials.fingerprint import data_fingerprint
from trials.result import Outcome, TrialFailure, TrialResult, load_result, save_outcome

MAX_SEED = 2**32


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What to confirm.

    Attributes:
        stage: 1, 2, or 3 for `stage-sr`.
        top: so many of the best finished candidates, by the search's own seed.
        seeds: so many seeds in all, the search's own among them.
    """

    stage: int
    top: int = 5
    seeds: int = 3

    def __post_init__(self) -> None:
        for name, low, high in (("stage", 1, 3), ("top", 1, 10_000), ("seeds", 2, 1000)):
            value = require_integer(getattr(self, name), name, low, high)
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class SeedRun:
    """One candidate with one seed, and the folder of its training."""

    candidate: int
    architecture: Architecture
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f"candidate {self.candidate}, seed {self.seed}"


def confirm(
    directory: SearchDir,
    asked: Confirmation,
    run: RunOptions,
    *,
    update: Update,
    note: Note,
) -> pd.DataFrame:
    """Train what is missing and return the new leaderboard.

    Asked again it continues: what has finished is not trained twice, what has failed is
    tried again, and larger numbers add to what is there.

    Args:
        directory: of a search.
        asked: which candidates and how many seeds.
        run: how to run it now; `retry_failed` and `propose` are not needed.
        update: hears of every change of the status.
        note: hears of what the user should know.

    Raises:
        ConfigError: the stage has not begun, or none of its candidates has finished.
        IncomparableError: the data are not those of the search.
        BusyError: another driver works in the directory.
        DiskFullError: no space is left; the same call continues.
        KeyboardInterrupt, Terminated: a signal; the same call continues.
    """
    request = directory.requests().get(asked.stage)
    if request is None:
        raise ConfigError(f"{directory}: stage {asked.stage} has not begun")
    _check_data(request)
    with naming_full_disks(directory.root), directory.held(asked.stage, note):
        runs = _seed_runs(directory, request, asked)
        _note_unfinished(directory, asked.stage, note)
        try:
            _train(directory, runs, request, run, update, note)
        finally:
            table = write_stage_leaderboard(directory, asked.stage)
    return table


def _check_data(request: AnyRequest) -> None:
    now = data_fingerprint(request.data)
    if now != request.data_fingerprint:
        raise IncomparableError(
            f"{request.data}: is not what the search was run on; put its data back. "
            f"Different: data_fingerprint: {request.data_fingerprint!r} -> {now!r}"
        )


def _seed_runs(directory: SearchDir, request: AnyRequest, asked: Confirmation) -> list[SeedRun]:
    """All trainings that the confirmation consists of, those that are done among them."""
    outcomes = directory.outcomes(asked.stage)
    hards = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    if not hards:
        raise ConfigError(
            f"{directory.stage_folder(asked.stage)}: no candidate has finished, so that there is "
            "nothing to confirm; let the search run on first"
        )
    best = sorted(hards, key=lambda number: (-hards[number], number))[: asked.top]
    candidates = directory.candidates(asked.stage)
    seeds = [(request.seed + more) % MAX_SEED for more in range(1, asked.seeds)]
    # Seed after seed, so that an interrupted confirmation knows a little of all of them.
    return [
        SeedRun(
            candidate=number,
            architecture=candidates[number],
            seed=seed,
            folder=directory.seed_folder(asked.stage, number, seed),
        )
        for seed in seeds
        for number in best
    ]


def _note_unfinished(directory: SearchDir, stage: int, note: Note) -> None:
    unfinished = set(directory.numbers(stage)) - set(directory.outcomes(stage))
    if unfinished:
        note(f"stage {stage} has {len(unfinished)} candidates without a result yet")


def _train(
    directory: SearchDir,
    runs: list[SeedRun],
    request: AnyRequest,
    run: RunOptions,
    update: Update,
    note: Note,
) -> None:
    """Train those without a result, each a task with its own number."""
    numbered = dict(enumerate(runs, start=1))
    results = {number: _result(item.folder) for number, item in numbered.items()}
    outcomes = {number: result for number, result in results.items() if result is not None}
    pending = sorted(set(numbered) - set(outcomes))
    if not pending:
        note(f"all {len(runs)} trainings with other seeds are done")
        return
    done = {number: request.epochs if number in outcomes else 0 for number in numbered}
    recorder = _Recorder(
        directory=directory,
        runs=numbered,
        progress=SearchProgress(request.stage, request.epochs, done, outcomes),
        update=update,
    )
    recorder.show(f"{len(pending)} trainings with other seeds to run, starting Ray")
    with run.connect(run.address) as cluster:
        resources = resources_for(request, cluster, len(pending))
        if run.address is not None:
            check_nodes(cluster.nodes, resources, request, directory)
        tasks = [_task(directory, numbered[n], n, request, resources, run.entry) for n in pending]
        cluster.run(
            tasks,
            resources,
            on_event=recorder.note,
            on_step=directory.storage.check,
            retries=request.retries,
        )


def _result(folder: Path) -> TrialResult | None:
    try:
        return load_result(folder)
    except ConfigError:
        return None  # damaged: earned again from its checkpoint


def _task(
    directory: SearchDir,
    item: SeedRun,
    number: int,
    request: AnyRequest,
    resources: Resources,
    entry: str,
) -> TrialTask:
    settings = replace(request.settings(resources.threads), seed=item.seed)
    return TrialTask(
        number=number,
        architecture=item.architecture.to_dict(),
        recipe=request.recipe_of(item.candidate),
        settings=plain_settings(settings),
        data_root=request.data,
        folder=str(item.folder.resolve()),
        remote=directory.url_of(item.folder),
        entry=entry,
        fingerprint=request.data_fingerprint,
        witness=directory.witness(request.stage, item.candidate),
    )


@dataclass(frozen=True, kw_only=True)
class _Recorder:
    """Hears what the executor tells of the trainings in `runs`, which are keyed by task."""

    directory: SearchDir
    runs: Mapping[int, SeedRun]
    progress: SearchProgress
    update: Update
    misplacements: Misplacements = field(default_factory=Misplacements)

    def note(self, event: TrialEvent) -> None:
        stop_if_disk_full(event)
        self.misplacements.note(event)
        item, outcome, text = self.runs[event.number], None, ""
        fetch_trial(self.directory, item.folder, event)
        if event.kind == "retried" and event.failure:
            text = f"{item}: {event.failure.reason}; it is tried again"
        elif event.kind in ("finished", "failed"):
            outcome = _recorded(item, event)
            text = f"{item}: {_described(outcome)}"
        self.progress.note(event, outcome)
        self.show(text)

    def show(self, text: str) -> None:
        """The best so far is left out: it would be called by its task's number."""
        status = replace(self.progress.status(), best_hard=None, best_candidate=None)
        self.update(status, text)


def _recorded(item: SeedRun, event: TrialEvent) -> Outcome:
    """What the folder says, or the failure, which is put there."""
    result = _result(item.folder)
    if result is not None:
        return result
    failure = event.failure or TrialFailure(reason="it ended without a result")
    save_outcome(failure, item.folder)
    return failure


def _described(outcome: Outcome) -> str:
    if isinstance(outcome, TrialResult):
        return f"hard AP {outcome.hard:.4f}"
    return f"failed, {outcome.reason}"
