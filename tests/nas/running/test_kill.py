"""Killed processes: no finished work is lost, and the leaderboard is the same."""

import csv
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import drivers
import pytest
from drivers import PATIENCE_S, Driver, Start, finish, wait_until
from fake_trials import make_data, set_faults

from nas.search.directory import SearchDir

pytestmark = pytest.mark.slow

NUM = 6
EPOCHS = 6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data", epoch_s=0.3)


@pytest.fixture
def directory(tmp_path: Path) -> SearchDir:
    return SearchDir(tmp_path / "search")


@pytest.fixture
def start(tmp_path: Path, data: Path) -> Iterator[Start]:
    common = ["stage1", "--flops", "1G", "--data", str(data), "--num-candidates", str(NUM)]
    common += ["--epochs", str(EPOCHS), "--image-size", "64"]
    with drivers.drivers(*common, "--search-dir", str(tmp_path / "search")) as start:
        yield start


def is_in_mid_search(directory: SearchDir) -> bool:
    """One trial has finished and another is under way."""
    finished = set(directory.outcomes(1))
    begun = {n for n in directory.numbers(1) if 0 < directory.epochs_done(1, n) < EPOCHS}
    return bool(finished) and bool(begun - finished)


def attempts(directory: SearchDir) -> dict[int, int]:
    files = {n: directory.trial_folder(1, n) / "attempts" for n in directory.numbers(1)}
    return {number: int(file.read_text()) for number, file in files.items() if file.exists()}


def assert_undisturbed(directory: SearchDir, epochs: int = EPOCHS) -> None:
    drivers.assert_undisturbed(directory.leaderboard_file(1).read_text(), NUM, epochs)


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


def test_a_killed_driver_ends_its_trials(start: Start, directory: SearchDir) -> None:
    driver = start()
    wait_until(lambda: is_in_mid_search(directory), driver)
    files = [directory.trial_folder(1, n) / "pid" for n in attempts(directory)]
    driver.kill()
    driver.wait()
    wait_until(lambda: not any(is_alive(int(file.read_text())) for file in files), patience_s=30.0)


def test_a_killed_trial_is_continued_by_the_driver(start: Start, directory: SearchDir) -> None:
    driver = start()
    wait_until(lambda: is_in_mid_search(directory), driver)
    running = set(attempts(directory)) - set(directory.outcomes(1))
    victim = min(running)
    os.kill(int((directory.trial_folder(1, victim) / "pid").read_text()), signal.SIGKILL)
    _, errors = finish(driver)
    assert_undisturbed(directory)
    assert attempts(directory)[victim] == 2
    assert f"candidate {victim}: the trial's process died" in errors


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGHUP, 75)]
)
def test_a_stopped_search_continues(
    start: Start, directory: SearchDir, data: Path, number: signal.Signals, code: int
) -> None:
    set_faults(data, epoch_s=3.0)  # so long that hardly any trial is just between two epochs
    driver = start()
    wait_until(lambda: is_in_mid_search(directory), driver)
    set_faults(data, epoch_s=0.1)
    finished = set(directory.outcomes(1))
    time.sleep(0.6)  # from the epoch that has just ended into the next
    os.killpg(driver.pid, number)  # as terminals do with Ctrl-C, and service managers with both
    output, errors = driver.communicate(timeout=30)
    assert (driver.returncode, output) == (code, "")
    assert "the same command continues the search" in errors
    assert "Traceback" not in errors
    assert directory.leaderboard_file(1).exists()
    on_disk = {n for n in attempts(directory) if is_interrupted(directory, n)}
    assert on_disk
    assert not on_disk & set(directory.outcomes(1))
    finish(start())
    assert_undisturbed(directory)
    counted = attempts(directory)
    assert all(counted[candidate] == 1 for candidate in finished)


def is_interrupted(directory: SearchDir, number: int) -> bool:
    """Return whether the trial has received the request to stop."""
    return (directory.trial_folder(1, number) / "interrupted").exists()


def test_sigterm_before_the_first_trial_stops_the_search(
    start: Start, directory: SearchDir
) -> None:
    driver = start()
    wait_until(lambda: directory.root.exists(), driver)
    driver.terminate()
    output, errors = driver.communicate(timeout=60)
    assert (driver.returncode, output) == (75, "")
    assert "the same command continues the search" in errors
    assert "Traceback" not in errors
    finish(start())
    assert_undisturbed(directory)


def test_a_driver_whose_node_dies_reports_it_and_is_continued(
    start: Start, directory: SearchDir
) -> None:
    driver = start()
    wait_until(lambda: is_in_mid_search(directory), driver)
    finished = set(directory.outcomes(1))
    (raylet,) = processes_below(driver.pid, "/raylet/raylet")
    os.kill(raylet, signal.SIGKILL)
    _, errors = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 1
    assert errors.splitlines()[-1].startswith(
        "error: Ray's process raylet on this machine has died"
    )
    finish(start())
    assert_undisturbed(directory)
    assert all(attempts(directory)[number] == 1 for number in finished)


def ended(directory: SearchDir) -> dict[int, str]:
    """Return the result files of the candidates that have ended."""
    files = {n: directory.result_file(1, n) for n in directory.numbers(1)}
    return {number: file.read_text() for number, file in files.items() if file.exists()}


