"""Trials in MLflow or Weights & Biases (`--track`), as a subscriber of the stage's events.

Trackers only display: the search reads nothing from them and continues when they fail. Every
training of a candidate by a driver is a run named after the candidate's number, in the
experiment (MLflow) or group (Weights & Biases) `NAME/stage1`, where NAME is the search's.
MLflow takes its server from MLFLOW_TRACKING_URI, Weights & Biases its account from `wandb login`
or WANDB_API_KEY and the project from WANDB_PROJECT; with WANDB_MODE=offline its runs are put into
`wandb/` of the search directory, or of WANDB_DIR, for `wandb sync`.
"""

import importlib
import importlib.util
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from nas.recording.background import background
from nas.search.events import Subscriber, TrialEvent
from nas.search.request import AnyRequest
from nas.study.trials import Entry, parameters_of
from search_spaces.errors import ConfigError, first_line

TRACKERS = ("mlflow", "wandb")
PAUSE_S = 300.0  # without another attempt after a failure
_PROJECT = "scrfd-nas"
# MLflow's own defaults are minutes; a value that the user has set is kept.
_MLFLOW_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}

Parameters = Mapping[str, Any]


class Tracker(Protocol):
    """Interface to a tracking service; connecting raises whatever the library raises."""

    def start(self, name: str, parameters: Parameters) -> Any:
        """Begin a run; returns the service's handle of it."""

    def log(self, run: Any, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each metric's curve."""

    def end(self, run: Any, *, failed: bool) -> None:
        """End a run."""


class MLflow:
    """Runs in the experiment `name` of an MLflow server."""

    def __init__(self, name: str) -> None:
        for variable, value in _MLFLOW_LIMITS.items():
            os.environ.setdefault(variable, value)
        mlflow = importlib.import_module("mlflow")  # its types are not installed with it
        self._entities = mlflow.entities
        self._client = mlflow.MlflowClient()
        known = self._client.get_experiment_by_name(name)
        self._id = known.experiment_id if known else self._client.create_experiment(name)

    def start(self, name: str, parameters: Parameters) -> Any:
        """Begin a run; returns its id."""
        run = self._client.create_run(self._id, run_name=name).info.run_id
        values = [self._entities.Param(key, str(value)) for key, value in parameters.items()]
        self._client.log_batch(run, params=values)
        return run

    def log(self, run: Any, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each metric's curve."""
        now = int(1000 * time.time())
        points = [self._entities.Metric(key, value, now, step) for key, value in metrics.items()]
        self._client.log_batch(run, metrics=points)

    def end(self, run: Any, *, failed: bool) -> None:
        """End a run."""
        self._client.set_terminated(run, "FAILED" if failed else "FINISHED")


class WandB:
    """Runs in the group `name` of a Weights & Biases project; `folder` is for offline ones."""

    def __init__(self, name: str, folder: Path) -> None:
        self._wandb = wandb = importlib.import_module("wandb")
        mode = os.environ.get("WANDB_MODE")
        if mode not in ("offline", "disabled") and not wandb.api.api_key:
            raise ValueError("no API key")  # wandb would ask for it at the terminal
        self._options: dict[str, Any] = {
            "project": os.environ.get("WANDB_PROJECT", _PROJECT),
            "group": name,
            "reinit": "create_new",  # several runs are open at the same time
            "settings": wandb.Settings(console="off", silent=True),
        }
        if mode == "offline":
            self._options["dir"] = os.environ.get("WANDB_DIR", str(folder))

    def start(self, name: str, parameters: Parameters) -> Any:
        """Begin a run; returns the library's object."""
        return self._wandb.init(name=name, config=dict(parameters), **self._options)

    def log(self, run: Any, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each metric's curve."""
        run.log(dict(metrics), step=step)

    def end(self, run: Any, *, failed: bool) -> None:
        """End a run, once all of it is written or sent."""
        run.finish(exit_code=int(failed))


class TrackedRuns:
    """The runs of a stage's trials in a tracker.

    Args:
        tracker: Tracking service.
        parameters: Parameters of a candidate by its number.
    """

    def __init__(self, tracker: Tracker, parameters: Callable[[int], Parameters]) -> None:
        self._tracker, self._parameters = tracker, parameters
        self._open: dict[int, Any] = {}

    def record(self, event: TrialEvent) -> None:
        """Pass one event on; a run that could not begin with its trial begins later."""
        if event.is_running:
            if event.number not in self._open:
                run = self._tracker.start(f"{event.number:04d}", self._parameters(event.number))
                self._open[event.number] = run
            known = {key: value for key, value in event.metrics.items() if value is not None}
            if known:
                self._tracker.log(self._open[event.number], event.epoch, known)
        elif (event.is_end or event.kind == "reached") and event.number in self._open:
            run = self._open.pop(event.number)
            self._tracker.end(run, failed=event.kind == "failed")

    def end_all(self) -> None:
        """End the runs of trials that are interrupted."""
        while self._open:
            self._tracker.end(self._open.popitem()[1], failed=True)


@contextmanager
def tracking(
    tracker: str | None,
    root: Path,
    request: AnyRequest,
    entry_of: Callable[[int], Entry],
    log: Callable[[str], None],
) -> Iterator[Subscriber]:
    """Yield a subscriber that shows a stage's trials in a tracker, or does nothing without one.

    Args:
        tracker: One of `TRACKERS`, or None.
        root: Search directory.
        request: Request of the stage.
        entry_of: Study entry of a candidate by its number.
        log: Receives the first failure.

    Raises:
        ConfigError: The tracker is unknown, not installed, or does not answer.
    """
    if tracker is None:
        yield lambda event: None
        return
    require_tracker(tracker)
    folder = root.resolve()
    service = _connect(tracker, f"{folder.name}/stage{request.stage}", folder)
    runs = TrackedRuns(service, lambda number: _parameters(number, request, entry_of(number)))
    with background("--track", log, PAUSE_S) as calls:
        try:
            yield lambda event: calls.submit(lambda: runs.record(event))
        finally:
            calls.submit(runs.end_all)


def require_tracker(tracker: str) -> None:
    """Refuse a tracker that is unknown or not installed. Raises ConfigError."""
    if tracker not in TRACKERS:
        raise ConfigError(f"--track must be one of {', '.join(TRACKERS)}, got {tracker!r}")
    if importlib.util.find_spec(tracker) is None:
        rule = f"--track {tracker} needs the package {tracker}, which is not installed"
        raise ConfigError(f"{rule}: pip install {tracker}")


def _connect(tracker: str, name: str, folder: Path) -> Tracker:
    try:
        return MLflow(name) if tracker == "mlflow" else WandB(name, folder)
    except Exception as error:
        hint = "see MLFLOW_TRACKING_URI" if tracker == "mlflow" else "`wandb login`"
        rule = f"--track {tracker} cannot begin ({first_line(error)})"
        raise ConfigError(f"{rule}; {hint}, or leave it out") from error


def _parameters(number: int, request: AnyRequest, entry: Entry) -> Parameters:
    counts = {"candidate": number, "flops": entry.flops, "params": entry.params}
    asked = {name: getattr(request, name) for name in ("epochs", "image_size", "seed")}
    shown = {"hash": entry.architecture.content_hash, **parameters_of(entry.architecture)}
    crops = {f"crop_{scale:g}": share for scale, share in entry.crops.items()}
    return counts | asked | shown | crops
