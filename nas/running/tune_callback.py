"""What Tune tells of trials, as events; and how a search ends while trials run."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, cast

from ray import tune

from nas.early_stopping.schedule import METRIC, TIME
from nas.running.nodes import NodeLostError
from nas.running.scheduler import Judge
from nas.running.tasks import TrialTask
from nas.search.events import EventKind, TrialEvent
from search_spaces.errors import last_line
from trials.memory import HOST_ADVICE
from trials.result import TrialFailure, failure_of

OnEvent = Callable[[TrialEvent], None]

_REPEATABLE = ("diverged", "data")  # a second attempt in the same way shows it; a third is waste


class Translator(tune.Callback):
    """Turns what Tune tells into events.

    Args:
        on_event: hears them.
        check: is called after each of Tune's steps; raises what ends the search.
        put_on_disk: told of the running trials before the search ends.
        tasks: known at the start.
        judge: whose decisions are told too, if there is one.
        retries: of one trial between two finished epochs.

    Attributes:
        end: what `on_event` or `check` raised.
    """

    def __init__(
        self,
        on_event: OnEvent,
        check: Callable[[], None],
        put_on_disk: Callable[[Collection[int]], None],
        tasks: Mapping[int, TrialTask],
        judge: Judge | None,
        retries: int,
    ) -> None:
        self._on_event, self._check, self._judge = on_event, check, judge
        self._put_on_disk, self._running = put_on_disk, set[int]()
        self.end: BaseException | None = None
        self._retries = retries
        self._partial = {number for number, task in tasks.items() if task.is_partial}

    def __reduce__(self) -> Any:
        return tune.Callback, ()  # Tune pickles its callbacks, to restore what we do not

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """After each of Tune's steps."""
        self._tell_decisions()
        self._leave_tidily(self._check)  # here, between two steps, Tune's state is whole

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial begins, or begins again."""
        self._tell("started", trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """A trial reports an epoch."""
        if not result["retold"]:
            values = {key: result[key] for key in (TIME, "epochs", METRIC)}
            self._tell("epoch", trial, **values)
            trial.max_failures = trial.num_failures + self._retries  # it has got further
        self._tell_decisions()  # Tune asks its scheduler first, but the epoch comes first

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """A trial's task has come to its end."""
        number = trial.config["number"]
        if self._judge and self._judge.has_stopped(number):
            return  # that was told as a decision
        self._tell("reached" if number in self._partial else "finished", trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """An attempt failed; another follows."""
        failure = _failure(_error_of(trial), trial.num_failures)
        if failure.kind in _REPEATABLE:
            trial.max_failures = trial.num_failures
        elif failure.kind == "node":
            trial.max_failures += 1  # the next machine may have what this one lacks
        self._tell("retried", trial, failure=failure)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """The last attempt failed."""
        self._tell("failed", trial, failure=_failure(_error_of(trial), trial.num_failures))

    def _tell_decisions(self) -> None:
        for event in self._judge.take_decisions() if self._judge else ():
            self._pass_on(event)

    def _tell(self, kind: EventKind, trial: Any, **values: Any) -> None:
        self._pass_on(TrialEvent(kind=kind, number=trial.config["number"], **values))

    def _pass_on(self, event: TrialEvent) -> None:
        if event.kind == "started":
            self._running.add(event.number)
        elif event.kind not in ("epoch", "promoted"):
            self._running.discard(event.number)
        self._leave_tidily(lambda: self._on_event(event))

    def _leave_tidily(self, act: Callable[[], None]) -> None:
        """Do what may end the search; if it does, the trials that run are put on disk before.

        Where a trial completes, Tune takes any exception for one of that trial and goes on: it
        is raised again after each step, and nobody hears of anything meanwhile.
        """
        if self.end is not None:
            raise self.end
        try:
            act()
        except BaseException as error:
            self.end = error
            if not isinstance(error, NodeLostError):  # then there is nobody to ask
                self._put_on_disk(self._running)
            raise


def _error_of(trial: Any) -> BaseException | None:
    """The exception that Tune has just put into the trial's driver-side scratch folder."""
    from ray import cloudpickle

    try:
        content = Path(trial.pickled_error_file or "").read_bytes()
        return cast("BaseException | None", cloudpickle.loads(content))
    except Exception:  # any class may fail to load; the failure is still a failure
        return None


def _failure(error: BaseException | None, attempts: int) -> TrialFailure:
    """What ended an attempt, from what Ray keeps of it."""
    from ray.exceptions import OutOfMemoryError, RayActorError

    attempts = max(attempts, 1)
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return failure_of(cause, attempts)
    if isinstance(error, OutOfMemoryError):
        reason = f"the machine ran out of memory and Ray ended the trial; {HOST_ADVICE}"
        return TrialFailure(reason=reason, kind="memory", attempts=attempts)
    if isinstance(error, RayActorError):
        reason = "the trial's process died (killed, or the machine ran out of memory)"
        return TrialFailure(reason=reason, kind="killed", attempts=attempts)
    return TrialFailure(reason=last_line(error) if error else "unknown error", attempts=attempts)
