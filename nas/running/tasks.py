"""Trials as plain data for an executor, and the function that runs one of them."""

import importlib
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.early_stopping.asha import RungRecords
from nas.early_stopping.schedule import HardCurve
from nas.running.node_requirements import missing_data, missing_search
from nas.search.directory import SearchDir
from nas.search.events import Subscriber
from nas.search.request import AnyRequest
from reports.curves import read_curve
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError, ScrfdNasError
from trials.device import release_free_memory
from trials.failure import failure_of
from trials.recipe import Recipe
from trials.result import EpochReport, TrialFault, TrialInterrupted
from trials.settings import TrialSettings
from trials.trial import Callbacks, Trial


@dataclass(frozen=True, kw_only=True)
class TrialTask:
    """One trial as plain data, so that any machine can run it.

    Attributes:
        number: Number of the candidate, from 1.
        architecture, recipe, settings: Plain forms (`to_dict`; of the settings the fields).
        data_root: Absolute path of the data on every machine.
        folder: Absolute path of the trial's folder on every machine; with `remote` the driver's.
        remote: URL of the folder, for a search in a store (`nas.storage`).
        entry: `module:function` with the signature of `trials.run.advance_trial`.
        until: Epoch to train up to; None: to the end.
        fingerprint: Fingerprint that the data must have; empty: not checked.
        witness: File that a machine sees if it sees the search directory; empty: not checked.
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
        """Whether the task ends before the trial does."""
        return self.until is not None and self.until < self.settings["epochs"]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources that Ray reserves for one trial; fractions of a GPU share it."""

    cpus_per_trial: float
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("cpus_per_trial", 0.01), ("gpus_per_trial", 0.0)):
            if not low <= getattr(self, name) <= 4096:
                rule = f"{name} must be from {low:g} to 4096"
                raise ConfigError(f"{rule}, got {getattr(self, name)!r}")

    @property
    def threads(self) -> int:
        """Number of CPU threads for a trial."""
        return max(1, int(self.cpus_per_trial))


def _check_nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """Trials for one run of an executor (see `nas.running.cluster.Cluster.run`).

    Attributes:
        tasks: A list is placed at once. Another iterable is asked for its next task whenever a
            trial can start, in the driver, after all events so far are published.
        resources: Resources of each trial.
        publish: Receives every event, in the driver. An exception ends the run.
        check: Called many times a minute, also between events. An exception ends the run.
        retries: New attempts at a failed trial between two finished epochs.
        records: Curves and decisions so far, by which trials stop early; None: none stops.
    """

    tasks: Iterable[TrialTask]
    resources: Resources
    publish: Subscriber
    check: Callable[[], None] = _check_nothing
    retries: int = 1
    records: RungRecords | None = None


def trial_task(
    directory: SearchDir, request: AnyRequest, number: int, folder: Path, resources: Resources
) -> TrialTask:
    """Return the task that trains candidate `number` of a stage in `folder`."""
    architecture = directory.architecture(request.stage, number)
    return TrialTask(
        number=number,
        architecture=architecture.to_dict(),
        recipe=request.recipe_of(number),
        settings=asdict(request.settings(resources.threads)),
        data_root=request.data,
        folder=str(folder.resolve()),
        remote=directory.url_of(folder),
        fingerprint=request.data_fingerprint,
        witness=directory.witness(request.stage, number),
    )


def run_task(
    task: TrialTask,
    on_epoch: Callable[[EpochReport], None],
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Run one task in this process.

    Raises:
        TrialInterrupted: `should_stop` returned True, and the trial is on disk.
        TrialFault: The trial failed in any way; this exception survives pickling.
    """
    release_free_memory()
    _check_node(task)
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


def _check_node(task: TrialTask) -> None:
    """Raise TrialFault if this machine lacks a requirement of the task."""
    lacks = missing_data(task.data_root, task.fingerprint) if task.fingerprint else ""
    if not lacks and task.witness:
        lacks = missing_search(task.witness)
    if lacks:
        raise TrialFault(f"node {socket.gethostname()} cannot run it: {lacks}", kind="node")


def hard_curve(task: TrialTask) -> HardCurve:
    """Return the hard APs by epoch in the trial's folder; empty if it is damaged."""
    try:
        architecture = Architecture.from_dict(task.architecture)
        return read_curve(task.folder, task.number, architecture).hard
    except ScrfdNasError:
        return {}  # the trial rewrites its metrics, or fails with a reason
