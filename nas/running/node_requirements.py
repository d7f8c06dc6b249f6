"""Requirements of a trial on its machine, and the limit on machines that lack them.

Machines may join a cluster during a search, or lose a mount. A trial that starts on such a
machine fails with the kind `node`: the attempt does not count, and the trial is tried again. After
`MOST_IN_A_ROW` such failures the search stops, and can be continued.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import DataError
from trials.fingerprint import DATA_LAYOUT, data_fingerprint

if TYPE_CHECKING:
    from nas.search.events import TrialEvent

MOST_IN_A_ROW = 10


def missing_data(data: str, fingerprint: str) -> str:
    """Return what this machine lacks of a data folder as text; empty if nothing is missing."""
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
    """Return whether this machine lacks the search directory, by a file in it, as text."""
    if Path(witness).is_file():
        return ""
    return f"it does not see {witness}; mount the search directory there, under the same path"


class NodeFailures:
    """Subscriber that counts trials whose machine lacked something, since the last progress."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def __call__(self, event: "TrialEvent") -> None:
        """Count an event.

        Raises:
            DataError: The limit is reached, or a trial would be recorded as failed.
        """
        if event.kind in ("epoch", "finished"):
            self._in_a_row = 0
        if event.failure is None or event.failure.kind != "node":
            return
        self._in_a_row += 1
        if event.kind == "failed" or self._in_a_row >= MOST_IN_A_ROW:
            times = f"{self._in_a_row} times in a row " if self._in_a_row > 1 else ""
            hint = "repair the node, or take it out of the cluster; then the same command continues"
            raise DataError(f"{times}a trial found no place: {event.failure.reason}; {hint}")
