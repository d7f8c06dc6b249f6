"""`--track` with the real libraries: a local MLflow server, and Weights & Biases offline."""

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers import drivers, finish, free_port, wait_until
from fake_trials import hard_ap, make_architecture, make_data

pytestmark = pytest.mark.slow

NUM, EPOCHS = 3, 4


def search(folder: Path, tracker: str, **environment: str) -> None:
    """Run a search with fake trials on Ray."""
    data = make_data(folder / "data", epoch_s=0.1)
    command = ["stage1", "--flops", "1G", "--data", str(data), "--num-candidates", str(NUM)]
    command += ["--epochs", str(EPOCHS), "--image-size", "64", "--eval-every", "2"]
    with drivers(*command, "--search-dir", str(folder / "s"), "--track", tracker) as start:
        finish(start(**environment))


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    """Start an MLflow server with its own database, and return its address."""
    pytest.importorskip("mlflow", reason="needs MLflow: pip install mlflow")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    with (tmp_path / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: is_up(address), server)
    yield address
    server.terminate()
    server.wait(timeout=30)


def is_up(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_mlflow_shows_every_candidate_with_its_parameters_and_curves(
    tmp_path: Path, mlflow_server: str
) -> None:
    from mlflow import MlflowClient

    search(tmp_path, "mlflow", MLFLOW_TRACKING_URI=mlflow_server)
    client = MlflowClient(tracking_uri=mlflow_server)
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
