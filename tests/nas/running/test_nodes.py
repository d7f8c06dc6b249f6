"""Searches on several Ray nodes, which on one machine are several raylets."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from drivers import Driver, Start, drivers, finish, remove_node, two_nodes, wait_until
from fake_trials import make_data

from trials.result import load_result

pytestmark = pytest.mark.slow

STAGE1 = ("--flops", "0.5G", "--num-candidates", "6", "--epochs", "8", "--cpus-per-trial", "1")


@pytest.fixture
def nodes() -> Iterator[Any]:
    with two_nodes() as nodes:
        yield nodes


def stage1(tmp_path: Path, nodes: Any) -> list[str]:
    folders = ["--data", str(tmp_path / "data"), "--search-dir", str(tmp_path / "search")]
    return ["stage1", *STAGE1, *folders, "--ray-address", nodes.address]


@pytest.fixture
def start(tmp_path: Path, nodes: Any) -> Iterator[Start]:
    """Start a search whose trials need this many GPUs."""
    with drivers(*stage1(tmp_path, nodes)) as start:
        yield partial(start, "--gpus-per-trial")


def parents(tmp_path: Path) -> dict[int, list[int]]:
    """Return the raylet of every attempt of every candidate."""
    files = (tmp_path / "search" / "stage1").glob("*/parents")
    return {int(file.parent.name): [int(pid) for pid in file.read_text().split()] for file in files}


def finish_all(driver: Driver, tmp_path: Path) -> None:
    finish(driver)
    table = pd.read_csv(tmp_path / "search" / "stage1" / "leaderboard.csv")
    assert table["state"].tolist() == ["finished"] * 6


def test_trials_spread_over_the_nodes(tmp_path: Path, start: Start) -> None:
    make_data(tmp_path / "data", epoch_s=0.3)
    finish_all(start("0.5"), tmp_path)
    assert len({pids[0] for pids in parents(tmp_path).values()}) == 2


def test_trials_of_a_dead_node_continue_elsewhere(tmp_path: Path, start: Start, nodes: Any) -> None:
    make_data(tmp_path / "data", epoch_s=0.5)
    driver = start("0.5", "--retries", "2")
    trials = tmp_path / "search" / "stage1"

    def epochs(number: int) -> int:
        file = trials / f"{number:04d}" / "metrics.csv"
        return len(file.read_text().splitlines()) - 1 if file.exists() else 0

    wait_until(lambda: sum(epochs(n) >= 2 for n in range(1, 5)) == 4, driver)
    before = parents(tmp_path)
    raylet = remove_node(nodes)
    moved = [number for number, pids in before.items() if pids[-1] == raylet]
    finish_all(driver, tmp_path)
    assert moved
    for number in moved:
        attempts = parents(tmp_path)[number]
        assert len(attempts) == 2
        assert attempts[1] != raylet
        assert load_result(trials / f"{number:04d}") is not None


def test_gpus_of_two_nodes_do_not_make_one_trial(tmp_path: Path, start: Start) -> None:
    make_data(tmp_path / "data")
    driver = start("2")
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "must not exceed the 1 of the largest of 3 nodes" in errors.splitlines()[-1]


def test_a_node_without_the_data_is_named_before_any_trial_starts(
    tmp_path: Path, nodes: Any
) -> None:
    """The nodes share one file system here, so that the data go away while they are asked."""
    data = make_data(tmp_path / "data")
    script = tmp_path / "driver.py"
    script.write_text(
        "import shutil, sys\n"
        "from nas.running import preflight\n"
        "from nas.cli.main import main\n"
        "look = preflight._answers\n"
        "def without(*given):\n"
        f"    shutil.rmtree({str(data / 'val' / 'images')!r})\n"
        "    return look(*given)\n"
        "preflight._answers = without\n"
        "main(sys.argv[1:])\n"
    )
    command = [sys.executable, str(script), *stage1(tmp_path, nodes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "cannot run trials (2 of 2 nodes are not ready)" in line
    assert f"it does not see {data / 'val' / 'images'}" in line
    assert not parents(tmp_path)
