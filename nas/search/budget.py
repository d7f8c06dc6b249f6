"""Device-hours that a search has used in all its runs, and their limit (`--max-gpu-hours`).

A trial's running time counts times its GPUs, or once if it has none: two trials without a GPU
side by side for an hour are two hours. Waiting, the driver's own work and proposals are free.
"""

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from nas.search.events import TrialEvent
from search_spaces.checks import require_number
from search_spaces.errors import ScrfdNasError
from search_spaces.files import read_text, write_json
from trials.result import Outcome, TrialResult

HOURS_FILE = "hours.json"
_STAGES = (1, 2, 3)
SAVE_EVERY_S = 10.0  # a killed driver loses at most this much of each trial


class LimitReached(ScrfdNasError):  # noqa: N818  (a requested end, not an error)
    """The search has used its hours; its trials keep their checkpoints."""


class Budget:
    """Subscriber that counts the device-hours of a running stage, added to those of earlier runs.

    Args:
        path: `hours.json` of the search; created with the first save.
        stage: 1, 2 or 3.
        gpus: GPUs of each trial; a trial without a GPU counts as one device.
        limit: Device-hours of all stages together; None: count only.
        outcomes: Outcomes of the stage's trials, whose own records count if `hours.json` is lost.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        stage: int,
        gpus: float,
        *,
        limit: float | None = None,
        outcomes: Iterable[Outcome] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._stage, self._clock = Path(path), stage, clock
        self._devices = devices_of(gpus)
        self._limit = limit
        self._before = read_hours(path)
        recorded_s = sum(o.duration_s for o in outcomes if isinstance(o, TrialResult))
        # Of ended attempts.
        self._closed_s = max(3600 * self._before.get(stage, 0.0), self._devices * recorded_s)
        self._since: dict[int, float] = {}
        self._saved = clock()

    @property
    def hours(self) -> float:
        """Device-hours of all stages until now."""
        others = sum(hours for stage, hours in self._before.items() if stage != self._stage)
        return others + self._own()

    def __call__(self, event: TrialEvent) -> None:
        """Count the time of a trial as its events say. Raises LimitReached."""
        if event.is_running:
            self.started(event.number)
        elif event.leaves:
            self.ended(event.number)
        self.check()

    def started(self, number: int) -> None:
        """Count a trial from now on, unless it is counted already."""
        self._since.setdefault(number, self._clock())

    def ended(self, number: int) -> None:
        """Stop counting a trial."""
        since = self._since.pop(number, None)
        if since is not None:
            self._closed_s += self._devices * max(0.0, self._clock() - since)

    def check(self) -> None:
        """Compare the hours with the limit, and save them every `SAVE_EVERY_S` seconds.

        Raises:
            LimitReached: The limit is reached.
        """
        if self._clock() - self._saved >= SAVE_EVERY_S:
            self.save()
        if self._limit is not None and self.hours >= self._limit:
            raise LimitReached(
                f"the limit of {self._limit:g} GPU-hours is reached ({self.hours:.4g} spent); "
                "the same command with a larger --max-gpu-hours continues"
            )

    def close(self) -> None:
        """Stop counting all trials, and save the hours."""
        for number in list(self._since):
            self.ended(number)
        self.save()

    def save(self) -> None:
        """Write the stage's hours beside those of the other stages."""
        self._saved = self._clock()
        hours = {**read_hours(self._path), self._stage: self._own()}
        write_json(self._path, {f"stage{stage}": hours[stage] for stage in sorted(hours)})

    def _own(self) -> float:
        now = self._clock()
        running_s = sum(max(0.0, now - since) for since in self._since.values())
        return (self._closed_s + self._devices * running_s) / 3600


def devices_of(gpus_per_trial: float) -> float:
    """Return the device-hours of one hour of a trial: its share of GPUs, or 1 without a GPU."""
    return gpus_per_trial if gpus_per_trial > 0 else 1.0


def read_hours(path: str | os.PathLike[str]) -> dict[int, float]:
    """Return the device-hours by stage; empty if the file is missing or damaged."""
    try:
        content = json.loads(read_text(path))
        found = {stage: content[f"stage{stage}"] for stage in _STAGES if f"stage{stage}" in content}
        return {s: require_number(h, f"stage{s}", 0) for s, h in found.items()}
    except (ValueError, TypeError, RecursionError):  # ConfigError is a ValueError
        return {}
