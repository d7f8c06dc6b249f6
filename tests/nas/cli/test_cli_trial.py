"""`scrfd-nas trial`: one architecture outside a search."""

import json
import shutil
from pathlib import Path

import pytest
from tiny import TINY, make_data

from nas.cli.main import run
from search_spaces.architecture import save_architecture
from search_spaces.cost.detector import flops_by_part, total

IMAGES = 4


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A trial of two epochs in `out`."""
    save_architecture(TINY, tmp_path / "tiny.yaml")
    data, out = make_data(tmp_path / "data", IMAGES, IMAGES), tmp_path / "out"
    size = ["--image-size", "64", "--epochs", "2", "--threads", "1", "--device", "cpu"]
    return ["trial", str(tmp_path / "tiny.yaml"), "--data", str(data), "--out", str(out), *size]


def test_json_is_the_only_output_and_a_finished_trial_prints_the_same_figures(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "images"
    command += ["--recipe", "quick", "--eval-every", "1", "--cache", str(cache)]
    assert run([*command, "--json"]) == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert content["flops"] == total(flops_by_part(TINY))
    assert (content["epochs"], content["folder"]) == (2, str(tmp_path / "out"))
    assert all(0.0 <= content[name] <= 1.0 for name in ("easy", "medium", "hard"))
    assert content["params"] > 0
    assert content["duration_s"] > 0
    assert "epoch 2/2" in captured.err
    assert len(list(cache.rglob("*.rgb"))) == IMAGES

    assert run(command) == 0
    captured = capsys.readouterr()
    assert f"{content['hard']:.4f}" in captured.out
    assert "epoch" not in captured.err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--augment-on", "moon"], "augment_on must be one of"),
        (["--recipe", "slow"], "a recipe must be"),
        (["--device", "gpu"], "device must be"),
    ],
)
def test_wrong_values_are_one_line(
    command: list[str], extra: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, *extra]) == 1
    assert message in capsys.readouterr().err


def test_held_out_training_images_replace_the_validation_images(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tmp_path / "data" / "val")
    assert run([*command, "--batch-size", "2", "--json", "--select-on", "holdout:0.5"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 2
    request = json.loads((tmp_path / "out" / "request.json").read_text())
    assert request["settings"]["select_on"] == "holdout:0.5"
    assert request["recipe"]["batch_size"] == 2
