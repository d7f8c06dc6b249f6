"""Stop a search whose disk is full; otherwise its trials would fail one after the other."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.search.events import TrialEvent
from search_spaces.errors import ScrfdNasError
from search_spaces.files import is_disk_full


class DiskFullError(ScrfdNasError):
    """No space is left; no finished work is lost."""


@contextmanager
def naming_full_disks(root: Path) -> Iterator[None]:
    """Replace any exception that a full disk has caused in the block.

    Raises:
        DiskFullError: No space is left.
    """
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise DiskFullError(
            f"no space is left for {root} or for temporary files; free some, then the same "
            "command continues the search"
        ) from error


def stop_if_disk_full(event: TrialEvent) -> None:
    """Subscriber that raises a trial's full disk, so that the trial stays unfinished."""
    if event.failure is not None and event.failure.kind == "disk":
        raise OSError(errno.ENOSPC, event.failure.reason)
