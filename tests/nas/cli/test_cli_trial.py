"""`scrfd-nas trial`: one architecture outside a search."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from images import save_image
from tiny import TINY

from nas.cli import trial
from search_spaces.architecture import save_architecture
from search_spaces.cost.detector import flops_by_part, total
from search_spaces.errors import ConfigError
from trials.data.widerface_mat import write_ground_truth

FOUR = range(4)


def invoke(*arguments: str) -> int:
    app = typer.Typer()
    trial.register(app)
    app.command("other")(lambda: None)  # with one command only, typer wants no name
    command = typer.main.get_command(app)
    code = command.main(args=["trial", *arguments], standalone_mode=False)
    return code if isinstance(code, int) else 0


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    save_architecture(TINY, tmp_path / "tiny.yaml")
    return tmp_path / "tiny.yaml"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four images of noise with a face each, for training and for validation."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (root / split / "images" / "e").mkdir(parents=True)
        lines = []
        for n in FOUR:
            pixels = rng.integers(0, 255, (64, 64, 3), np.uint8)
            save_image(root / split / "images" / "e" / f"{n}.png", pixels)
            lines += [f"# e/{n}.png 64 64", "10 10 40 40"]
        (root / split / "labelv2.txt").write_text("\n".join(lines) + "\n")
    names = [f"e/{n}" for n in FOUR]
    every = {name: [0] for name in names}
    boxes = {name: np.array([[10.0, 10.0, 30.0, 30.0]]) for name in names}
    write_ground_truth(root / "val" / "gt", boxes, easy=every, medium=every, hard=every)
    return root


def options(data: Path, out: Path) -> list[str]:
    size = ["--image-size", "64", "--epochs", "2", "--threads", "1", "--device", "cpu"]
    return ["--data", str(data), "--out", str(out), *size]


def test_json_is_the_only_thing_on_standard_output(
    candidate: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [str(candidate), *options(data, out), "--recipe", "quick", "--eval-every", "1"]
    assert invoke(*arguments, "--json") == 0
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert content["flops"] == total(flops_by_part(TINY))
    assert content["epochs"] == 2
    assert content["folder"] == str(out)
    assert all(0.0 <= content[name] <= 1.0 for name in ("easy", "medium", "hard"))
    assert content["params"] > 0
    assert content["duration_s"] > 0
    assert "epoch 2/2" in captured.err

    assert invoke(*arguments) == 0  # finished: the same figures, at once
    captured = capsys.readouterr()
    assert f"{content['hard']:.4f}" in captured.out
    assert "epoch" not in captured.err


def test_decoded_images_are_kept_where_the_flag_says(
    candidate: Path, data: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "images"
    flags = ["--recipe", "quick", "--cache", str(cache), "--augment-on", "device"]
    assert invoke(str(candidate), *options(data, tmp_path / "out"), *flags) == 0
    assert len(list(cache.rglob("*.rgb"))) == len(FOUR)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--cache", ""], "cache must be auto, off or a folder, got ''"),
        (["--augment-on", "moon"], "augment_on must be one of"),
        (["--recipe", "slow"], "a recipe must be"),
        (["--image-size", "65"], "image_size must be a multiple of 32, got 65"),
        (["--precision", "fp8"], "precision must be one of"),
        (["--device", "gpu"], "device must be"),
    ],
)
def test_a_wrong_flag_is_an_error_with_its_rule(
    candidate: Path, data: Path, tmp_path: Path, extra: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        invoke(str(candidate), *options(data, tmp_path / "out"), *extra)


def test_an_unknown_architecture_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"scrfd_0\.6g"):
        invoke("scrfd_0.6g", *options(data, tmp_path / "out"))


def test_held_out_training_images_can_decide(
    candidate: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(data / "val")
    arguments = [str(candidate), *options(data, tmp_path / "out"), "--json"]
    assert invoke(*arguments, "--select-on", "holdout:0.5") == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 2
    request = json.loads((tmp_path / "out" / "request.json").read_text())
    assert request["settings"]["select_on"] == "holdout:0.5"
