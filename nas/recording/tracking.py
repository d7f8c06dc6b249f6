"""Trials shown in MLflow or Weights & Biases (`--track`), through Ray Tune's own callbacks.

Both are for looking at: the search reads nothing from them, and goes on when they fail. Every
attempt of a driver at a candidate is a run named after the candidate's number, in the
experiment (MLflow) or group (Weights & Biases) `NAME/stage1`, NAME being the search's.
MLflow takes its server from MLFLOW_TRACKING_URI, Weights & Biases its account from `wandb login`
or WANDB_API_KEY and the project from WANDB_PROJECT; with WANDB_MODE=offline its runs are put into
`wandb/` of the search directory, or of WANDB_DIR, for `wandb sync`.
"""

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.errors import ConfigError, first_line

if TYPE_CHECKING:
    from nas.search.request import AnyRequest
    from nas.study.trials import Entry

TRACKERS = ("mlflow", "wandb")
PAUSE_S = 300.0  # without trying again, after a failure


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


def tracking(
    tracker: str | None,
    root: Path,
    request: "AnyRequest",
    entry_of: Callable[[int], "Entry"],
    note: Callable[[str], None],
) -> Tracking | None:
    """How a stage's trials are tracked; None without a tracker. Raises ConfigError."""
    if tracker is None:
        return None
    from nas.study.trials import parameters_of

    require_tracker(tracker)

    def parameters(number: int) -> Mapping[str, Any]:
        entry = entry_of(number)
        asked = {name: getattr(request, name) for name in ("epochs", "image_size", "seed")}
        counts = {"candidate": number, "flops": entry.flops, "params": entry.params}
        crops = {f"crop_{scale:g}": share for scale, share in entry.crops.items()}
        shown = {"hash": entry.architecture.content_hash, **parameters_of(entry.architecture)}
        return counts | asked | shown | crops

    folder = root.resolve()
    name = f"{folder.name}/stage{request.stage}"
    return Tracking(tracker=tracker, name=name, parameters=parameters, note=note, folder=folder)


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
