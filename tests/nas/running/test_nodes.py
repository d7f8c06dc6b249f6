"""Searches on several Ray nodes, which on one machine are several raylets."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_trials import make_data

from trials.result import load_result

pytestmark = pytest.mark.slow

STAGE1 = ("--flops", "0.5G", "--num-candidates", "6", "--epochs", "8", "--cpus-per-trial", "1")


@pytest.fixture
def nodes() -> Iterator[Any]:
    """A head without resources and two nodes of two cores and one logical GPU each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=2, num_gpus=1)
    yield cluster
    cluster.shutdown()


def start(tmp_path: Path, nodes: Any, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "fake_search", "stage1", *STAGE1, *options]
    command += ["--data", str(tmp_path / "data"), "--search-dir", str(tmp_path / "search")]
    support = str(Path(__file__).parents[2] / "support")
    environment = os.environ | {"PYTHONPATH": support}
    return subprocess.Popen(
        [*command, "--ray-address", nodes.address], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def parents(tmp_path: Path) -> dict[int, list[int]]:
    """The raylet of every attempt of every candidate."""
    files = (tmp_path / "search" / "stage1").glob("*/parents")
    return {int(file.parent.name): [int(pid) for pid in file.read_text().split()] for file in files}


def leaderboard(tmp_path: Path) -> pd.DataFrame:
    return pd.read_csv(tmp_path / "search" / "stage1" / "leaderboard.csv")


def wait_for(condition: Any, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def test_trials_spread_over_the_nodes(tmp_path: Path, nodes: Any) -> None:
    make_data(tmp_path / "data", epoch_s=0.3)
    driver = start(tmp_path, nodes, "--gpus-per-trial", "0.5")
    output, errors = driver.communicate(timeout=200)
    assert driver.returncode == 0, errors
    assert leaderboard(tmp_path)["state"].tolist() == ["finished"] * 6
    raylets = {pids[0] for pids in parents(tmp_path).values()}
    assert len(raylets) == 2
    assert "hard" in output


def test_trials_of_a_dead_node_continue_elsewhere(tmp_path: Path, nodes: Any) -> None:
    make_data(tmp_path / "data", epoch_s=0.5)
    driver = start(tmp_path, nodes, "--gpus-per-trial", "0.5", "--retries", "2")
    metrics = tmp_path / "search" / "stage1"

    def epochs(number: int) -> int:
        file = metrics / f"{number:04d}" / "metrics.csv"
        return len(file.read_text().splitlines()) - 1 if file.exists() else 0

    wait_for(lambda: sum(epochs(n) >= 2 for n in range(1, 5)) == 4)
    victim = nodes.list_all_nodes()[-1]
    raylet = victim.all_processes["raylet"][0].process.pid
    moved = [number for number, pids in parents(tmp_path).items() if pids[-1] == raylet]
    nodes.remove_node(victim, allow_graceful=False)
    _, errors = driver.communicate(timeout=250)
    assert driver.returncode == 0, errors
    assert leaderboard(tmp_path)["state"].tolist() == ["finished"] * 6
    assert moved
    for number in moved:
        attempts = parents(tmp_path)[number]
        assert len(attempts) == 2
        assert attempts[1] != raylet
        assert load_result(metrics / f"{number:04d}") is not None


def test_more_gpus_than_any_node_has_are_refused(tmp_path: Path, nodes: Any) -> None:
    make_data(tmp_path / "data")
    driver = start(tmp_path, nodes, "--gpus-per-trial", "3")
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "--gpus-per-trial must not exceed" in errors.splitlines()[-1]


def test_gpus_of_two_nodes_do_not_make_one_trial(tmp_path: Path, nodes: Any) -> None:
    make_data(tmp_path / "data")
    driver = start(tmp_path, nodes, "--gpus-per-trial", "2")
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
        f"    shutil.rmtree({str(data / 'val' / 'gt')!r})\n"
        "    return look(*given)\n"
        "preflight._answers = without\n"
        "main(sys.argv[1:])\n"
    )
    support = str(Path(__file__).parents[2] / "support")
    command = [sys.executable, str(script), "stage1", *STAGE1, "--ray-address", nodes.address]
    command += ["--data", str(data), "--search-dir", str(tmp_path / "search")]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": support}, capture_output=True, text=True,
        timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "cannot run trials (2 of 2 nodes are not ready)" in line
    assert f"it does not see {data / 'val' / 'gt'}" in line
    assert not parents(tmp_path)
