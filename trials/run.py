"""Run one trial: lock its folder, choose the device, train the epochs, record the result."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from search_spaces.architecture import Architecture
from search_spaces.checks import require_integer
from search_spaces.errors import ConfigError, counted
from search_spaces.files import remove_left_overs, write_text
from trials.device import limited_threads, resolve_device, resolve_precision
from trials.failure import memory_fault
from trials.fingerprint import request_fingerprint
from trials.lock import exclusive
from trials.recipe import Recipe
from trials.result import LOG_FILE, TrialFault, TrialInterrupted, TrialResult, load_result
from trials.settings import TrialSettings
from trials.training.parallel import ALONE, Workers
from trials.training.state import start_training
from trials.training.trial_epochs import TrialRun
from trials.trial import NO_CALLBACKS, Callbacks, Trial, claim

LOCK_FILE = "lock"
LOCK_WAIT_S = 60.0
MAX_LOG_BYTES = 1 << 18  # of a trial's log at its start, so that restarts do not add up

log = logging.getLogger(__name__)


def run_trial(
    architecture: Architecture,
    recipe: Recipe,
    data_root: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    settings: TrialSettings,
    callbacks: Callbacks = NO_CALLBACKS,
    workers: Workers = ALONE,
) -> TrialResult:
    """Train and evaluate one candidate, or resume an interrupted call.

    On the same machine, on a CPU with the same number of threads, a trial that was killed at
    any moment ends with the same weights as an undisturbed one. A finished trial is not run
    again: its result is returned.

    Args:
        architecture: the candidate.
        recipe: how it is trained.
        data_root: folder with `train` and `val` in the labelv2 layout.
        folder: belongs to this trial alone; receives `request.json`, `metrics.csv`,
            `trial.log`, `last.pt`, `best.pt`, `evaluation.npz` and finally `result.json`.
        settings: length, image size, seed, and the resources to use.
        callbacks: functions to call while the trial runs.
        workers: position of this process among `settings.workers` data-parallel ones, each
            of which makes this call; only the leader writes files and calls `on_epoch`.

    Raises:
        IncomparableError: the folder belongs to a different request.
        TrialInterrupted: `should_stop` returned True; the same call resumes the trial.
        TrialFault: diverged, out of memory, or the folder is in use.
        DataError: the data cannot be read.
        ConfigError: the device does not exist or lacks the precision.
    """
    trial = Trial(
        architecture=architecture, recipe=recipe, data_root=Path(data_root), settings=settings
    )
    result = advance_trial(
        trial, folder, until=settings.epochs, callbacks=callbacks, workers=workers
    )
    if result is None:
        raise TrialFault(f"{folder}: the last epoch ended without a result")
    return result


def advance_trial(
    trial: Trial,
    folder: str | os.PathLike[str],
    *,
    until: int,
    callbacks: Callbacks = NO_CALLBACKS,
    workers: Workers = ALONE,
) -> TrialResult | None:
    """Train a trial up to epoch `until` and leave it there.

    A trial advanced in several calls ends with the same result as in a single one. Arguments
    and errors are those of `run_trial`, and `until` is from 1 to `settings.epochs`.

    Returns:
        The result if the trial is finished, otherwise None: the folder then holds the
        checkpoint and the metrics.
    """
    path, settings = Path(folder), trial.settings
    until = require_integer(until, "until", 1, settings.epochs)
    if workers.count != settings.workers:
        raise ConfigError(
            f"settings ask for {counted(settings.workers, 'worker')}, got {workers.count}"
        )
    request = trial.request()
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    with _claimed(path, request) if workers.leads else nullcontext():
        finished = workers.share(lambda: _finished(path))
        if finished is not None:
            return finished
        logged = _logging_to(path / LOG_FILE) if workers.leads else nullcontext()
        with logged, limited_threads(settings.threads), _reported_errors():
            training = start_training(
                trial.architecture,
                trial.recipe,
                seed=settings.seed,
                device=device,
                precision=precision,
                workers=workers,
            )
            run = TrialRun(
                trial=trial,
                folder=path,
                request=request_fingerprint(request),
                training=training,
                callbacks=callbacks,
            )
            return run.advance(until)


@contextmanager
def _claimed(folder: Path, request: dict[str, Any]) -> Iterator[None]:
    """Hold the folder's lock during the block, and check that it belongs to `request`."""
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / LOCK_FILE, LOCK_WAIT_S):
        remove_left_overs(folder)
        claim(folder, request)
        yield


def _finished(folder: Path) -> TrialResult | None:
    """Return the recorded result; a damaged one counts as none and is computed again."""
    try:
        return load_result(folder)
    except ConfigError as error:
        log.warning("%s", error)
        return None


@contextmanager
def _reported_errors() -> Iterator[None]:
    """Log any error of the block, and raise a lack of memory as a TrialFault with advice."""
    try:
        yield
    except TrialInterrupted:
        raise
    except BaseException as error:
        reason = memory_fault(error)
        log.exception("out of memory" if reason else "stopped")
        if reason:
            raise TrialFault(reason, kind="memory") from error
        raise


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Append the log records of this package to `path` during the block."""
    _truncate(path)
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


def _truncate(path: Path) -> None:
    """Keep only the last lines of a log that exceeds `MAX_LOG_BYTES`."""
    if not path.is_file() or path.stat().st_size <= MAX_LOG_BYTES:
        return
    with path.open("rb") as file:
        file.seek(-MAX_LOG_BYTES // 2, os.SEEK_END)
        file.readline()  # the rest of a line
        kept = file.read().decode("utf-8", "replace")
    write_text(path, f"(earlier lines were removed)\n{kept}")
