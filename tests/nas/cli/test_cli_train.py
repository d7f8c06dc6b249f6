"""`scrfd-nas train`: the command, and (slow) two workers on Ray that are killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from tiny import TINY, make_data

from search_spaces.architecture import save_architecture

EPOCHS = 60
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("set"), 7, 2)


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search's folder of a candidate."""
    folder = tmp_path_factory.mktemp("search") / "stage2" / "0007"
    folder.mkdir(parents=True)
    save_architecture(TINY, folder / "architecture.yaml")
    return folder


def words(candidate: Path, data: Path, *more: str) -> list[str]:
    small = ["--image-size", "64", "--batch-size", "2", "--threads", "1"]
    return ["train", str(candidate), "--data", str(data), *small, *more]


def test_a_candidate_of_a_search_is_trained_and_its_result_printed(
    candidate: Path, data: Path, tmp_path: Path, cli: CommandLine
) -> None:
    out = tmp_path / "run"
    arguments = words(candidate, data, "--epochs", "2", "--workers", "1", "--out", str(out))
    shown = cli.run([*arguments, "--json"])
    content = json.loads(shown.out)
    assert content["hash"] == TINY.content_hash
    assert (content["epochs"], content["workers"]) == (2, 1)
    assert content["folder"] == str(out)
    assert 0 <= content["hard"] <= 1
    assert "epoch 2/2" in shown.err
    shown = cli.run(arguments)  # again: is finished
    assert "epoch" not in shown.err
    assert "hard" in shown.out


def test_the_final_schedule_is_the_default(
    candidate: Path, data: Path, tmp_path: Path, cli: CommandLine
) -> None:
    """Options that contradict a folder are shown with the defaults that they contradict."""
    out = str(tmp_path)
    arguments = words(candidate, data, "--epochs", "1", "--seed", "3", "--out", out)
    cli.run(arguments)
    shown = cli.run(words(candidate, data, "--out", out), 1).err.splitlines()[-1]
    assert "settings.epochs: 1 -> 640" in shown
    assert "settings.seed: 3 -> 0" in shown
    request = json.loads((tmp_path / "request.json").read_text())
    assert request["recipe"]["drops"] == [440 / 640, 544 / 640]
    assert request["recipe"]["warmup_iterations"] == 1500


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--gpus", "2", "--workers", "2"], "give one of them, got 2 and 2"),
        (["--recipe", "slow"], "a recipe must be reference, quick or a YAML file"),
        (["--workers", "1", "--precision", "fp16"], "precision fp16 needs a GPU"),
        (["--workers", "2", "--precision", "fp16"], "precision fp16 needs a GPU"),
    ],
)
def test_wrong_options_are_one_line(
    candidate: Path, data: Path, tmp_path: Path, more: list[str], message: str, cli: CommandLine
) -> None:
    arguments = words(candidate, data, "--out", str(tmp_path / "run"), *more)
    assert message in cli.fail(arguments)
    assert not (tmp_path / "run").exists()


Start = Callable[[Path], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def start(cli: CommandLine, candidate: Path, data: Path) -> Start:
    """Starts two workers on Ray, in a process group of their driver's."""

    def run(out: Path) -> "subprocess.Popen[str]":
        arguments = words(candidate, data, "--epochs", str(EPOCHS), "--out", str(out), "--json")
        return subprocess.Popen(
            [sys.executable, "-m", "nas.cli.main", *arguments, "--workers", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return run


def finish(process: "subprocess.Popen[str]") -> dict[str, Any]:
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, err
    content: dict[str, Any] = json.loads(out)
    return content


@pytest.fixture(scope="module")
def undisturbed(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    content = finish(start(out))
    assert (content["workers"], content["epochs"]) == (2, EPOCHS)
    return out


def wait_for_epoch(out: Path, process: "subprocess.Popen[str]", epoch: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while epochs_done(out) < epoch:
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def epochs_done(out: Path) -> int:
    metrics = out / "metrics.csv"
    return len(metrics.read_text().splitlines()) - 1 if metrics.exists() else 0


def leader_of(out: Path) -> int:
    """The process that holds the lock of the folder."""
    inode = (out / "lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
            return int(fields[4])
    raise AssertionError("nobody holds the lock")


def state(out: Path) -> list[torch.Tensor]:
    content = torch.load(out / "last.pt", weights_only=True)
    momentum = [buffers["momentum_buffer"] for buffers in content["optimizer"]["state"].values()]
    return [*content["model"].values(), *momentum]


def assert_same(out: Path, other: Path) -> None:
    pairs = list(zip(state(out), state(other), strict=True))
    assert len(pairs) > 50
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_the_outcome_is_the_same(
    start: Start, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(out)
    wait_for_epoch(out, process, 3)
    os.kill(leader_of(out), signal.SIGKILL)
    assert finish(process)["epochs"] == EPOCHS
    assert (out / "trial.log").read_text().count("INFO epochs ") == 2  # was started twice
    assert_same(out, undisturbed)


@pytest.mark.slow
def test_a_killed_driver_continues_with_the_same_outcome(
    start: Start, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(out)
    wait_for_epoch(out, process, 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (out / "result.json").exists()
    assert finish(start(out))["epochs"] == EPOCHS
    assert_same(out, undisturbed)


@pytest.mark.slow
def test_an_interrupt_stops_the_workers(start: Start, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(out)
    wait_for_epoch(out, process, 3)
    leader = leader_of(out)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    deadline = time.monotonic() + 30
    while Path(f"/proc/{leader}").exists():
        assert time.monotonic() < deadline, "the worker is still there"
        time.sleep(0.1)
    assert 3 <= epochs_done(out) < EPOCHS
