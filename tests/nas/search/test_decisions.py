"""File of a scheduler's decisions: one line for each, none lost, none repeated."""

import csv
from pathlib import Path
from typing import Any

import pytest

from nas.search import decisions
from nas.search.decisions import DECISIONS_FILE, Decisions, read_decisions
from nas.search.events import TrialEvent


def record(folder: Path, *numbers: int, kind: Any = "stopped", epoch: int = 3) -> None:
    """Record decisions as one run of a search does."""
    subscriber = Decisions(folder, "asha")
    for number in numbers:
        event = TrialEvent(kind=kind, number=number, epoch=epoch, epochs=9, hard=number / 10)
        subscriber(event)


def candidates(folder: Path) -> list[int]:
    return [decision.candidate for decision in read_decisions(folder / DECISIONS_FILE)]


def test_every_decision_is_one_line_under_one_header(tmp_path: Path) -> None:
    record(tmp_path, 1, 2)
    record(tmp_path, 3, kind="promoted")
    with (tmp_path / DECISIONS_FILE).open() as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("time")[:2] for row in rows] == ["20"] * 3
    common = {"scheduler": "asha", "epoch": "3"}
    assert rows == [
        common | {"candidate": "1", "hard": "0.100000", "decision": "stopped"},
        common | {"candidate": "2", "hard": "0.200000", "decision": "stopped"},
        common | {"candidate": "3", "hard": "0.300000", "decision": "promoted"},
    ]


def test_a_decision_is_recorded_once_over_all_runs(tmp_path: Path) -> None:
    record(tmp_path, 1, 2, 1)
    record(tmp_path, 2, 1, 3)
    assert candidates(tmp_path) == [1, 2, 3]
    record(tmp_path, 1, epoch=1)  # another one
    assert candidates(tmp_path) == [1, 2, 3, 1]


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_cut_line_is_recorded_again_and_damaged_ones_are_skipped(
    tmp_path: Path, cut: int
) -> None:
    record(tmp_path, 1, 2)
    path = tmp_path / DECISIONS_FILE
    path.write_bytes(path.read_bytes()[:-cut])  # a line has 52 bytes
    assert candidates(tmp_path) == ([1] if cut <= 52 else [])
    record(tmp_path, 1, 2)
    assert candidates(tmp_path) == [1, 2]
    assert path.read_text().count("time,scheduler") == 1
    with path.open("a") as file:
        file.write("now,asha,x,1,,stopped\nnow,asha,4,1\nnow,asha,4,1,,danced\n,,,,,,,,\n")
    record(tmp_path, 3)
    assert candidates(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize(
    "content", [b"", b"time,sched", b"\0\xff\0\n\n", b"a,b\n1,2\n", b"\n" * 9000]
)
def test_something_else_in_its_place_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DECISIONS_FILE).write_bytes(content)
    assert candidates(tmp_path) == []
    record(tmp_path, 1)
    assert candidates(tmp_path) == [1]


def test_ten_thousand_decisions_cost_as_much_each_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decisions.os, "fsync", lambda _: None)
    written: list[int] = []
    append = decisions._append

    def counting(path: Path, line: bytes) -> None:
        before = path.stat().st_size if path.exists() else 0
        append(path, line)
        written.append(path.stat().st_size - before)

    monkeypatch.setattr(decisions, "_append", counting)
    record(tmp_path, *range(1, 20_001))  # more than the megabyte that configuration may have
    assert max(written[1:]) < 60
    assert candidates(tmp_path) == list(range(1, 20_001))
    record(tmp_path, *range(1, 20_002))
    assert len(written) == 20_001
