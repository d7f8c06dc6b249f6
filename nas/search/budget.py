"""The hours that a search has cost, over all its runs, and its hard limit (`--max-gpu-hours`).

What is counted is the time that trials run, times the GPUs of each. Where trials have no GPU,
it is the time that they run: two trials side by side for an hour are two hours. Waiting, the
driver's own work and proposals are free.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from search_spaces.checks import require_number
from search_spaces.errors import ConfigError, ScrfdNasError
from search_spaces.files import read_text, write_json
from trials.result import Outcome, TrialResult

HOURS_FILE = "hours.json"
_STAGES = (1, 2, 3)
SAVE_EVERY_S = 10.0  # all that a killed driver can forget of each trial


class LimitReached(ScrfdNasError):  # noqa: N818  (an end that was asked for, not an error)
    """The search has cost the hours that it may; its trials keep their checkpoints."""


class Budget:
    """Counts the device-hours of one stage while it runs, and knows those of before.

    Args:
        path: `hours.json` of the search; made when something is counted.
        stage: 1 or 2.
        devices: of each trial (see `devices_of`).
        limit: in device-hours over both stages; None: count only.
        recorded: device-hours of the stage that its trials' own records add up to, for a
            search whose `hours.json` is lost or older.
        clock: seconds; for tests.

    Raises:
        ConfigError: the limit is not a number above 0.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        stage: int,
        devices: float,
        *,
        limit: float | None = None,
        recorded: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._stage, self._devices, self._clock = Path(path), stage, devices, clock
        self._limit = check_limit(limit)
        self._before = read_hours(path)
        self._closed_s = 3600 * max(self._before.get(stage, 0.0), recorded)  # of ended attempts
        self._since: dict[int, float] = {}
        self._saved = clock()

    @property
    def hours(self) -> float:
        """Device-hours of both stages until now."""
        others = sum(hours for stage, hours in self._before.items() if stage != self._stage)
        return others + self._own()

    def started(self, number: int) -> None:
        """A trial runs from now on; nothing changes if it runs already."""
        self._since.setdefault(number, self._clock())

    def ended(self, number: int) -> None:
        """A trial does not run any more."""
        since = self._since.pop(number, None)
        if since is not None:
            self._closed_s += self._devices * max(0.0, self._clock() - since)

    def check(self) -> None:
        """Call often: saves what was counted, now and then, and compares it with the limit.

        Raises:
            LimitReached: says what was spent.
        """
        if self._clock() - self._saved >= SAVE_EVERY_S:
            self.save()
        if self._limit is not None and self.hours >= self._limit:
            raise LimitReached(
                f"the limit of {self._limit:g} GPU-hours is reached ({self.hours:.4g} spent); "
                "the same command with a larger --max-gpu-hours continues"
            )

    def close(self) -> None:
        """No trial runs any more; saves what was counted."""
        for number in list(self._since):
            self.ended(number)
        self.save()

    def save(self) -> None:
        """Write the stage's hours beside those of the other stage."""
        self._saved = self._clock()
        hours = {**read_hours(self._path), self._stage: self._own()}
        write_json(self._path, {f"stage{stage}": hours[stage] for stage in sorted(hours)})

    def _own(self) -> float:
        now = self._clock()
        running_s = sum(max(0.0, now - since) for since in self._since.values())
        return (self._closed_s + self._devices * running_s) / 3600


def devices_of(gpus_per_trial: float) -> float:
    """What an hour of a trial counts: its share of GPUs, or 1 where it has none."""
    return gpus_per_trial if gpus_per_trial > 0 else 1.0


def recorded_hours(outcomes: Mapping[int, Outcome], devices: float) -> float:
    """Device-hours that the finished trials' own records add up to."""
    finished = (o.duration_s for o in outcomes.values() if isinstance(o, TrialResult))
    return devices * sum(finished) / 3600


def read_hours(path: str | os.PathLike[str]) -> dict[int, float]:
    """Device-hours by stage; empty if there is no such file or it is damaged."""
    try:
        content = json.loads(read_text(path))
        found = {stage: content[f"stage{stage}"] for stage in _STAGES if f"stage{stage}" in content}
        return {s: require_number(h, f"stage{s}", 0) for s, h in found.items()}
    except (ValueError, TypeError, RecursionError):  # ConfigError is a ValueError
        return {}


def check_limit(limit: float | None) -> float | None:
    """The limit, if it is one. Raises ConfigError."""
    if limit is None:
        return None
    checked = require_number(limit, "max_gpu_hours", 0)
    if math.isclose(checked, 0.0):
        raise ConfigError(f"max_gpu_hours must be above 0, got {limit!r}")
    return checked
