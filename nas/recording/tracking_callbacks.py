"""Ray Tune's callbacks for MLflow and Weights & Biases, made to show candidates.

Of Tune's own they differ in what is shown (a candidate's numbers as parameters, epochs as
steps) and in that no failure of theirs ends the search.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import tune
from ray.tune.logger import LoggerCallback

from nas.early_stopping.schedule import TIME
from nas.recording.tracking import Patience, Tracking
from search_spaces.errors import ConfigError, first_line

METRICS = "metrics"  # key of what a trial reports to be shown
_PROJECT = "scrfd-nas"
# MLflow would try for minutes, and the search waits for it. What the user has set is kept.
_MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_STEP = "training_iteration"  # key that both trackers take for the step of their curves


class _Shown(LoggerCallback):
    """Goes before one of Tune's callbacks in the order of inheritance."""

    shown: Tracking
    patience: Patience

    def __reduce__(self) -> Any:
        return tune.Callback, ()  # Tune pickles its callbacks, to restore what we do not

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Connects. Raises ConfigError: the tracker does not answer."""
        self._begun: dict[Any, bool] = {}  # by trial: whether it is still open
        try:
            super().setup(*args, **kwargs)
        except Exception as error:
            hint = "see MLFLOW_TRACKING_URI" if self.shown.tracker == "mlflow" else "`wandb login`"
            rule = f"--track {self.shown.tracker} cannot begin ({first_line(error)})"
            raise ConfigError(f"{rule}; {hint}, or leave it out") from error

    def log_trial_start(self, trial: Any) -> None:
        """A trial has started, or continues."""
        self.patience.call(lambda: self._begin(trial))

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        """A trial has finished an epoch."""
        metrics = {key: value for key, value in result[METRICS].items() if value is not None}
        told = {**metrics, TIME: result[TIME], _STEP: result[TIME]}
        log = super().log_trial_result

        def tell() -> None:
            self._begin(trial)
            log(iteration, trial, told)

        self.patience.call(tell)

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        """A trial is over."""
        end = super().log_trial_end
        if self._begun.pop(trial, False):
            self.patience.call(lambda: end(trial, failed))

    def leave(self) -> None:
        """The run is over: what is still open has been interrupted."""
        for trial in list(getattr(self, "_begun", ())):
            self.log_trial_end(trial, failed=True)

    def _begin(self, trial: Any) -> None:
        if trial in self._begun:
            return
        with _as_shown(trial, self.shown):
            super().log_trial_start(trial)
        self._begun[trial] = True


@contextmanager
def _as_shown(trial: Any, shown: Tracking) -> Iterator[None]:
    """The trial with its candidate's parameters in the place of Tune's configuration."""
    kept = trial.config
    trial.config = dict(shown.parameters(kept["number"]))
    try:
        yield
    finally:
        trial.config = kept


def tracking_callback(shown: Tracking) -> Any:
    """Return a callback for one run of Ray Tune."""
    if shown.tracker == "mlflow":
        for name, value in _MLFLOW_PATIENCE.items():
            os.environ.setdefault(name, value)
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        return mlflow_callback(shown, tracking_uri=uri, experiment_name=shown.name)
    project = os.environ.get("WANDB_PROJECT", _PROJECT)
    return wandb_callback(shown, project=project, group=shown.name, **_wandb_place(shown))


def _wandb_place(shown: Tracking) -> dict[str, str]:
    """The writing process has neither this process's environment nor a lasting folder."""
    mode = os.environ.get("WANDB_MODE")
    if mode != "offline":
        return {"mode": mode} if mode else {}
    return {"mode": mode, "dir": os.environ.get("WANDB_DIR", str(shown.folder.resolve()))}


def mlflow_callback(shown: Tracking, **options: Any) -> Any:
    """`MLflowLoggerCallback` for candidates; `options` are its own."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return _made(MLflowLoggerCallback, shown, options)


def wandb_callback(shown: Tracking, **options: Any) -> Any:
    """`WandbLoggerCallback` for candidates; `options` are its own."""
    from ray.air.integrations.wandb import WandbLoggerCallback, _WandbLoggingActor

    class Actor(_WandbLoggingActor):
        def run(self) -> None:
            super().run()  # type: ignore[no-untyped-call]
            # Tune kills this process next, and with it the one that still writes the run's end.
            self._wandb.teardown()

    callback = _made(WandbLoggerCallback, shown, options)
    callback._logger_actor_cls = Actor
    return callback


def _made(base: type, shown: Tracking, options: dict[str, Any]) -> Any:
    callback = type("ShownCallback", (_Shown, base), {})(**options)
    callback.shown, callback.patience = shown, Patience(shown.note)
    return callback
