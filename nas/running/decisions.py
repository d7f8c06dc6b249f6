"""What a scheduler decided about a stage's trials: `decisions.csv`, a line a decision."""

import csv
import io
import os
import time
from pathlib import Path

from nas.running.tasks import TrialEvent
from search_spaces.errors import ConfigError
from search_spaces.files import read_text, write_text

DECISIONS_FILE = "decisions.csv"
KINDS = ("paused", "promoted", "stopped")
_COLUMNS = ("time", "scheduler", "candidate", "epoch", "hard", "decision")


class Decisions:
    """The decisions of one stage, over all its runs; each is on disk when `note` returns.

    Args:
        folder: of the stage.
        scheduler: that decides in this run.
    """

    def __init__(self, folder: str | os.PathLike[str], scheduler: str) -> None:
        self._path, self._scheduler = Path(folder) / DECISIONS_FILE, scheduler
        self._rows = _read(self._path)

    def note(self, event: TrialEvent) -> None:
        """Add a decision, unless it repeats one: a continued search decides some again."""
        key = {"candidate": str(event.number), "epoch": str(event.epoch), "decision": event.kind}
        if any(key.items() <= row.items() for row in self._rows):
            return
        hard = "" if event.hard is None else f"{event.hard:.6f}"
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._rows.append({"time": when, "scheduler": self._scheduler, "hard": hard, **key})
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._path, text.getvalue())


def _read(path: Path) -> list[dict[str, str]]:
    """The rows so far; a damaged file counts as empty, since it is a record and no more."""
    if not path.is_file():
        return []
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path))))
    except (ConfigError, csv.Error):
        return []
    return [row for row in rows if set(row) == set(_COLUMNS)]
