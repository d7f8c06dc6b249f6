"""The life of one candidate: have its folder, run its epochs, record; continued at will."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError
from search_spaces.files import remove_left_overs, write_text
from trials.device import Precision, limited_threads, resolve_device, resolve_precision
from trials.fingerprint import request_fingerprint
from trials.lock import exclusive
from trials.memory import memory_fault
from trials.recipe import Recipe
from trials.request import claim, trial_request
from trials.result import TrialFault, TrialInterrupted, TrialResult, load_result
from trials.settings import TrialSettings
from trials.training.parallel import ALONE, Workers
from trials.training.trial_epochs import OnEpoch, OnStep, ShouldStop, Trial, run_epochs

__all__ = [
    "LOCK_FILE",
    "LOCK_WAIT_S",
    "OnEpoch",
    "OnStep",
    "ShouldStop",
    "advance_trial",
    "run_trial",
]

LOCK_FILE, LOG_FILE = "lock", "trial.log"
MAX_LOG_BYTES = 1 << 18  # of a trial's log when it starts: nothing grows with restarts
LOCK_WAIT_S = 60.0

log = logging.getLogger(__name__)


def run_trial(
    architecture: Architecture,
    recipe: Recipe,
    data_root: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    settings: TrialSettings,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    should_stop: ShouldStop | None = None,
    lock_wait_s: float = LOCK_WAIT_S,
    workers: Workers = ALONE,
) -> TrialResult:
    """Train and evaluate one candidate, or continue where an interrupted call stopped.

    On the same machine, on a CPU with the same number of threads, a trial that was killed
    at any moment ends with the same weights as one that was not. A finished trial is not
    run again: its result is returned.

    Args:
        architecture: the candidate.
        recipe: how to train it.
        data_root: folder with `train` and `val` in the labelv2 layout.
        folder: of this trial alone; gets `request.json`, `metrics.csv`, `trial.log`,
            `last.pt`, `best.pt` and at the end `result.json`.
        settings: length, size, seed, and the machine's share.
        on_epoch: called after every epoch of this call, when its checkpoint is on disk.
        on_step: called after every iteration with (iterations done, of all).
        should_stop: asked after every iteration and every evaluated image; True puts the
            training on disk as it is and ends this call.
        lock_wait_s: how long to wait for another process to leave the folder.
        workers: this process's place among `settings.workers` data-parallel ones, each of
            which makes this call; only the leading one touches the folder and calls back.

    Raises:
        IncomparableError: the folder belongs to a different request.
        TrialInterrupted: `should_stop` said so; the same call continues.
        TrialFault: diverged, out of memory, or the folder is in use.
        DataError: the data cannot be read.
        ConfigError: no such device, or a precision that it does not have.
    """
    result = advance_trial(
        architecture,
        recipe,
        data_root,
        folder,
        settings=settings,
        until=settings.epochs,
        on_epoch=on_epoch,
        on_step=on_step,
        should_stop=should_stop,
        lock_wait_s=lock_wait_s,
        workers=workers,
    )
    if result is None:
        raise TrialFault(f"{folder}: the last epoch ended without a result")
    return result


def advance_trial(
    architecture: Architecture,
    recipe: Recipe,
    data_root: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    settings: TrialSettings,
    until: int,
    on_epoch: OnEpoch | None = None,
    on_step: OnStep | None = None,
    should_stop: ShouldStop | None = None,
    lock_wait_s: float = LOCK_WAIT_S,
    workers: Workers = ALONE,
) -> TrialResult | None:
    """Train one candidate up to epoch `until` of `settings.epochs`, and leave it there.

    In as many steps as one likes, a trial comes to the same end as in one. Arguments and
    errors are those of `run_trial`.

    Args:
        until: from 1 to `settings.epochs`.

    Returns:
        The result where `until` is the last epoch or the trial was finished before;
        otherwise None: the folder then keeps the checkpoint and the metrics.
    """
    path = Path(folder)
    until = require_integer(until, "until", 1, settings.epochs)
    request = trial_request(architecture, recipe, data_root, settings)
    device, precision = _machine(settings, workers)
    with _owned(path, request, lock_wait_s) if workers.leads else nullcontext():
        finished = workers.share(lambda: _finished(path))
        if finished is not None:
            return finished
        log_to = _log_to(path / LOG_FILE) if workers.leads else nullcontext()
        with log_to, limited_threads(settings.threads):
            trial = Trial(
                architecture=architecture,
                recipe=recipe,
                data_root=Path(data_root),
                folder=path,
                settings=settings,
                device=device,
                precision=precision,
                request=request_fingerprint(request),
                until=until,
                workers=workers,
                on_epoch=on_epoch,
                on_step=on_step,
                should_stop=should_stop,
            )
            return _logged(trial)


def _machine(settings: TrialSettings, workers: Workers) -> tuple[torch.device, Precision]:
    """What the settings ask of this machine, before the folder is touched."""
    if workers.count != settings.workers:
        raise ConfigError(f"settings ask for {settings.workers} workers, got {workers.count}")
    device = resolve_device(settings.device)
    return device, resolve_precision(settings.precision, device)


def _logged(trial: Trial) -> TrialResult | None:
    """Run the trial; what ends it goes to its log too."""
    try:
        return run_epochs(trial)
    except TrialInterrupted:
        raise
    except BaseException as error:
        reason = memory_fault(error)
        log.exception("out of memory" if reason else "stopped")
        if reason:
            raise TrialFault(reason, kind="memory") from error
        raise


def _finished(folder: Path) -> TrialResult | None:
    """The result that is there; a damaged one counts as none, and is earned again."""
    try:
        return load_result(folder)
    except ConfigError as error:
        log.warning("%s", error)
        return None


@contextmanager
def _owned(folder: Path, request: dict[str, Any], lock_wait_s: float) -> Iterator[None]:
    """Have the folder for oneself, and for this request alone."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / LOCK_FILE, lock_wait_s):
        remove_left_overs(folder)
        claim(folder, request)
        yield


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Append what this package logs to `path`, of which only the last part is kept."""
    _shorten(path)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package = logging.getLogger("trials")
    level = package.level
    package.addHandler(handler)
    package.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)
        handler.close()


def _shorten(path: Path) -> None:
    """Keep the last lines of a log that has become too long."""
    if not path.is_file() or path.stat().st_size <= MAX_LOG_BYTES:
        return
    with path.open("rb") as file:
        file.seek(-MAX_LOG_BYTES // 2, os.SEEK_END)
        file.readline()  # the rest of a line
        kept = file.read().decode("utf-8", "replace")
    write_text(path, f"(earlier lines were removed)\n{kept}")
