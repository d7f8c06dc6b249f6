"""Temporary folders of running processes; those of dead processes are removed.

A lock on the folder marks a running process. Process numbers would not do where containers
share a /tmp.
"""

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "scrfd-"
# Names that `tempfile` makes here, and that neither users nor Ray choose.
_OURS = re.compile(r"scrfd-\d+-[a-z0-9_]{8}")
_YOUNG_S = 60.0  # a new folder may not be locked yet


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """Remove the folders of dead processes below `root`, and yield a new one for the block."""
    for found in root.glob(f"{_PREFIX}*"):
        if _OURS.fullmatch(found.name):
            with suppress(OSError):  # another user's, or removed meanwhile
                _remove_if_dead(found)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root))
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _remove_if_dead(folder: Path) -> None:
    if folder.is_symlink() or abs(time.time() - folder.stat().st_mtime) < _YOUNG_S:
        return
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
