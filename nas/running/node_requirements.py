"""What a trial must find on the machine that it starts on, and machines where it does not.

Machines may join a cluster in mid-search, or lose a mount. A trial that starts on such a one
fails for the machine's sake: that is not counted against the trial, which is tried again. Where
it happens again and again, the search stops, and can be continued.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import DataError
from trials.fingerprint import DATA_LAYOUT, data_fingerprint

if TYPE_CHECKING:
    from nas.search.events import TrialEvent

MOST_IN_A_ROW = 10


def missing_data(data: str, fingerprint: str) -> str:
    """What this machine does not see of a data folder, for people; empty if nothing is missing."""
    for name in DATA_LAYOUT:
        path = Path(data, name)
        if not path.exists():
            return f"it does not see {path}; put the data there, under the same path as --data"
    try:
        found = data_fingerprint(data)
    except OSError as error:
        return f"it cannot read {error.filename or data} ({error.strerror}); see its mount"
    if found != fingerprint:
        there = f"fingerprint {found}, not {fingerprint}"
        return f"{data} holds other data there ({there}); copy or mount the same data"
    return ""


def missing_search(witness: str) -> str:
    """The same of the search directory, in which the file `witness` lies."""
    if Path(witness).is_file():
        return ""
    return f"it does not see {witness}; mount the search directory there, under the same path"


class Misplacements:
    """Counts the trials that failed for their machine's sake, since any trial got further."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def note(self, event: "TrialEvent") -> None:
        """Hear of an event.

        Raises:
            DataError: that was once too often, or a trial would be counted as failed.
        """
        if event.kind in ("epoch", "finished"):
            self._in_a_row = 0
        if event.failure is None or event.failure.kind != "node":
            return
        self._in_a_row += 1
        if event.kind == "failed" or self._in_a_row >= MOST_IN_A_ROW:
            times = f"{self._in_a_row} times in a row " if self._in_a_row > 1 else ""
            hint = "mend the node, or take it out of the cluster; then the same command continues"
            raise DataError(f"{times}a trial found no place: {event.failure.reason}; {hint}")
