"""Searches at s3:// on a local S3 server (moto)."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers import (
    PATIENCE_S,
    Driver,
    Start,
    drivers,
    finish,
    free_port,
    remove_node,
    two_nodes,
    wait_until,
)
from drivers import assert_undisturbed as assert_undisturbed_table
from fake_trials import make_data, set_faults

from nas.storage.object_store import Store

pytestmark = pytest.mark.slow

NUM, EPOCHS = 4, 6
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Start an S3 server with a bucket `bucket`, and return the options of its URLs."""
    pytest.importorskip("moto.server", reason="the S3 server of moto is not installed")
    port = free_port()

    def is_listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(is_listening, process)
        yield f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def store(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The files of the search in the bucket."""
    from pyarrow import fs

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    fs.FileSystem.from_uri(f"s3://bucket?{server}&allow_bucket_creation=true")[0].create_dir(
        "bucket"
    )
    return Store(f"s3://bucket/runs/{tmp_path.name}?{server}")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_data(tmp_path / "data", epoch_s=0.5)


class Machine:
    """A machine with the data and the URL, and with its own cache and temporary folder."""

    def __init__(self, start: Start, cache: Path, url: str, data: Path) -> None:
        self.temporary = Path(tempfile.mkdtemp(dir="/tmp"))  # Ray needs a short path
        own = {"XDG_CACHE_HOME": str(cache), "TMPDIR": str(self.temporary)}
        self._start, self._url, self._data, self._environment = start, url, data, own

    def call(self, command: str, *arguments: str) -> Driver:
        return self._start(command, *arguments, "--search-dir", self._url, **self._environment)

    def start(self, *more: str) -> Driver:
        """Begin or continue the search."""
        sizes = ("--num-candidates", str(NUM), "--epochs", str(EPOCHS), "--image-size", "64")
        return self.call("stage1", "--flops", "1G", "--data", str(self._data), *sizes, *more)


@pytest.fixture
def machine(tmp_path: Path, store: Store, data: Path) -> Iterator[Callable[[str], Machine]]:
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(Machine(start, tmp_path / name, store.url, data))
        return made[-1]

    with drivers() as start:
        yield make
    for item in made:
        shutil.rmtree(item.temporary, ignore_errors=True)


def epochs_done(store: Store, number: int) -> int:
    content = store.read(f"stage1/{number:04d}/metrics.csv") or b""
    return max(0, content.count(b"\n") - 1)


def ended(store: Store) -> set[int]:
    names = store.list("stage1")
    return {n for n in range(1, NUM + 1) if f"stage1/{n:04d}/result.json" in names}


def running(store: Store) -> set[int]:
    begun = {n for n in range(1, NUM + 1) if 0 < epochs_done(store, n) < EPOCHS}
    return begun - ended(store)


def is_in_mid_search(store: Store) -> bool:
    return bool(ended(store)) and bool(running(store))


def attempts(store: Store) -> dict[int, int]:
    return {n: int(store.read(f"stage1/{n:04d}/attempts") or 0) for n in range(1, NUM + 1)}


def assert_undisturbed(store: Store) -> None:
    leaderboard = store.read("stage1/leaderboard.csv") or b""
    assert_undisturbed_table(leaderboard.decode(), NUM, EPOCHS)
    assert store.read("driver.lock") is None


def test_search_of_a_killed_driver_is_continued_on_another_machine(
    machine: Callable[[str], Machine], store: Store
) -> None:
    first = machine("first").start()
    wait_until(lambda: is_in_mid_search(store), first)
    finished = ended(store)
    first.kill()
    first.wait()
    second = machine("second")
    finish(second.start())
    assert_undisturbed(store)
    counted = attempts(store)
    assert all(counted[number] == 1 for number in finished)
    assert any(count > 1 for count in counted.values())
    assert not list(second.temporary.glob("scrfd-*"))


def test_second_driver_is_refused_and_others_can_read(
    machine: Callable[[str], Machine], store: Store, data: Path
) -> None:
    set_faults(data, epoch_s=4.0)
    first = machine("first").start()
    wait_until(lambda: bool(running(store)), first)
    second = machine("second")
    refused = second.start()
    _, errors = refused.communicate(timeout=PATIENCE_S)
    assert refused.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith(f"error: {store.url}: process {first.pid} on {socket.gethostname()} (")
    assert "AWS" not in errors
    output, _ = finish(second.call("status", "--json"))
    assert f'"pid": {first.pid}' in output
    set_faults(data)
    finish(first)
    assert_undisturbed(store)


def test_stopped_search_is_continued_elsewhere(
    machine: Callable[[str], Machine], store: Store, data: Path
) -> None:
    set_faults(data, epoch_s=2.0)
    first = machine("first").start()
    wait_until(lambda: bool(running(store)), first)
    set_faults(data)
    first.terminate()
    _, errors = first.communicate(timeout=60.0)
    assert first.returncode == 75, errors
    assert store.read("driver.lock") is None
    begun = {n for n, count in attempts(store).items() if count} - ended(store)
    # A trial whose event is being processed has nothing to save.
    assert any(store.read(f"stage1/{n:04d}/interrupted") is not None for n in begun)
    _, errors = finish(machine("second").start())
    assert "waiting to see" not in errors
    assert_undisturbed(store)


def test_killed_trial_is_continued_in_an_empty_folder(
    machine: Callable[[str], Machine], store: Store
) -> None:
    only = machine("only")
    driver = only.start()
    wait_until(lambda: bool(running(store)), driver)
    victim = min(running(store))
    done = epochs_done(store, victim)
    os.kill(int(store.read(f"stage1/{victim:04d}/pid") or 0), signal.SIGKILL)
    _, errors = finish(driver)
    assert f"candidate {victim}: the trial's process died" in errors
    assert_undisturbed(store)
    assert attempts(store)[victim] == 2
    assert done > 0
    left = list(only.temporary.glob("scrfd-*"))  # the killed process's, for the next search
    assert len(left) <= 1


def test_stopped_candidates_leave_no_temporary_folders(
    machine: Callable[[str], Machine], store: Store, data: Path
) -> None:
    set_faults(data, epoch_s=0.1, curves={"1": [0.9], "2": [0.2], "3": [0.1], "4": [0.05]})
    only = machine("only")
    finish(only.start("--scheduler", "asha", "--grace-epochs", "1", "--cpus-per-trial", "2"))
    assert len(ended(store)) == NUM
    assert b'"stopped"' in (store.read("stage1/0004/result.json") or b"")
    assert not list(only.temporary.glob("scrfd-*"))


@pytest.fixture
def nodes(store: Store) -> Iterator[Any]:
    """Start nodes that know the store's credentials."""
    with two_nodes() as nodes:
        yield nodes


def raylets(store: Store, number: int) -> list[int]:
    """Return the raylets of the nodes that a trial has run on."""
    return [int(pid) for pid in (store.read(f"stage1/{number:04d}/parents") or b"").split()]


def test_trials_of_a_dead_node_are_continued_elsewhere(
    machine: Callable[[str], Machine], store: Store, data: Path, nodes: Any
) -> None:
    set_faults(data, epoch_s=1.0)
    resources = ("--cpus-per-trial", "1", "--gpus-per-trial", "0.5", "--retries", "2")
    driver = machine("driver").start("--ray-address", nodes.address, *resources)
    wait_until(lambda: all(epochs_done(store, n) >= 2 for n in range(1, NUM + 1)), driver)
    before = {n: raylets(store, n)[-1] for n in range(1, NUM + 1)}
    raylet = remove_node(nodes)
    moved = [n for n in before if before[n] == raylet]
    finish(driver)
    assert moved
    assert_undisturbed(store)
    for number in moved:
        assert len(raylets(store, number)) == 2
        assert raylets(store, number)[1] != raylet
