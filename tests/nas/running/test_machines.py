"""Searches in terminals that close, with few open files, beside another Ray."""

import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import drivers
import pytest
from drivers import PATIENCE_S, Start, finish, free_port, wait_until
from fake_trials import make_data, set_faults

from nas.search.directory import SearchDir

pytestmark = pytest.mark.slow

NUM = 2
EPOCHS = 2


@pytest.fixture
def directory(tmp_path: Path) -> SearchDir:
    return SearchDir(tmp_path / "search")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data")


@pytest.fixture
def arguments(data: Path, directory: SearchDir) -> list[str]:
    words = ["stage1", "--flops", "1G", "--data", str(data), "--num-candidates", str(NUM)]
    words += ["--epochs", str(EPOCHS), "--image-size", "64"]
    return [*words, "--search-dir", str(directory.root)]


@pytest.fixture
def start(arguments: list[str]) -> Iterator[Start]:
    with drivers.drivers(*arguments) as start:
        yield start


def has_begun(directory: SearchDir) -> bool:
    return any((directory.trial_folder(1, n) / "pid").exists() for n in directory.numbers(1))


def raylets(directory: SearchDir) -> set[int]:
    """Return the process numbers of the nodes that ran the trials."""
    files = [directory.trial_folder(1, number) / "parents" for number in directory.numbers(1)]
    return {int(line) for file in files for line in file.read_text().split()}


def assert_undisturbed(directory: SearchDir) -> None:
    drivers.assert_undisturbed(directory.leaderboard_file(1).read_text(), NUM, EPOCHS)


@pytest.mark.parametrize("gap_s", [0.0, 1.0])
def test_a_second_interrupt_ends_a_search_that_continues(
    start: Start, directory: SearchDir, data: Path, gap_s: float
) -> None:
    set_faults(data, epoch_s=300.0)
    driver = start()
    wait_until(lambda: has_begun(directory), driver)
    for _ in range(2):
        os.killpg(driver.pid, signal.SIGINT)
        time.sleep(gap_s)
    _, errors = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 130
    assert errors.endswith("interrupted\n")
    assert "Traceback" not in errors
    set_faults(data)
    finish(start())
    assert_undisturbed(directory)


def test_a_closed_terminal_stops_a_search_that_continues(
    start: Start, directory: SearchDir, data: Path, arguments: list[str]
) -> None:
    set_faults(data, epoch_s=300.0)
    ours, theirs = os.openpty()
    command = ["setsid", "--ctty", sys.executable, "-m", "fake_search", *arguments]
    driver = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)

    def reads_until_begun() -> bool:
        if select.select([ours], [], [], 0)[0]:  # otherwise the driver would wait for us
            os.read(ours, 1 << 16)
        return has_begun(directory)

    wait_until(reads_until_begun, driver)
    os.close(ours)
    assert driver.wait(PATIENCE_S) == 75
    stopped = [directory.trial_folder(1, n) / "interrupted" for n in directory.numbers(1)]
    assert any(file.exists() for file in stopped)
    set_faults(data)
    finish(start())
    assert_undisturbed(directory)


def test_a_search_needs_few_open_files(start: Start, directory: SearchDir) -> None:
    driver = start()
    resource.prlimit(driver.pid, resource.RLIMIT_NOFILE, (256, 256))
    finish(driver)
    assert_undisturbed(directory)


@pytest.fixture
def other() -> Iterator[tuple[str, int]]:
    """Address of a Ray that someone else has started, and the process of its node."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        port = free_port()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        command += ["--port", str(port), "--num-cpus", "2", "--include-dashboard", "false"]
        process = subprocess.Popen(
            [*command, "--temp-dir", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: bool(nodes_in(folder)), process)
            yield f"127.0.0.1:{port}", nodes_in(folder)[0]
        finally:
            process.terminate()
            process.wait()


def nodes_in(folder: str) -> list[int]:
    """Return the raylets of the Ray with this temporary folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].endswith("/raylet/raylet") and any(folder in word for word in words):
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("joins", [False, True])
def test_a_ray_of_someone_else_is_used_only_if_it_is_named(
    start: Start, directory: SearchDir, other: tuple[str, int], joins: bool
) -> None:
    address, node = other
    finish(start(*(["--ray-address", "auto"] if joins else []), RAY_ADDRESS=address))
    assert_undisturbed(directory)
    assert (node in raylets(directory)) == joins
    os.kill(node, 0)  # it still runs
