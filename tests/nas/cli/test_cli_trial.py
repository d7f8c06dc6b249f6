"""`scrfd-nas trial`: one architecture outside a search."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import CommandLine
from tiny import TINY, make_data

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
    command: list[str], tmp_path: Path, cli: CommandLine
) -> None:
    cache = tmp_path / "images"
    command += ["--recipe", "quick", "--eval-every", "1", "--cache", str(cache)]
    captured = cli.run([*command, "--json"])
    content = json.loads(captured.out)
    assert content["flops"] == total(flops_by_part(TINY))
    assert (content["epochs"], content["folder"]) == (2, str(tmp_path / "out"))
    assert all(0.0 <= content[name] <= 1.0 for name in ("easy", "medium", "hard"))
    assert content["params"] > 0
    assert content["duration_s"] > 0
    assert "epoch 2/2" in captured.err
    assert len(list(cache.rglob("*.rgb"))) == IMAGES

    captured = cli.run(command)
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
    command: list[str], extra: list[str], message: str, cli: CommandLine
) -> None:
    assert message in cli.run([*command, *extra], 1).err


def test_held_out_training_images_replace_the_validation_images(
    command: list[str], tmp_path: Path, cli: CommandLine
) -> None:
    shutil.rmtree(tmp_path / "data" / "val")
    assert cli.json([*command, "--batch-size", "2", "--select-on", "holdout:0.5"])["epochs"] == 2
    request = json.loads((tmp_path / "out" / "request.json").read_text())
    assert request["settings"]["select_on"] == "holdout:0.5"
    assert request["recipe"]["batch_size"] == 2
