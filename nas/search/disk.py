"""A disk without space stops a search; otherwise it would fail its trials one after the other."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.search.events import TrialEvent
from search_spaces.errors import ScrfdNasError
from search_spaces.files import is_disk_full


class DiskFullError(ScrfdNasError):
    """No space is left; nothing that was finished is lost."""


@contextmanager
def naming_full_disks(root: Path) -> Iterator[None]:
    """Turn whatever a full disk led to in the block into one line about it.

    Raises:
        DiskFullError: says how to go on.
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
    """Raise what a trial met, so that it stays unfinished instead of failed."""
    if event.failure is not None and event.failure.kind == "disk":
        raise OSError(errno.ENOSPC, event.failure.reason)
