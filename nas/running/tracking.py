"""Trials shown in MLflow or Weights & Biases (`--track`), through Ray Tune's own callbacks.

Both are for looking at: the search reads nothing from them, and goes on when they fail. Every
attempt of a driver at a candidate is a run named after the candidate's number, in the
experiment (MLflow) or group (Weights & Biases) `NAME/stage1`, NAME being the search's.
MLflow takes its server from MLFLOW_TRACKING_URI, Weights & Biases its account from `wandb login`
or WANDB_API_KEY and the project from WANDB_PROJECT; with WANDB_MODE=offline its runs are put into
`wandb/` of the search directory, or of WANDB_DIR, for `wandb sync`.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import ConfigError, first_line

if TYPE_CHECKING:
    from nas.candidates.stage_candidates import StageCandidates

TRACKERS = ("mlflow", "wandb")
PAUSE_S = 300.0  # without trying again, after a failure
_PROJECT = "scrfd-nas"
# MLflow would try for minutes, and the search waits for it. What the user has set is kept.
_MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """What is shown, and where.

    Attributes:
        tracker: one of `TRACKERS`.
        name: of the experiment or group.
        parameters: a candidate's, by its number.
        note: hears of the first failure.
        folder: for what Weights & Biases writes offline.
    """

    tracker: str
    name: str
    parameters: Callable[[int], Mapping[str, Any]]
    note: Callable[[str], None]
    folder: Path = Path()

    def callback(self) -> Any:
        """A callback for one run of Ray Tune."""
        from nas.running.tracking_callbacks import mlflow_callback, wandb_callback

        if self.tracker == "mlflow":
            for name, value in _MLFLOW_PATIENCE.items():
                os.environ.setdefault(name, value)
            uri = os.environ.get("MLFLOW_TRACKING_URI")
            return mlflow_callback(self, tracking_uri=uri, experiment_name=self.name)
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        return wandb_callback(self, project=project, group=self.name, **self._wandb_place())

    def _wandb_place(self) -> dict[str, str]:
        """Told, because the process that writes has not our environment, and a temporary folder."""
        mode = os.environ.get("WANDB_MODE")
        if mode != "offline":
            return {"mode": mode} if mode else {}
        return {"mode": mode, "dir": os.environ.get("WANDB_DIR", str(self.folder.resolve()))}


def tracking(
    tracker: str | None, candidates: "StageCandidates", note: Callable[[str], None]
) -> Tracking | None:
    """How a stage's trials are tracked; None without a tracker. Raises ConfigError."""
    if tracker is None:
        return None
    from nas.study import parameters_of

    require_tracker(tracker)

    def parameters(number: int) -> Mapping[str, Any]:
        request, entry = candidates.request, candidates.entry(number)
        asked = {name: getattr(request, name) for name in ("epochs", "image_size", "seed")}
        counts = {"candidate": number, "flops": entry.flops, "params": entry.params}
        crops = {f"crop_{scale:g}": share for scale, share in entry.crops.items()}
        shown = {"hash": entry.architecture.content_hash, **parameters_of(entry.architecture)}
        return counts | asked | shown | crops

    root = candidates.directory.root.resolve()
    name = f"{root.name}/stage{candidates.stage}"
    return Tracking(tracker=tracker, name=name, parameters=parameters, note=note, folder=root)


def require_tracker(tracker: str) -> None:
    """Refuse a tracker that is unknown or not installed. Raises ConfigError."""
    if tracker not in TRACKERS:
        raise ConfigError(f"--track must be one of {', '.join(TRACKERS)}, got {tracker!r}")
    if importlib.util.find_spec(tracker) is None:
        rule = f"--track {tracker} needs the package {tracker}, which is not installed"
        raise ConfigError(f"{rule}: pip install {tracker}")


class Patience:
    """Calls that may fail: after a failure nothing is called for `PAUSE_S`.

    Args:
        note: hears of the first failure.
        clock: seconds; for tests.
    """

    def __init__(
        self, note: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note, self._clock = note, clock
        self._silent_until = float("-inf")
        self._noted = False

    def call(self, what: Callable[[], None]) -> None:
        """Call `what`, unless something has failed just now; no exception leaves it."""
        if self._clock() < self._silent_until:
            return
        try:
            what()
        except Exception as error:  # of whatever library: the search matters more
            self._silent_until = self._clock() + PAUSE_S
            if not self._noted:
                self._noted = True
                self._note(f"--track: {first_line(error)}; the search goes on without it for now")
