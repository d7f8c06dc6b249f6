"""Processes are killed in mid-search; nothing finished is lost and the table is the same."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_trials import hard_ap, make_architecture, make_data

from nas.search_dir import SearchDir

pytestmark = pytest.mark.slow

NUM = 6
EPOCHS = 6
PATIENCE_S = 120.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data", epoch_s=0.3)


@pytest.fixture
def directory(tmp_path: Path) -> SearchDir:
    return SearchDir(tmp_path / "search")


Start = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, data: Path) -> Iterator[Start]:
    """Starts a search in a process group of its own, as a shell would."""
    started: list[subprocess.Popen[str]] = []
    command = [sys.executable, "-m", "fake_search", "stage1", "--flops", "1G"]
    command += ["--data", str(data), "--num-candidates", str(NUM), "--epochs", str(EPOCHS)]
    command += ["--image-size", "64", "--search-dir", str(tmp_path / "search")]

    def run() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def is_in_mid_search(directory: SearchDir) -> bool:
    """One trial has finished and another is under way."""
    finished = set(directory.outcomes(1))
    begun = {n for n in directory.numbers(1) if 0 < directory.epochs_done(1, n) < EPOCHS}
    return bool(finished) and bool(begun - finished)


def attempts(directory: SearchDir) -> dict[int, int]:
    files = {n: directory.trial_folder(1, n) / "attempts" for n in directory.numbers(1)}
    return {number: int(file.read_text()) for number, file in files.items() if file.exists()}


def assert_undisturbed(directory: SearchDir) -> None:
    """The leaderboard is that of a search that nothing happened to."""
    aps = {number: hard_ap(make_architecture(number)) for number in range(1, NUM + 1)}
    order = sorted(aps, key=lambda number: -aps[number])
    with directory.leaderboard_file(1).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["candidate"]) for row in rows] == order
    assert [int(row["rank"]) for row in rows] == list(range(1, NUM + 1))
    assert [float(row["hard"]) for row in rows] == [aps[number] for number in order]
    assert {(row["state"], row["epochs"]) for row in rows} == {("finished", str(EPOCHS))}


def finish(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    return errors


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path("/proc", str(pid), "status").read_text()
    except OSError:
        return False


def test_a_killed_driver_is_continued(start: Start, directory: SearchDir) -> None:
    driver = start()
    wait_until(lambda: is_in_mid_search(directory), driver)
    finished = set(directory.outcomes(1))
    driver.kill()
    driver.wait()
    finish(start())  # at once: workers of the killed driver may still be alive
    assert_undisturbed(directory)
    counted = attempts(directory)
    assert all(counted[number] == 1 for number in finished)
    assert any(count > 1 for count in counted.values())


def test_a_killed_driver_takes_its_trials_along(start: Start, directory: SearchDir) -> None:
    driver = start()
    wait_until(lambda: is_in_mid_search(directory), driver)
    files = [directory.trial_folder(1, n) / "pid" for n in attempts(directory)]
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 30.0
    while any(is_alive(int(file.read_text())) for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_killed_trial_is_continued_by_the_driver(start: Start, directory: SearchDir) -> None:
    driver = start()
    wait_until(lambda: is_in_mid_search(directory), driver)
    running = set(attempts(directory)) - set(directory.outcomes(1))
    victim = min(running)
    os.kill(int((directory.trial_folder(1, victim) / "pid").read_text()), signal.SIGKILL)
    errors = finish(driver)
    assert_undisturbed(directory)
    assert attempts(directory)[victim] == 2
    assert f"candidate {victim}: the trial's process died" in errors


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_search_continues(
    start: Start, directory: SearchDir, number: signal.Signals, code: int
) -> None:
    driver = start()
    wait_until(lambda: is_in_mid_search(directory), driver)
    finished = set(directory.outcomes(1))
    os.killpg(driver.pid, number)  # as a terminal does with Ctrl-C
    output, errors = driver.communicate(timeout=30)
    assert (driver.returncode, output) == (code, "")
    assert "the same command continues the search" in errors
    assert "Traceback" not in errors
    assert directory.leaderboard_file(1).exists()
    finish(start())
    assert_undisturbed(directory)
    counted = attempts(directory)
    assert all(counted[candidate] == 1 for candidate in finished)