def decisions(directory: SearchDir) -> list[tuple[str, ...]]:
    with (directory.stage_folder(1) / "decisions.csv").open() as file:
        rows = csv.DictReader(file)
        return [(row["candidate"], row["epoch"], row["decision"]) for row in rows]


# By candidate; with 9 epochs, shared and complete rungs are 1 and 3.
HARDS = {1: 0.9, 2: 0.8, 3: 0.7, 4: 0.4, 5: 0.6, 6: 0.5}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scheduler": "asha", "rungs": "complete"}, {2, 3, 4, 5, 6}),
        ({"scheduler": "asha"}, None),  # depends on which trial is first
    ],
    ids=["complete", "asha"],
)
def test_no_decision_is_lost_with_a_killed_driver(
    start: Start,
    directory: SearchDir,
    data: Path,
    options: dict[str, str],
    expected: set[int] | None,
) -> None:
    set_faults(data, epoch_s=0.3, curves={str(n): [hard] for n, hard in HARDS.items()})
    flags = [text for name, value in options.items() for text in (f"--{name}", value)]
    flags += ["--epochs", "9"]
    driver = start(*flags)
    wait_until(lambda: len(ended(directory)) >= 2, driver)
    driver.kill()
    driver.wait()
    before, decided = ended(directory), decisions(directory)
    finish(start(*flags))
    assert ended(directory).items() >= before.items()
    assert set(decisions(directory)) >= set(decided)
    assert len(decisions(directory)) == len(set(decisions(directory)))
    found = {number: outcome.state for number, outcome in directory.outcomes(1).items()}
    assert set(found) == set(HARDS)
    stopped = {number for number, state in found.items() if state == "stopped"}
    assert stopped == expected if expected is not None else stopped >= {4}
    assert 1 not in stopped


KILLS = 100
MANY_EPOCHS = 100


def processes_below(pid: int, kind: str) -> list[int]:
    """Return the descendants of a driver whose program's name contains `kind`."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
            names[int(folder.name)] = (folder / "cmdline").read_text().partition("\0")[0]
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
    below = {pid}
    for _ in range(4):  # driver, raylet, worker
        below |= {child for child, parent in parents.items() if parent in below}
    return sorted(child for child in below - {pid} if kind in names.get(child, ""))


def wait_while(condition: Callable[[], bool], driver: Driver) -> None:
    """Wait until the condition is false or the driver ends."""
    wait_until(lambda: not condition() or driver.poll() is not None)


def epochs_done(directory: SearchDir) -> int:
    return sum(directory.epochs_done(1, number) for number in directory.numbers(1))


def kill_something(driver: Driver, rng: random.Random) -> str:
    """Kill the driver, its node (Ray's raylet) or one of its workers, and return which."""
    kind = rng.choices(["worker", "driver", "node"], [85, 10, 5])[0]
    if kind == "driver":
        driver.kill()
        driver.communicate()
        return kind
    name = "ray::" if kind == "worker" else "/raylet/raylet"
    wait_while(lambda: not processes_below(driver.pid, name), driver)
    try:
        os.kill(rng.choice(processes_below(driver.pid, name)), signal.SIGKILL)
    except (IndexError, ProcessLookupError):
        return "none"
    return kind


def assert_ended_with_an_error(driver: Driver) -> None:
    """Assert one exit code for a driver whose node was killed or whose Ray did not start."""
    _, errors = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 1, errors
    assert "Traceback" not in errors


def test_a_hundred_kills_at_random_moments_change_nothing(
    start: Start, directory: SearchDir, data: Path
) -> None:
    set_faults(data, epoch_s=0.5)
    flags = ("--epochs", str(MANY_EPOCHS), "--retries", "1000")
    rng, killed = random.Random(0), Counter[str]()
    first: dict[int, tuple[str, int]] = {}  # results when first seen, and attempts until then
    driver = start(*flags)
    while killed.total() - killed["none"] < KILLS:
        if driver.poll() is not None:
            if driver.returncode != -signal.SIGKILL:
                assert_ended_with_an_error(driver)
            driver = start(*flags)
        if rng.random() < 0.5:  # so that not all kills hit processes that are just starting
            before = epochs_done(directory)
            wait_while(lambda done=before: epochs_done(directory) == done, driver)
        time.sleep(rng.uniform(0.1, 2.5))
        counted = attempts(directory)
        first = {n: (text, counted[n]) for n, text in ended(directory).items()} | first
        assert len(first) < NUM, f"the search is over after {killed}; give it more epochs"
        killed[kill_something(driver, rng)] += 1
    set_faults(data, epoch_s=0.01)
    driver.kill()
    driver.communicate()
    finish(start(*flags))
    print(f"killed: {dict(killed)}; attempts: {attempts(directory)}")  # noqa: T201  (pytest -rP)
    assert_undisturbed(directory, MANY_EPOCHS)
    counted = attempts(directory)
    assert first == {n: (ended(directory)[n], counted[n]) for n in first}
    assert min(killed["driver"], killed["node"], killed["worker"]) >= 2, killed
