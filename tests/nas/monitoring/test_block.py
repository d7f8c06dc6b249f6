"""The block of a stage at several sizes of the terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from nas.monitoring.block import Block, fitted
from nas.monitoring.status import StageStatus, TrialStatus

NOW = 10_000.0


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)


def make_trial(number: object, **changes: Any) -> TrialStatus:
    values = {"epoch": 3, "loss": 1.25, "hard": 0.5, "images_per_second": 112.4}
    values |= {"is_running": True, "reported": NOW - 34, "seconds_left": 154.0, **changes}
    return TrialStatus(name=str(number), epochs=80, **values)


def make_status(running: int = 0, **changes: Any) -> StageStatus:
    trials = tuple(make_trial(number) for number in range(1, running + 1))
    values = {"stage": 1, "candidates": 200, "finished": 12, "stopped": 3, "failed": 1}
    values |= {"best_hard": 0.70123, "best_candidate": 17, "epochs_done": 4000}
    values |= {"epochs_total": 16_000, "seconds_left": 7260.0, "active": True, "updated": NOW - 60}
    values |= {"running": running, "waiting": 184 - running, "trials": trials, **changes}
    return StageStatus(**values)


def lines_of(status: StageStatus, width: int = 80, height: int = 24, **options: Any) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, color_system=None, width=width)
    console.size = console.size.__class__(width, height)
    console.print(Block(status=status, **options), crop=False)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def test_the_block_says_at_a_glance_how_the_stage_is_going() -> None:
    headline, counts, headings, first, *_ = lines_of(make_status(2))
    assert headline.startswith("stage 1 ")
    assert headline.endswith("25 %, best hard AP 0.7012 (candidate 17), 2.0 h left")
    assert counts == "12/200 finished, 2 running, 1 failed, 3 stopped early, 182 waiting"
    assert headings.split("  ")[0] == "candidate"
    assert first.split() == ["1", "3/80", "1.250", "0.5000", "112", "2", "min", "34", "s", "ago"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("running", [0, 1, 64, 128])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int, running: int) -> None:
    trials = [make_trial(n) for n in range(1, running)] + [make_trial("7, seed 1")] * bool(running)
    found = lines_of(make_status(running, trials=tuple(trials)), width, is_live=True)
    assert max(map(len, found)) <= width
    assert len(found) < 24


def make_rows(running: int, width: int, height: int) -> list[str]:
    return lines_of(make_status(running), width, height, is_live=True)[3:]


def test_trials_beyond_the_height_are_counted() -> None:
    rows = make_rows(64, 80, 24)
    assert len(rows) == 20
    assert rows[-1] == "and 45 more"
    assert len(make_rows(19, 80, 24)) == 19


def test_a_wide_terminal_shows_trials_side_by_side() -> None:
    rows = make_rows(64, 200, 50)
    assert len(rows) == 32
    assert rows[0].split()[0] == "1"
    assert " 33 " in rows[0]
    assert len(make_rows(10, 200, 50)) == 10


def test_a_status_that_is_printed_once_shows_every_trial() -> None:
    assert len(lines_of(make_status(64))) == 3 + 64


def test_a_narrow_terminal_loses_the_less_important_columns_first() -> None:
    widths = (70, 69, 59, 50, 42)
    headings = [" ".join(lines_of(make_status(1), width)[2].split()) for width in widths]
    assert headings == [
        "candidate epoch loss hard AP images/s left last report",
        "candidate epoch loss hard AP left last report",
        "candidate epoch hard AP left last report",
        "candidate epoch hard AP left",
        "candidate epoch hard AP left",
    ]


def test_before_the_first_trial_the_block_says_what_it_waits_for() -> None:
    lines = lines_of(make_status(0, finished=0, failed=0, stopped=0, waiting=200))
    assert lines[1] == "starting Ray and the first trials, 60 s, 0/200 finished, 200 waiting"


def test_a_trial_without_an_epoch_says_since_when_it_trains() -> None:
    new = make_trial(1, loss=None, hard=None, images_per_second=None, seconds_left=None, epoch=0)
    assert lines_of(make_status(1, trials=(new,)))[3].split() == ["1", "0/80", "34", "s", "ago"]


def test_an_interrupted_stage_says_what_it_holds_and_how_it_continues() -> None:
    stopped = make_trial(4, is_running=False, reported=None, seconds_left=None)
    command = f"scrfd-nas resume --search-dir {'long/' * 20}"
    status = make_status(
        0, active=False, seconds_left=None, trials=(stopped,), begun=1, epochs_held=3
    )
    lines = lines_of(status, resume=command)
    assert lines[0].startswith("stage 1 stopped ")
    assert lines[2:4] == [
        "interrupted with 12 of 200 finished, 1 begun with 3 epochs; continue with",
        f"  {command}",  # in one line, to be copied
    ]
    assert lines[5].split() == ["4", "3/80", "1.250", "0.5000", "112"]


def test_a_stage_that_is_done_is_two_lines() -> None:
    status = make_status(0, active=False, waiting=0, finished=196, epochs_done=16_000)
    headline, counts = lines_of(status)
    assert headline.startswith("stage 1 done ")
    assert headline.endswith("100 %, best hard AP 0.7012 (candidate 17)")
    assert counts == "196/200 finished, 1 failed, 3 stopped early"


def test_an_estimate_runs_down_to_zero_and_no_further() -> None:
    (row,) = lines_of(make_status(1, trials=(make_trial(1, seconds_left=10.0),)))[3:]
    assert "0 s" in row
    late = make_status(1, seconds_left=5.0)
    assert lines_of(late)[0].endswith("0 s left")


def test_parts_that_do_not_fit_are_left_out_from_the_end() -> None:
    assert fitted(["one", "two", "three"], 8) == "one, two"
    assert fitted(["one", "two", "three"], 2) == "one"


def test_names_cannot_command_the_terminal() -> None:
    status = make_status(1, trials=(make_trial("\x1b[2J[red]1"),), active=False)
    lines = lines_of(status, 120, resume="scrfd-nas resume\x1b[2J")
    assert "\x1b" not in "".join(lines)
    assert lines[3] == r"  scrfd-nas resume\x1b[2J"
    assert r"\x1b[2J[red]1" in lines[5]
