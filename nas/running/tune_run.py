"""One run of Ray Tune: tasks go in, events come out.

Ray places trials on machines, restarts those that die and reports their epochs to the driver.
It holds nothing that has to last: that is in the trials' folders.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

from nas.early_stopping.schedule import METRIC, TIME
from nas.recording.tensorboard import tensorboard_log
from nas.running.nodes import check_own_processes
from nas.running.remote_trial_folder import local_folder
from nas.running.scheduler import CURVE, RungScheduler
from nas.running.signals import StopSignal
from nas.running.stop_request import make_stop_actor, registered, stop_trials
from nas.running.tasks import TrialJob, TrialTask, hard_curve, run_task
from nas.running.tune_callback import METRICS, EventCallback
from search_spaces.errors import ScrfdNasError, TrialError, last_line
from trials.result import EpochReport, TrialInterrupted


@dataclass(frozen=True, kw_only=True)
class TuneRun:
    """Inputs of one run of Tune (see `nas.running.cluster.Cluster.run`).

    Attributes:
        job: Trials to run.
        slots: Number of trials that fit at the same time.
        stop: Set by a signal.
        scratch: Folder for Tune's files.
    """

    job: TrialJob
    slots: int
    stop: StopSignal
    scratch: Path

    def fit(self) -> None:
        """Run every task to its end."""
        job, actor = self.job, make_stop_actor()
        # A closure travels by value, so that workers need no import by __main__'s name.
        trainable = tune.with_parameters(
            _trainable, tasks={task.number: _packed(task) for task in self._listed}, actor=actor
        )
        scheduler = RungScheduler(job.records) if job.records else None
        events = EventCallback(
            job.publish,
            self._check,
            save_trials=partial(stop_trials, actor),
            partial={task.number for task in self._listed if task.is_partial},
            scheduler=scheduler,
            retries=job.retries,
        )
        try:
            self._tuner(trainable, scheduler, events).fit()
        except tune.TuneError as error:
            raise events.error or _project_error(error) or _tune_error(error) from error
        if events.error is not None:
            raise events.error

    @property
    def _listed(self) -> list[TrialTask]:
        """Tasks that are known at the start."""
        return self.job.tasks if isinstance(self.job.tasks, list) else []

    def _tuner(
        self, trainable: Any, scheduler: RungScheduler | None, events: EventCallback
    ) -> tune.Tuner:
        resources = self.job.resources
        share = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
        numbers = sorted(task.number for task in self._listed)
        return tune.Tuner(
            tune.with_resources(trainable, share),
            param_space={"number": tune.grid_search(numbers)} if numbers else {},
            tune_config=tune.TuneConfig(
                scheduler=scheduler,
                reuse_actors=True,  # torch is imported once a process, not once a trial
                trial_name_creator=_trial_name,
                trial_dirname_creator=_folder_name,
                **self._searcher(),
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(self.scratch / "tune"),
                verbose=0,
                callbacks=[events],
                failure_config=tune.FailureConfig(max_failures=self.job.retries),
            ),
        )

    def _check(self) -> None:
        check_own_processes()
        self.stop.check()
        self.job.check()

    def _searcher(self) -> dict[str, Any]:
        """Return Tune's options for tasks that are chosen one by one."""
        if self._listed:
            return {}
        # Without the limit, Tune asks for a trial before there is room for it: it would be
        # chosen without the results of those that run.
        limited = ConcurrencyLimiter(_TaskSearcher(iter(self.job.tasks)), max_concurrent=self.slots)
        return {"search_alg": limited, "num_samples": -1}


class _TaskSearcher(Searcher):
    """Tune's interface to an iterator of tasks."""

    def __init__(self, tasks: Iterator[TrialTask]) -> None:
        super().__init__()
        self._tasks = tasks

    def __getstate__(self) -> dict[str, Any]:
        """Return a state without the tasks: Tune pickles its options, but not an iterator."""
        return self.__dict__ | {"_tasks": None}

    def suggest(self, trial_id: str) -> Any:
        task = next(self._tasks, None)
        if task is None:
            return Searcher.FINISHED
        return {"number": task.number, "task": _packed(task)}

    def on_trial_complete(self, trial_id: str, *_: Any, **__: Any) -> None:
        """Do nothing: the tasks' source reads the trials' folders."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a search resumes from its own files."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as in `save`."""


def _packed(task: TrialTask) -> str:
    """Return a task as text: every trial loads those of all, 60 times as fast as objects."""
    return json.dumps(asdict(task))


def _trial_name(trial: Any) -> str:
    """Return the candidate's number as a trial's name."""
    return f"{trial.config['number']:04d}"


def _folder_name(trial: Any) -> str:
    """Return a name for Tune's folder of a trial; the default would hold the whole task."""
    return str(trial.trial_id)


def _tune_error(error: BaseException) -> TrialError:
    """Return an error for a failure in Tune itself, whose message is a traceback."""
    rule = f"Ray Tune stopped with {last_line(error)}"
    return TrialError(f"{rule}; the same command continues the search")


def _project_error(error: BaseException | None) -> ScrfdNasError | None:
    """Return this project's exception, raised by the tasks' source, from behind Tune's own."""
    while error is not None and not isinstance(error, ScrfdNasError):
        error = error.__cause__ or error.__context__
    return error


def _trainable(config: Mapping[str, Any], tasks: Mapping[int, str], actor: Any) -> None:
    """Run one trial in a Ray worker, reporting after every epoch."""
    task = TrialTask(**json.loads(config.get("task") or tasks[config["number"]]))

    def on_epoch(report: EpochReport) -> None:
        log(report)
        put()
        with visit.away():
            tune.report(_tune_report(report, near))

    # An interrupted trial is on disk, and the driver is about to leave: there is no more to do.
    # The driver waits for registered trials: a folder at a URL is put there before.
    with (
        suppress(TrialInterrupted),
        registered(actor, task.number) as visit,
        local_folder(task) as (near, put),
        tensorboard_log(Path(near.folder)) as log,
    ):
        run_task(near, on_epoch, visit.should_stop)


def _tune_report(report: EpochReport, task: TrialTask) -> dict[str, Any]:
    """Return the report of an epoch to Tune; `METRICS` is for subscribers."""
    names = ("loss", "cls_loss", "box_loss", "keypoint_loss", "learning_rate", "images_per_second")
    shown = {name: getattr(report, name) for name in names}
    return {
        TIME: report.epoch,
        "epochs": report.epochs,
        METRIC: report.aps.hard if report.aps else None,
        METRICS: shown | (asdict(report.aps) if report.aps else {}),
        CURVE: list(hard_curve(task).items()),
    }
