"""Temporary folders of running processes; those of dead ones are found and removed.

A lock says who lives: process numbers do not, where containers share a /tmp.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "scrfd-"
_YOUNG_S = 60.0  # one that has just been made may not be locked yet


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A temporary folder below `root` for the block; before, those of dead processes go."""
    for left_over in root.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody else's, or gone
            _remove_if_dead(left_over)
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
