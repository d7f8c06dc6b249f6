"""Ray Tune callback that turns what happens to trials into events."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, cast

from ray import tune

from nas.early_stopping.schedule import METRIC, TIME
from nas.running.nodes import NodeLostError
from nas.running.scheduler import RungScheduler
from nas.search.events import EventKind, Subscriber, TrialEvent, decision_event
from search_spaces.errors import last_line
from trials.failure import HOST_ADVICE, failure_of
from trials.result import TrialFailure

METRICS = "metrics"  # key of an epoch's losses, rates and APs in a trial's reports

_REPEATABLE = ("diverged", "data")  # a second attempt shows that it repeats; a third is waste


class EventCallback(tune.Callback):
    """Calls `on_event` with an event for each of Tune's callbacks.

    Args:
        on_event: called with each event; may raise to end the search.
        check: called after each of Tune's steps; may raise to end the search.
        save_trials: called with the numbers of the running trials before the search ends.
        partial: numbers of the tasks that end before the trial does.
        scheduler: source of decisions, if trials may stop early.
        retries: retries of one trial between two finished epochs.

    Attributes:
        error: exception that `on_event` or `check` raised.
    """

    def __init__(
        self,
        on_event: Subscriber,
        check: Callable[[], None],
        save_trials: Callable[[Collection[int]], object],
        partial: Collection[int],
        scheduler: RungScheduler | None,
        retries: int,
    ) -> None:
        self._on_event, self._check, self._save_trials = on_event, check, save_trials
        self._partial, self._scheduler, self._retries = frozenset(partial), scheduler, retries
        self._running, self._stopped = set[int](), set[int]()
        self.error: BaseException | None = None

    def __reduce__(self) -> Any:
        return tune.Callback, ()  # Tune pickles its callbacks for a restoration that we never do

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Check whether the search ends here, between two steps, where Tune's state is whole."""
        self._end_on_error(self._check)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Emit `started`, for every attempt."""
        self._emit("started", trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Emit `epoch`, then the decisions that the scheduler has made on it."""
        values = {key: result[key] for key in (TIME, "epochs", METRIC, METRICS)}
        self._emit("epoch", trial, **values)
        trial.max_failures = trial.num_failures + self._retries  # counted from the last epoch
        for decision in self._scheduler.take_decisions() if self._scheduler else ():
            if not decision.continues:
                self._stopped.add(decision.number)
            self._publish(decision_event(decision, result["epochs"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Emit `reached` or `finished`, unless the trial was stopped."""
        number = trial.config["number"]
        if number not in self._stopped:
            self._emit("reached" if number in self._partial else "finished", trial)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Emit `retried` after a failed attempt that another one follows."""
        failure = _failure(_error_of(trial), trial.num_failures)
        if failure.kind in _REPEATABLE:
            trial.max_failures = trial.num_failures
        elif failure.kind == "node":
            trial.max_failures += 1  # the next machine may have what this one lacks
        self._emit("retried", trial, failure=failure)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Emit `failed` after the last attempt."""
        self._emit("failed", trial, failure=_failure(_error_of(trial), trial.num_failures))

    def _emit(self, kind: EventKind, trial: Any, **values: Any) -> None:
        self._publish(TrialEvent(kind=kind, number=trial.config["number"], **values))

    def _publish(self, event: TrialEvent) -> None:
        if event.is_running:
            self._running.add(event.number)
        elif event.leaves:
            self._running.discard(event.number)
        self._end_on_error(lambda: self._on_event(event))

    def _end_on_error(self, act: Callable[[], None]) -> None:
        """Call `act`; if it raises, save the running trials first.

        Tune takes an exception in `on_trial_complete` for one of that trial and continues: the
        exception is raised again at every later call, and no further event is emitted.
        """
        if self.error is not None:
            raise self.error
        try:
            act()
        except BaseException as error:
            self.error = error
            if not isinstance(error, NodeLostError):  # no Ray is left to ask the trials
                self._save_trials(self._running)
            raise


def _error_of(trial: Any) -> BaseException | None:
    """Return the exception that Tune has pickled for the trial; None if it does not load."""
    from ray import cloudpickle

    try:
        content = Path(trial.pickled_error_file or "").read_bytes()
        return cast("BaseException | None", cloudpickle.loads(content))
    except Exception:  # any class may fail to load; the failure is still a failure
        return None


def _failure(error: BaseException | None, attempts: int) -> TrialFailure:
    """Return why an attempt failed, from the exception that Ray keeps."""
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
