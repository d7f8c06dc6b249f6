"""Maintenance of searches: list them, follow logs, stop a driver, remove training states."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.monitoring.read_status import read_status
from nas.monitoring.status import StageStatus
from nas.search.directory import SEARCH_FILE, SearchDir
from nas.search.resolve_url import searches_below
from nas.storage.driver_lock import BusyError
from search_spaces.errors import ConfigError
from trials.result import LOG_FILE, RESULT_FILE

_POLL_S = 0.2
_REFRESH_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """Search directory with the status of its stages, or the `fault` that makes it unreadable."""

    directory: SearchDir
    stages: tuple[StageStatus, ...] = ()
    fault: str = ""


def find_searches(runs: str | os.PathLike[str]) -> list[Found]:
    """Return the searches below `runs`, a folder or a URL, by name.

    Raises:
        ConfigError: `runs` is not a folder.
        StoreError: The store does not answer.
    """
    at_url = searches_below(runs)
    if at_url is not None:
        return [_found(SearchDir(root)) for root in at_url]
    folder = Path(runs)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a folder; give the one that holds your searches")
    return [_found(SearchDir(path.parent)) for path in sorted(folder.glob(f"[!.]*/{SEARCH_FILE}"))]


def _found(directory: SearchDir) -> Found:
    try:
        stages = tuple(read_status(directory, stage) for stage in sorted(directory.requests()))
    except ConfigError as error:
        return Found(directory=directory, fault=str(error))
    return Found(directory=directory, stages=stages)


def trial_log(directory: SearchDir, stage: int, number: int) -> Path:
    """Return the log file of a candidate's trial.

    Raises:
        ConfigError: There is no such candidate, or its trial has not started.
    """
    numbers = directory.numbers(stage)
    if number not in numbers:
        known = f"1 to {max(numbers)}" if numbers else "none"
        rule = f"stage {stage} of {directory} has candidates {known}"
        raise ConfigError(f"{rule}, got {number}")
    path = directory.trial_folder(stage, number) / LOG_FILE
    if not path.is_file():
        raise ConfigError(f"{path}: the trial has not started yet")
    return path


def follow(path: Path, is_over: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of a growing file, until `is_over()` is true and no line is left.

    The file may be replaced: by a longer one, as files from a URL are, or by a shorter one,
    which is read from its start.
    """
    position = 0
    while True:
        over = is_over()  # before reading, so that the last lines are not missed
        with path.open(encoding="utf-8", errors="replace") as file:
            file.seek(position if path.stat().st_size >= position else 0)
            lines = file.readlines()
            position = file.tell()
        yield from lines
        if over:
            return
        if not lines:
            time.sleep(_POLL_S)


def refreshing(directory: SearchDir) -> Callable[[], None]:
    """Return a function that fetches what is new at the URL, at most every few seconds."""
    last = time.monotonic()

    def refresh() -> None:
        nonlocal last
        if time.monotonic() - last >= _REFRESH_S:
            directory.refresh()
            last = time.monotonic()

    return refresh


def stop_driver(directory: SearchDir, wait_s: float) -> int | None:
    """End the driver with SIGTERM, as Ctrl-C would; every trial keeps its last checkpoint.

    Args:
        directory: Search directory.
        wait_s: Seconds to wait for the driver's end.

    Returns:
        The driver's process id; None if no driver is running.

    Raises:
        ConfigError: The driver runs on another machine.
        BusyError: The driver still runs after `wait_s` seconds.
    """
    driver = directory.driver()
    if driver is None:
        return None
    if driver.host != socket.gethostname() or not directory.storage.is_held_here():
        raise ConfigError(
            f"{directory}: its driver is process {driver.pid} on {driver.host}; "
            "run this command there"
        )
    os.kill(driver.pid, signal.SIGTERM)
    deadline = time.monotonic() + wait_s
    while directory.driver() is not None:
        if time.monotonic() >= deadline:
            raise BusyError(
                f"process {driver.pid} received SIGTERM {wait_s:g} s ago and still runs"
            )
        time.sleep(_POLL_S)
    return driver.pid


def removable(directory: SearchDir) -> dict[Path, int]:
    """Return the training states of ended trials, which no command needs again, and their bytes.

    `best.pt`, the curves, the result and the architecture are not among them. A failed trial
    starts from its first epoch after cleaning. The paths are those in the local copy of a
    search at a URL.
    """
    ended = {
        directory.trial_folder(stage, number)
        for stage in sorted(directory.requests())
        for number in directory.outcomes(stage)
    }
    # Trainings with other seeds are below them, each with an outcome of its own, or none yet.
    return {
        path: size
        for path, size in directory.storage.training_states().items()
        if not ended.isdisjoint(path.parents) and (path.parent / RESULT_FILE).is_file()
    }


def clean(directory: SearchDir) -> tuple[int, int]:
    """Remove the `removable` files; returns their number and bytes.

    Raises:
        BusyError: A driver is running.
    """
    stages = sorted(directory.requests())
    with directory.held(stages[-1] if stages else 1):
        files = removable(directory)
        for path in files:
            directory.storage.remove(path)
    return len(files), sum(files.values())
