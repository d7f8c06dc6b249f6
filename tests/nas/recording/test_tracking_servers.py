"""`--track` with the real libraries: a local MLflow server, and Weights & Biases offline."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_trials import hard_ap, make_architecture, make_data

pytestmark = pytest.mark.slow

NUM, EPOCHS = 3, 4
PATIENCE_S = 300.0


def search(folder: Path, tracker: str, **environment: str) -> str:
    """Runs a search with fake trials on Ray; returns what it printed beside the table."""
    if not (folder / "data").exists():
        make_data(folder / "data", epoch_s=0.1)
    command = [sys.executable, "-m", "fake_search", "stage1", "--flops", "1G", "--data", "data"]
    command += ["--num-candidates", str(NUM), "--epochs", str(EPOCHS), "--image-size", "64"]
    command += ["--eval-every", "2", "--search-dir", "s", "--track", tracker]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The address and process of an MLflow server with a database of its own."""
    pytest.importorskip("mlflow", reason="needs MLflow: pip install mlflow")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    with (tmp_path / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE_S
    while not is_up(address):
        assert server.poll() is None, (tmp_path / "mlflow.log").read_text()
        assert time.monotonic() < deadline, "MLflow does not answer"
        time.sleep(0.2)
    yield address, server
    server.terminate()
    server.wait(timeout=30)


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_mlflow_shows_every_candidate_with_its_parameters_and_curves(
    tmp_path: Path, mlflow_server: tuple[str, subprocess.Popen[bytes]]
) -> None:
    from mlflow import MlflowClient

    address, _ = mlflow_server
    search(tmp_path, "mlflow", MLFLOW_TRACKING_URI=address)
    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name("s/stage1")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"0001", "0002", "0003"}
    for number in range(1, NUM + 1):
        run = runs[f"{number:04d}"]
        hard = hard_ap(make_architecture(number))
        assert run.info.status == "FINISHED"
        assert run.data.params["depth_c5"] == str(number)
        curve = client.get_metric_history(run.info.run_id, "hard")
        assert [(item.step, item.value) for item in curve] == [(2, hard), (4, hard)]
        losses = client.get_metric_history(run.info.run_id, "loss")
        assert [item.step for item in losses] == [1, 2, 3, 4]


def test_wandb_offline_leaves_a_run_of_every_candidate_in_the_search_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="needs Weights & Biases: pip install wandb")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    search(tmp_path, "wandb", WANDB_MODE="offline")
    files = sorted((tmp_path / "s" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == NUM
    kept = [file.read_bytes() for file in files]
    assert all(b"s/stage1" in content and b"hard" in content for content in kept)
    for number in range(1, NUM + 1):
        digest = make_architecture(number).content_hash.encode()
        assert sum(digest in content for content in kept) == 1
