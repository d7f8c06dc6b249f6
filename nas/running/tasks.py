"""Trials as plain data: what any executor is given, what it tells, and how one is run."""

import importlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.early_stopping.schedule import HardCurve
from nas.running.node_requirements import missing_data, missing_search
from reports.curves import read_curve
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, ScrfdNasError
from trials.memory import release_free_memory
from trials.recipe import Recipe
from trials.result import EpochReport, TrialFault, TrialInterrupted, failure_of
from trials.settings import TrialSettings
from trials.trial import Callbacks, Trial


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """One trial as plain data, so that any machine can run it.

    Attributes:
        number: the candidate's number, from 1.
        architecture, recipe, settings: their `to_dict` forms (settings: the fields).
        data_root: absolute path that every machine sees.
        folder: the same, unless there is `remote`: then it is the driver's copy.
        remote: URL of the folder, where the search lies in a store (`nas.storage`).
        entry: `module:function` with the signature of `trials.run.advance_trial`.
        until: the epoch to train up to; None: to the end.
        fingerprint: of the data that must lie there; empty: not looked at.
        witness: a file that the machine sees if it sees the search; empty: not looked for.
    """

    number: int
    architecture: Mapping[str, Any]
    recipe: Mapping[str, Any]
    settings: Mapping[str, Any]
    data_root: str
    folder: str
    entry: str = "trials.run:advance_trial"
    until: int | None = None
    remote: str | None = None
    fingerprint: str = ""
    witness: str = ""

    @property
    def is_partial(self) -> bool:
        """Whether it ends before the trial does."""
        return self.until is not None and self.until < self.settings["epochs"]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What Ray sets aside for one trial; fractions of a GPU share it."""

    cpus_per_trial: float
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("cpus_per_trial", 0.01), ("gpus_per_trial", 0.0)):
            if not low <= getattr(self, name) <= 4096:
                rule = f"{name} must be from {low:g} to 4096"
                raise ConfigError(f"{rule}, got {getattr(self, name)!r}")

    @property
    def threads(self) -> int:
        """CPU threads that a trial may keep busy."""
        return max(1, int(self.cpus_per_trial))


def run_task(
    task: TrialTask,
    on_epoch: Callable[[EpochReport], None],
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Run one task in this process.

    Raises:
        TrialInterrupted: `should_stop` said so, and the trial is on disk.
        TrialFault: whatever went wrong, as an exception that survives pickling.
    """
    release_free_memory()
    _look_around(task)
    module, _, function = task.entry.partition(":")
    try:
        settings = TrialSettings(**task.settings)
        run = getattr(importlib.import_module(module), function)
        run(
            Trial(
                architecture=Architecture.from_dict(task.architecture),
                recipe=Recipe.from_dict(task.recipe),
                data_root=Path(task.data_root),
                settings=settings,
            ),
            Path(task.folder),
            until=task.until or settings.epochs,
            callbacks=Callbacks(on_epoch=on_epoch, should_stop=should_stop),
        )
    except (TrialFault, TrialInterrupted):
        raise
    except Exception as error:
        failure = failure_of(error)
        raise TrialFault(failure.reason, failure.kind, failure.epoch) from error


def _look_around(task: TrialTask) -> None:
    """Raise TrialFault where this machine lacks what the task needs."""
    lacks = missing_data(task.data_root, task.fingerprint) if task.fingerprint else ""
    if not lacks and task.witness:
        lacks = missing_search(task.witness)
    if lacks:
        raise TrialFault(f"node {socket.gethostname()} cannot run it: {lacks}", kind="node")


def hard_curve(task: TrialTask) -> HardCurve:
    """What the trial's folder says that it was evaluated to; empty if that is damaged."""
    try:
        architecture = Architecture.from_dict(task.architecture)
        return read_curve(task.folder, task.number, architecture).hard
    except ScrfdNasError:
        return {}  # the trial writes its metrics anew, or fails and says why


def plain_settings(settings: TrialSettings) -> dict[str, Any]:
    """The plain form of `settings` for a `TrialTask`."""
    return asdict(settings)
