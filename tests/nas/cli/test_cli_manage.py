"""list, logs, stop, resume, clean."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import CommandLine, stage1
from fake_trials import make_data

from nas.monitoring.housekeeping import follow
from nas.search.directory import SearchDir

pytestmark = pytest.mark.usefixtures("without_training")


@pytest.fixture
def search(without_training: None, tmp_path: Path, cli: CommandLine) -> SearchDir:
    """A finished stage 1 of three candidates, the third of which failed."""
    data = make_data(tmp_path / "data", **{"raise": {"3": 1}})
    cli.run(stage1(data))
    return SearchDir(Path("runs/scrfdgen0.5g"))


@pytest.mark.usefixtures("search")
def test_list_counts_the_trials_of_every_search(cli: CommandLine) -> None:
    broken = Path("runs/broken")
    broken.mkdir()
    (broken / "search.yaml").write_text("format: 1\nstage1: 7")
    Path("runs/.trash").mkdir()
    (Path("runs/.trash") / "search.yaml").touch()
    first, second = cli.json(["list"])
    assert first["search_dir"] == "runs/broken"
    assert "stage1 lacks its request" in first["fault"]
    assert (second["stage1"]["finished"], second["stage1"]["failed"]) == (2, 1)
    lines = cli.run(["list"]).out.splitlines()
    assert any(line.split()[:5] == ["scrfdgen0.5g", "1", "done", "2", "1"] for line in lines)
    assert any("unreadable" in line for line in lines)


def test_list_of_a_folder_that_is_not_there(cli: CommandLine) -> None:
    assert "nowhere: is not a folder" in cli.run(["list", "nowhere"], 1).err


def test_logs_print_the_trials_log(search: SearchDir, cli: CommandLine) -> None:
    (search.trial_folder(1, 2) / "trial.log").write_text("epoch 1/2: loss 1\nfinished\n")
    assert cli.run(["logs", "2", "--follow"]).out == "epoch 1/2: loss 1\nfinished\n"


def test_a_log_that_was_shortened_is_followed_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "trial.log"
    path.write_text("one\ntwo\n")
    over = iter([False, False, True])
    lines = follow(path, lambda: next(over))
    assert [next(lines), next(lines)] == ["one\n", "two\n"]
    path.write_text("three\n")
    assert list(lines) == ["three\n"]


@pytest.mark.parametrize(
    ("number", "message"), [("9", "candidates 1 to 3, got 9"), ("1", "started")]
)
@pytest.mark.usefixtures("search")
def test_logs_of_what_is_not_there(number: str, message: str, cli: CommandLine) -> None:
    assert message in cli.run(["logs", number], 1).err


def test_clean_removes_training_states_and_nothing_else(
    search: SearchDir, cli: CommandLine
) -> None:
    folder = search.trial_folder(1, 1)
    for name in ("last.pt", "previous.pt", "best.pt"):
        (folder / name).write_bytes(b"x" * 1000)
    unfinished = search.trial_folder(1, 2)
    search.result_file(1, 2).unlink()
    (unfinished / "last.pt").write_bytes(b"x")
    before = {path for path in search.root.rglob("*") if path.is_file()}
    told = cli.json(["clean", "--dry-run"])
    assert (told["files"], told["bytes"], told["removed"]) == (2, 2000, False)
    cli.run(["clean"])
    after = {path for path in search.root.rglob("*") if path.is_file()}
    assert before - after == {folder / "last.pt", folder / "previous.pt"}


def test_resume_runs_what_has_no_result_with_the_options_of_before(
    search: SearchDir, cli: CommandLine
) -> None:
    search.result_file(1, 2).unlink()
    rows = cli.json(["resume"])["stage1"]
    assert [row["state"] for row in rows] == ["finished", "finished", "failed"]
    assert search.requests()[1].epochs == 2


@pytest.mark.usefixtures("search")
def test_resume_of_a_stage_that_has_not_begun(cli: CommandLine) -> None:
    assert "stage 2 has not begun" in cli.run(["resume", "--stage", "2"], 1).err


@pytest.mark.usefixtures("search")
def test_stop_where_nobody_works(cli: CommandLine) -> None:
    assert "not running" in cli.run(["stop"], 1).err


HOLD = """
import sys, time
from pathlib import Path
from nas.search.directory import SearchDir
with SearchDir(Path(sys.argv[1])).held(1):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_stop_ends_the_driver_with_sigterm(
    search: SearchDir, cli: CommandLine, flags: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", HOLD, str(search.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout
        assert driver.stdout.readline() == "held\n"
        started = time.monotonic()
        out = cli.run(["stop", "--wait", "30", *flags]).out
        assert driver.wait(timeout=10) == -signal.SIGTERM
    assert time.monotonic() - started < 20
    if flags:
        assert json.loads(out) == {"search_dir": str(search), "stopped": driver.pid}
    else:
        assert f"process {driver.pid} has stopped" in out


def test_a_driver_on_another_machine_is_not_signalled(
    search: SearchDir, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a process of this machine was signalled")

    with search.held(1):
        monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        monkeypatch.setattr(os, "kill", refuse)
        assert "run this command there" in cli.run(["stop"], 1).err
