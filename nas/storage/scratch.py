"""Temporary folders of running processes; those of dead ones are found and removed.

A lock says who lives: process numbers do not, where containers share a /tmp.
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
# What `tempfile` makes of it here, and nothing that a user or Ray would call so.
_OURS = re.compile(r"scrfd-\d+-[a-z0-9_]{8}")
_YOUNG_S = 60.0  # one that has just been made may not be locked yet


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A temporary folder below `root` for the block; before, those of dead processes go."""
    for found in root.glob(f"{_PREFIX}*"):
        if _OURS.fullmatch(found.name):
            with suppress(OSError):  # somebody else's, or gone
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
