"""Lock file of a search directory, held and described by the process that runs the search."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from search_spaces.errors import ScrfdNasError
from trials.lock import exclusive
from trials.result import TrialFault

_LOCK_WAIT_S = 2.0  # longer than `status` in another terminal holds the lock
_LONGEST_HOST = 255


class BusyError(ScrfdNasError):
    """Another process runs in the search directory."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The process that runs a search. Validated, as it may come from a store.

    Attributes:
        pid, host: process number and name of its machine.
        stage: the stage that it runs.
        started: seconds since 1970.
    """

    pid: int
    host: str
    stage: int
    started: float

    def __post_init__(self) -> None:
        if not isinstance(self.pid, int) or not isinstance(self.stage, int):
            raise TypeError(
                f"a driver's pid and stage must be integers, got {self.pid!r}, {self.stage!r}"
            )
        if self.pid < 1:  # a signal to 0 or -1 reaches many processes
            raise ValueError(f"a process number must be at least 1, got {self.pid}")
        if not isinstance(self.host, str) or not isinstance(self.started, (int, float)):
            raise TypeError("a driver's host must be text, and its start a number")
        if not 1 <= len(self.host) <= _LONGEST_HOST or not self.host.isprintable():
            raise ValueError(f"a driver's host must be short printable text, got {self.host!r}")
        time.localtime(self.started)  # raises if out of range

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.started))
        return f"process {self.pid} on {self.host} (stage {self.stage}, since {since})"


def driver_from(values: object) -> Driver | None:
    """Return the driver with these fields; None if they are not those of a driver."""
    try:
        return Driver(**values)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def parse_driver(text: str) -> Driver | None:
    """Return the driver that JSON describes; None if the text is empty or damaged."""
    try:
        return driver_from(json.loads(text))
    except (ValueError, RecursionError):
        return None


def busy(where: object, driver: Driver | None) -> BusyError:
    """Return the error for a directory `where` that another process holds."""
    who = driver or "another process"
    return BusyError(f"{where}: {who} works here; wait for it or stop it")


def read_lock(path: Path) -> tuple[bool, Driver | None]:
    """Return whether a process holds the lock file, and which one as far as it can be read."""
    try:
        with path.open(encoding="utf-8") as handle:
            if not _is_locked(handle):
                return False, None
            return True, parse_driver(handle.read())
    except OSError:
        return False, None


@contextmanager
def held_lock(path: Path, where: object) -> Iterator[None]:
    """Hold the lock file of the directory `where` during the block; empty it at the end.

    Raises:
        BusyError: another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(path, _LOCK_WAIT_S))
        except TrialFault:
            raise busy(where, read_lock(path)[1]) from None
        try:
            yield
        finally:
            write_driver(path, None)


def write_driver(path: Path, driver: Driver | None) -> None:
    """Write the holder into the lock file, or nothing."""
    path.write_text(json.dumps(asdict(driver)) if driver else "", encoding="utf-8")


def _is_locked(handle: IO[str]) -> bool:
    """Return whether another process holds the lock, by taking a shared one for a moment."""
    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(handle.fileno(), fcntl.LOCK_UN)
    return False
