"""Decisions of a scheduler about a stage's trials: `decisions.csv`, one line for each."""

import csv
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

from nas.search.events import TrialEvent
from reports.search_data import Decision

DECISIONS_FILE = "decisions.csv"
KINDS = ("promoted", "stopped")
_COLUMNS = ("time", "scheduler", "candidate", "epoch", "hard", "decision")
_HEADER = ",".join(_COLUMNS).encode() + b"\n"


class Decisions:
    """Subscriber that records the decisions of one stage over all its runs.

    A decision is on disk when the call returns.

    Args:
        folder: Folder of the stage.
        scheduler: Name of the scheduler in this run.
    """

    def __init__(self, folder: str | os.PathLike[str], scheduler: str) -> None:
        self._path, self._scheduler = Path(folder) / DECISIONS_FILE, scheduler
        self._known = set(read_decisions(self._path))

    def __call__(self, event: TrialEvent) -> None:
        """Record a decision, unless it repeats one: a resumed search makes some again."""
        if event.kind not in KINDS:
            return
        decision = Decision(candidate=event.number, epoch=event.epoch, kind=event.kind)
        if decision in self._known:
            return
        hard = "" if event.hard is None else f"{event.hard:.6f}"
        when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([when, self._scheduler, event.number, event.epoch, hard, event.kind])
        _append(self._path, text.getvalue().encode())
        self._known.add(decision)


def read_decisions(path: str | os.PathLike[str]) -> Iterator[Decision]:
    """Yield the decisions in a file, if there is one; damaged and cut lines are skipped."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace", newline="") as file:
            whole = (line for line in file if line.endswith("\n"))
            for row in csv.DictReader(whole):
                if row.keys() == set(_COLUMNS):
                    yield from _parse(row)
    except (OSError, csv.Error):
        return  # the search does not depend on this record


def read_decided(folder: str | os.PathLike[str]) -> dict[tuple[int, int], bool]:
    """Return a stage's decisions by candidate and epoch: whether the candidate continues."""
    decisions = read_decisions(Path(folder) / DECISIONS_FILE)
    return {(found.candidate, found.epoch): found.kind == "promoted" for found in decisions}


def _parse(row: dict[str, str]) -> Iterator[Decision]:
    try:
        number, epoch = int(row["candidate"]), int(row["epoch"])
    except (TypeError, ValueError):
        return
    if row["decision"] in KINDS:
        yield Decision(candidate=number, epoch=epoch, kind=row["decision"])


def _append(path: Path, line: bytes) -> None:
    """Append a line, after removing an incomplete last line that a crash has left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        size = file.truncate(_sound_bytes(file))
        file.write(line if size else _HEADER + line)
        file.flush()
        os.fsync(file.fileno())


def _sound_bytes(file: io.BufferedRandom) -> int:
    """Return the length up to the last whole line; 0 if the file is something else."""
    file.seek(0)
    if file.readline(len(_HEADER)) != _HEADER:
        return 0
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - 4096)  # no line is that long
    file.seek(start)
    return start + file.read().rfind(b"\n") + 1
