"""What a scheduler decided about a stage's trials: `decisions.csv`, a line a decision."""

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
    """The decisions of one stage, over all its runs; each is on disk when `note` returns.

    Args:
        folder: of the stage.
        scheduler: that decides in this run.
    """

    def __init__(self, folder: str | os.PathLike[str], scheduler: str) -> None:
        self._path, self._scheduler = Path(folder) / DECISIONS_FILE, scheduler
        self._known = set(read_decisions(self._path))

    def note(self, event: TrialEvent) -> None:
        """Add a decision, unless it repeats one: a continued search decides some again."""
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
    """The whole lines of a decisions file, if there is one; damaged ones are passed over."""
    try:
        with Path(path).open(encoding="utf-8", errors="replace", newline="") as file:
            whole = (line for line in file if line.endswith("\n"))
            for row in csv.DictReader(whole):
                if row.keys() == set(_COLUMNS):
                    yield from _parse(row)
    except (OSError, csv.Error):
        return  # it is a record, and no more: the search does without


def read_decided(folder: str | os.PathLike[str]) -> dict[tuple[int, int], bool]:
    """Return whether a candidate continues, by candidate and epoch, of a stage's decisions."""
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
    """Add a whole line, after cutting off what a crash left of the last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        size = file.truncate(_sound_bytes(file))
        file.write(line if size else _HEADER + line)
        file.flush()
        os.fsync(file.fileno())


def _sound_bytes(file: io.BufferedRandom) -> int:
    """The length up to the last whole line; 0 where the file is something else."""
    file.seek(0)
    if file.readline(len(_HEADER)) != _HEADER:
        return 0
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - 4096)  # no line is as long
    file.seek(start)
    return start + file.read().rfind(b"\n") + 1
