"""One run of Ray Tune: trials go in as tasks, what happens to them comes out as events.

Ray is disposable here. It places trials on machines, restarts those that die and tells
the driver about their epochs; everything that has to last lies in the trials' folders.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import ConcurrencyLimiter, Searcher

from nas.early_stopping.schedule import METRIC, TIME, HardCurve, Schedule, tune_scheduler
from nas.recording.tensorboard import tensorboard_log
from nas.recording.tracking import Tracking
from nas.recording.tracking_callbacks import tracking_callback
from nas.running.nodes import check_own_processes
from nas.running.remote_trial_folder import at_hand
from nas.running.scheduler import Judge
from nas.running.signals import StopSignal
from nas.running.stop_request import make_board, on_board, stop_trials
from nas.running.tasks import Resources, TrialTask, hard_curve, run_task
from nas.running.tune_callback import OnEvent, Translator
from search_spaces.errors import ScrfdNasError, TrialError, last_line
from trials.result import EpochReport, TrialInterrupted

OnStep = Callable[[], None]
NextTask = Callable[[], TrialTask | None]


@dataclass(frozen=True, kw_only=True)
class TuneRun:
    """What one run of Tune is to do (see `nas.running.cluster.Cluster.run`).

    Attributes:
        tasks: known at the start.
        more: asked for the next task whenever a slot is free, None at the end; instead of
            `tasks`.
        slots: trials that fit at the same time.
        retries: of one trial between two finished epochs.
        scratch: folder for Tune's bookkeeping.
        tracking: where trials are shown, besides.
    """

    tasks: Sequence[TrialTask]
    more: NextTask | None
    resources: Resources
    slots: int
    retries: int
    schedule: Schedule | None
    ended: Mapping[int, HardCurve] = field(default_factory=dict)
    on_event: OnEvent
    on_step: OnStep | None
    stop: StopSignal
    scratch: Path
    tracking: Tracking | None = None

    def fit(self) -> None:
        """Run until every task has come to its end."""
        shown = [tracking_callback(self.tracking)] if self.tracking else []
        try:
            self._fit(shown)
        finally:
            for callback in shown:
                callback.leave()

    def _fit(self, shown: list[Any]) -> None:
        judge, board = self._judge(), make_board()
        tasks = {task.number: task for task in self.tasks}
        # A closure travels by value, so that workers need no import by __main__'s name.
        trainable = tune.with_parameters(
            _trainable, tasks=tasks, retells=judge is not None, board=board
        )
        translator = self._translator(tasks, judge, board)
        try:
            self._tuner(trainable, judge, [translator, *shown]).fit()
        except tune.TuneError as error:
            raise translator.end or _own(error) or _own_fault(error) from error
        if translator.end is not None:
            raise translator.end

    def _tuner(self, trainable: Any, judge: Judge | None, callbacks: list[Any]) -> tune.Tuner:
        share = {"cpu": self.resources.cpus_per_trial, "gpu": self.resources.gpus_per_trial}
        numbers = sorted(task.number for task in self.tasks)
        return tune.Tuner(
            tune.with_resources(trainable, share),
            param_space={} if self.more else {"number": tune.grid_search(numbers)},
            tune_config=tune.TuneConfig(
                scheduler=judge,
                reuse_actors=True,  # torch is imported once a process, not once a trial
                trial_name_creator=_name,
                trial_dirname_creator=_folder_name,
                **self._searcher(),
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(self.scratch / "tune"),
                verbose=0,
                callbacks=callbacks,
                failure_config=tune.FailureConfig(max_failures=self.retries),
            ),
        )

    def _translator(
        self, tasks: Mapping[int, TrialTask], judge: Judge | None, board: Any
    ) -> Translator:
        def put_on_disk(running: Collection[int]) -> None:
            stop_trials(board, running)

        return Translator(self.on_event, self._check, put_on_disk, tasks, judge, self.retries)

    def _check(self) -> None:
        check_own_processes()
        self.stop.check()
        if self.on_step:
            self.on_step()

    def _judge(self) -> Judge | None:
        if self.schedule is None or not self.schedule.stops_trials:
            return None
        return Judge(
            tune_scheduler(self.schedule),
            epochs=self.schedule.epochs,
            milestones=self.schedule.milestones,
            ended=self.ended,
        )

    def _searcher(self) -> dict[str, Any]:
        """Tune's options to ask for tasks one by one, where they are not all known."""
        if self.more is None:
            return {}
        # Without the limit, Tune asks for a trial before there is room for it: it would be
        # chosen without the results that are about to come.
        limited = ConcurrencyLimiter(_Asking(self.more), max_concurrent=self.slots)
        return {"search_alg": limited, "num_samples": -1}


