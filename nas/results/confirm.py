"""Training of the best candidates with other seeds, so that their ranks can be trusted.

A training is in its candidate's folder, in `seeds/<seed>`, and differs from the candidate's in
the seed alone. It is no candidate: the leaderboard counts it, the study does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from nas.monitoring.counts import StageCounts
from nas.monitoring.progress import Display, SearchProgress
from nas.recording.subscribers import FolderRecorder
from nas.resolve_request import data_root
from nas.run_options import RunOptions
from nas.running.node_requirements import NodeFailures
from nas.running.tasks import Resources, TrialJob, TrialTask, trial_task
from nas.search.directory import SearchDir, outcome_in
from nas.search.disk import naming_full_disks, stop_if_disk_full
from nas.search.events import Subscriber, publisher
from nas.search.request import AnyRequest
from nas.stage import write_stage_leaderboard
from nas.stage_candidates import log_unfinished
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError, IncomparableError, counted
from trials.fingerprint import data_fingerprint
from trials.result import Outcome, TrialResult

MAX_SEED = 2**32


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """Extent of a confirmation.

    Attributes:
        stage: 1, 2, or 3 for `stage-sr`.
        top: Number of the best finished candidates by the search's own seed.
        seeds: Number of seeds of each, the search's own included.
    """

    stage: int
    top: int = 5
    seeds: int = 3

    def __post_init__(self) -> None:
        for name, low, high in (("stage", 1, 3), ("top", 1, 10_000), ("seeds", 2, 1000)):
            value = require_integer(getattr(self, name), name, low, high)
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class SeedRun:
    """Training of a candidate with another seed, in its folder."""

    candidate: int
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f"candidate {self.candidate}, seed {self.seed}"

    def task(
        self,
        directory: SearchDir,
        request: AnyRequest,
        number: int,
        resources: Resources,
        entry: str,
    ) -> TrialTask:
        """Return the candidate's task with the other seed, under a number of its own."""
        task = trial_task(directory, request, self.candidate, self.folder, resources)
        settings = {**task.settings, "seed": self.seed}
        return replace(task, number=number, settings=settings, entry=entry)


def confirm(
    directory: SearchDir,
    asked: Confirmation,
    run: RunOptions,
    display: Display,
    data: Path | None = None,
) -> pd.DataFrame:
    """Train what is missing and return the new leaderboard.

    A repeated call continues: finished trainings are kept, failed ones are tried again, and
    larger numbers add to what is there.

    Args:
        directory: Search directory.
        asked: Which candidates, and how many seeds.
        run: Options about this run; those about candidates are not used.
        display: Receives every status and line for the user.
        data: Folder of the search's data, if they have moved.

    Raises:
        ConfigError: The stage has not begun, or none of its candidates has finished.
        IncomparableError: The data are not those of the search.
        BusyError: Another driver works in the directory.
        DiskFullError: No space is left; the same call continues.
        KeyboardInterrupt, Terminated: A signal arrived; the same call continues.
    """
    request = directory.requests().get(asked.stage)
    if request is None:
        raise ConfigError(f"{directory}: stage {asked.stage} has not begun")
    request = _with_data(request, data)
    with naming_full_disks(directory.root), directory.held(asked.stage, display.log):
        runs = _seed_runs(directory, request, asked)
        log_unfinished(directory, asked.stage, display)
        if data is not None:
            directory.write_request(request)
        try:
            _train(directory, runs, request, run, display)
        finally:
            table = write_stage_leaderboard(directory, asked.stage)
    return table


def _with_data(request: AnyRequest, moved: Path | None) -> AnyRequest:
    """Return the request with the folder of its data now, after a check that they are the same."""
    request = replace(request, data=data_root(moved or request.data, is_recorded=moved is None))
    now = data_fingerprint(request.data)
    if now != request.data_fingerprint:
        raise IncomparableError(
            f"{request.data}: is not what the search was run on; put its data back. "
            f"Different: data_fingerprint: {request.data_fingerprint!r} -> {now!r}"
        )
    return request


def _seed_runs(
    directory: SearchDir, request: AnyRequest, asked: Confirmation
) -> dict[int, SeedRun]:
    """Return all trainings of a confirmation, finished ones included, by task number."""
    outcomes = directory.outcomes(asked.stage)
    hards = {n: o.hard for n, o in outcomes.items() if isinstance(o, TrialResult)}
    if not hards:
        raise ConfigError(
            f"{directory.stage_folder(asked.stage)}: no candidate has finished, so that there is "
            "nothing to confirm; let the search run on first"
        )
    best = sorted(hards, key=lambda number: (-hards[number], number))[: asked.top]
    seeds = [(request.seed + more) % MAX_SEED for more in range(1, asked.seeds)]
    # Seed after seed, so that an interrupted confirmation has a little of every candidate.
    pairs = [(number, seed) for seed in seeds for number in best]
    return {
        task: SeedRun(number, seed, directory.seed_folder(asked.stage, number, seed))
        for task, (number, seed) in enumerate(pairs, start=1)
    }


def _train(
    directory: SearchDir,
    runs: Mapping[int, SeedRun],
    request: AnyRequest,
    run: RunOptions,
    display: Display,
) -> None:
    """Train the runs without a result."""
    found = {task: outcome_in(item.folder) for task, item in runs.items()}
    results = {task: item for task, item in found.items() if isinstance(item, TrialResult)}
    pending = [task for task in runs if task not in results]
    if not pending:
        display.log(f"{counted(len(runs), 'training')} with other seeds done, none to run")
        return
    progress = _progress(runs, results, request, display)
    display.log(f"{counted(len(pending), 'training')} with other seeds to run, starting Ray")
    progress.show()
    subscribers: list[Subscriber] = [
        stop_if_disk_full,
        NodeFailures(),
        FolderRecorder(directory, lambda task: runs[task].folder),
        progress,
    ]
    with run.cluster(directory, request, len(pending)) as (cluster, resources):
        cluster.run(
            TrialJob(
                tasks=[
                    runs[task].task(directory, request, task, resources, run.entry)
                    for task in pending
                ],
                resources=resources,
                publish=publisher(subscribers),
                check=directory.storage.check,
                retries=request.retries,
            )
        )


def _progress(
    runs: Mapping[int, SeedRun],
    results: Mapping[int, Outcome],
    request: AnyRequest,
    display: Display,
) -> SearchProgress:
    counts = StageCounts(
        stage=request.stage,
        epochs=request.epochs,
        done={task: request.epochs if task in results else 0 for task in runs},
        outcomes=dict(results),
        names_best=False,  # it would be named by its task's number
        name_of=lambda task: str(runs[task]).removeprefix("candidate "),
    )
    return SearchProgress(
        counts, display, lambda task: outcome_in(runs[task].folder), lambda task: str(runs[task])
    )
