"""Who works in a search directory: a lock file that the system lets go of, and what it says."""

import json
import time
from dataclasses import asdict, dataclass
from typing import IO

from nas.storage.lease import described
from search_spaces.errors import ScrfdNasError

_LOCK_WAIT_S = 2.0  # longer than another terminal's `status` holds it


class BusyError(ScrfdNasError):
    """Another process works in the search directory."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """The process that runs a search, as its lock file names it.

    Attributes:
        pid, host: of the process.
        stage: that it runs.
        started: seconds since 1970.
        epochs_before: epochs of the stage that were finished when it started.
    """

    pid: int
    host: str
    stage: int
    started: float
    epochs_before: int = 0

    def __post_init__(self) -> None:
        wholes = (self.pid, self.stage, self.epochs_before)
        if not all(isinstance(value, int) for value in wholes):  # a store's is a stranger's
            raise TypeError(f"a driver's numbers must be integers, got {wholes}")
        if self.pid < 1:  # signals to 0 and -1 go to many
            raise ValueError(f"a process has a number of at least 1, got {self.pid}")
        if not isinstance(self.host, str) or not isinstance(self.started, (int, float)):
            raise TypeError("a driver's host must be text, and its start a number")
        if not self.host.isprintable():
            raise ValueError(f"a driver's host must be printable, got {self.host!r}")

    def __str__(self) -> str:
        """For those who are refused."""
        return described(asdict(self))


def busy(where: object, who: str) -> BusyError:
    """The error that says who works in the directory `where`."""
    return BusyError(f"{where}: {who} works here; wait for it or stop it")


def parse_driver(text: str) -> Driver | None:
    """What a lock file says; None if it is empty or damaged."""
    try:
        return Driver(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None


def is_locked(handle: IO[str]) -> bool:
    """Whether somebody holds the lock; asks with a shared one, which is given back at once."""
    import fcntl

    try:
        fcntl.flock(handle.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(handle.fileno(), fcntl.LOCK_UN)
    return False


def lock(handle: IO[str], where: object) -> None:
    """Take the lock of the directory `where`. Raises BusyError: another process keeps it."""
    import fcntl

    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                handle.seek(0)
                who = parse_driver(handle.read())
                raise busy(where, str(who or "another process")) from None
            time.sleep(0.05)


def write_driver(handle: IO[str], driver: Driver | None) -> None:
    """Say in the lock file who holds it, or that nobody does."""
    handle.seek(0)
    handle.truncate()
    handle.write(json.dumps(asdict(driver)) if driver else "")
    handle.flush()