class _Asking(Searcher):
    """Tune's way to ask for the next trial."""

    def __init__(self, more: NextTask) -> None:
        super().__init__()
        self._more = more

    def suggest(self, trial_id: str) -> Any:
        task = self._more()
        if task is None:
            return Searcher.FINISHED
        return {"number": task.number, "task": json.dumps(asdict(task))}

    def on_trial_complete(self, trial_id: str, *_: Any, **__: Any) -> None:
        """Nothing to learn here: whoever is asked reads the trials' folders."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search is continued from its own files."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as above."""


def _name(trial: Any) -> str:
    """Of a trial, for people: its candidate's number."""
    return f"{trial.config['number']:04d}"


def _folder_name(trial: Any) -> str:
    """Of Tune's own folder for a trial; its default would hold the whole task."""
    return str(trial.trial_id)


def _own_fault(error: BaseException) -> TrialError:
    """Of an error in Tune itself, whose message is a traceback."""
    rule = f"Ray Tune stopped with {last_line(error)}"
    return TrialError(f"{rule}; the same command continues the search")


def _own(error: BaseException | None) -> ScrfdNasError | None:
    """What this package raised when it was asked for a trial: Tune raises its own instead."""
    while error is not None and not isinstance(error, ScrfdNasError):
        error = error.__cause__ or error.__context__
    return error


def _trainable(
    config: Mapping[str, Any], tasks: Mapping[int, TrialTask], retells: bool, board: Any
) -> None:
    """What a Ray worker runs: one trial, reporting after every epoch.

    Where a scheduler judges, a trial that is continued first tells again what it was
    evaluated to: the scheduler may not have heard it, and may stop or pause it right there.
    """
    text = config.get("task")
    task = TrialTask(**json.loads(text)) if text else tasks[config["number"]]

    def on_epoch(report: EpochReport) -> None:
        log(report)
        put()
        hard = report.aps.hard if report.aps else None
        with visit.away():
            tell(report.epoch, report.epochs, hard, metrics=_metrics(report), retold=False)

    def tell(epoch: int, epochs: int, hard: float | None, **more: Any) -> None:
        tune.report({TIME: epoch, "epochs": epochs, METRIC: hard, **more})

    # An interrupted trial is on disk, and the driver is about to leave: there is no more to do.
    # The driver waits for those that are on the board: a folder at a URL is put there before.
    with (
        suppress(TrialInterrupted),
        on_board(board, task.number) as visit,
        at_hand(task) as (near, put),
        tensorboard_log(Path(near.folder)) as log,
    ):
        if retells:
            for epoch, hard in hard_curve(near).items():
                tell(epoch, task.settings["epochs"], hard, metrics={}, retold=True)
        run_task(near, on_epoch, visit.should_stop)


def _metrics(report: EpochReport) -> dict[str, float | None]:
    """What a tracker shows of an epoch (see `nas.recording.tracking`)."""
    names = ("loss", "cls_loss", "box_loss", "keypoint_loss", "learning_rate", "images_per_second")
    shown = {name: getattr(report, name) for name in names}
    return shown | (asdict(report.aps) if report.aps else {})
