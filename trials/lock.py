"""A lock file that admits one process at a time to a folder."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trials.result import TrialFault


@contextmanager
def exclusive(path: str | os.PathLike[str], wait_s: float) -> Iterator[None]:
    """Hold the lock file `path` during the block; the system releases it if the process dies.

    Raises:
        TrialFault: another process holds it for more than `wait_s` seconds.
    """
    import fcntl  # here, so that the rest of the package can be imported on Windows

    with Path(path).open("a+b") as handle:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise TrialFault(
                        f"{path}: another process has held the lock of this folder for "
                        f"{wait_s:g} s; wait until it ends, or end it"
                    ) from error
                time.sleep(min(0.1, wait_s))
        yield
