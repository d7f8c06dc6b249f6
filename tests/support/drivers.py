"""Searches of fake trials in processes of their own, on Ray."""

import csv
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fake_trials import hard_ap, make_architecture

PATIENCE_S = 300.0  # for machines under load
Driver = subprocess.Popen[str]
Start = Callable[..., Driver]


@contextmanager
def drivers(*common: str) -> Iterator[Start]:
    """Yield a function that starts `fake_search` with arguments after `common`.

    Each process leads a group of its own, as in a shell; those still running are killed at
    the end. Keyword arguments of the function are environment variables.
    """
    started: list[Driver] = []

    def start(*arguments: str, **environment: str) -> Driver:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "fake_search", *common, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | environment,
                start_new_session=True,
            )
        )
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate()


def finish(process: Driver) -> tuple[str, str]:
    """Wait until a process succeeds, and return its standard output and error."""
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    return output, errors


def wait_until(
    condition: Callable[[], bool],
    *processes: subprocess.Popen[Any],
    patience_s: float = PATIENCE_S,
) -> None:
    """Wait for a condition while these processes run."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Start a head without resources and two nodes of two cores and one logical GPU each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=2, num_gpus=1)
    yield cluster
    cluster.shutdown()


def remove_node(nodes: Any) -> int:
    """Kill one of `two_nodes`, and return the process ID that its raylet had."""
    victim = nodes.list_all_nodes()[-1]
    raylet: int = victim.all_processes["raylet"][0].process.pid
    nodes.remove_node(victim, allow_graceful=False)
    return raylet


def assert_undisturbed(leaderboard: str, num: int, epochs: int) -> None:
    """Assert that a leaderboard's text is that of a search without any interruption."""
    rows: list[Mapping[str, str]] = list(csv.DictReader(leaderboard.splitlines()))
    aps = {number: hard_ap(make_architecture(number)) for number in range(1, num + 1)}
    order = sorted(aps, key=lambda number: -aps[number])
    assert [int(row["candidate"]) for row in rows] == order
    assert [int(row["rank"]) for row in rows] == list(range(1, num + 1))
    assert [float(row["hard"]) for row in rows] == [aps[number] for number in order]
    assert {(row["state"], row["epochs"]) for row in rows} == {("finished", str(epochs))}
