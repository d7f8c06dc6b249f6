"""`scrfd-nas evaluate`: figures that follow from the predictions it saves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import CommandLine
from tiny import TINY

from nas.cli.shared import common
from search_spaces.network.detector import build_detector
from trials.data.generated.generate import generate
from trials.evaluation.prediction_ap import score_folder
from trials.evaluation.prediction_files import read_predictions
from trials.model_file import save_model

APS = ("easy", "medium", "hard")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "faces"
    generate(root, num_train=1, num_val=4, seed=0, long_side=(96, 150))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial's folder: an untrained network that sees faces everywhere.

    Beside it `quiet.pt`, which sees none.
    """
    folder = tmp_path_factory.mktemp("trial")
    detector = build_detector(TINY, torch.Generator().manual_seed(0))
    save_model(folder / "quiet.pt", TINY, detector.state_dict())
    with torch.no_grad():
        for scores, boxes in zip(detector.head.scores, detector.head.boxes, strict=True):
            scores.weight.mul_(30)
            scores.bias.zero_()
            boxes.bias.fill_(2.0)
    save_model(folder / "best.pt", TINY, detector.state_dict())
    return folder


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(data: Path, cli: CommandLine) -> Run:
    """Runs the command; the one document on standard output."""

    def invoke(model: Path, *arguments: str) -> Any:
        return cli.json(["evaluate", model, "--data", data, "--threads", 1, *arguments])

    return invoke


def test_the_figures_are_those_of_the_saved_predictions(
    run: Run, folder: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "found"
    content = run(folder, "--image-size", "128", "--save-predictions", str(out))
    assert list(content) == [
        *("model", "data", "split", "mode", "image_size", "images", "easy", "medium", "hard"),
        *("seconds", "images_per_second"),
    ]
    assert (content["model"], content["mode"]) == (str(folder / "best.pt"), "vga")
    assert (content["image_size"], content["images"], content["split"]) == (128, 4, "val")
    assert content["images_per_second"] == pytest.approx(4 / content["seconds"])
    found = read_predictions(out)
    assert sum(map(len, found.values())) > 40
    aps = score_folder(out, data / "val" / "gt").aps
    assert {name: content[name] for name in APS} == aps.as_dict()
    assert 0 < content["hard"] < 0.9


def test_a_number_as_mode_is_vga_of_that_size(run: Run, folder: Path) -> None:
    one = run(folder, "--mode", "96")
    two = run(folder, "--image-size", "96")
    assert one["image_size"] == two["image_size"] == 96
    assert [one[name] for name in APS] == [two[name] for name in APS]


def test_the_other_modes_have_other_sizes(run: Run, folder: Path) -> None:
    assert run(folder, "--mode", "original")["image_size"] is None
    content = run(folder / "quiet.pt", "--mode", "multi")
    assert (content["image_size"], content["hard"]) == (1650, 0.0)


def test_onnx_gives_what_torch_gives(run: Run, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from trials.model_file import load_model
    from trials.onnx.export import export_onnx

    _, detector = load_model(folder / "best.pt")
    export_onnx(detector, tmp_path / "model.onnx")
    torch_figures = run(folder, "--image-size", "128", "--save-predictions", str(tmp_path / "t"))
    onnx_figures = run(
        *(tmp_path / "model.onnx", "--image-size", "128"),
        *("--save-predictions", str(tmp_path / "o")),
    )
    for name in APS:
        assert onnx_figures[name] == pytest.approx(torch_figures[name], abs=1e-6)
    assert [len(rows) for rows in read_predictions(tmp_path / "t").values()] == [
        len(rows) for rows in read_predictions(tmp_path / "o").values()
    ]


def test_a_reader_gets_a_table(folder: Path, data: Path, cli: CommandLine) -> None:
    shown = cli.run(["evaluate", str(folder), "--data", str(data), "--image-size", "96"]).out
    for word in (*APS, "mode vga: 4 images", "images a second"):
        assert word in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode", "huge"], "mode must be vga, multi, original or a size, got 'huge'"),
        (["--mode", "31"], "image size must be 32 to 8192 pixels, got 31"),
        (["--mode", "multi", "--image-size", "64"], "image_size belongs to mode vga"),
        (["--split", "test"], "faces/test: there is neither "),
        (["--device", "cuda:99"], "device must be a GPU of this machine, which has"),
        (["--save-predictions", "."], "--save-predictions must be a new or empty folder"),
    ],
)
def test_wrong_options_are_one_line(
    folder: Path, data: Path, arguments: list[str], message: str, cli: CommandLine
) -> None:
    assert message in cli.fail(["evaluate", str(folder), "--data", str(data), *arguments])


@pytest.mark.parametrize("name", ["none.pt", "none.onnx", "text.pt", "text.onnx", "."])
def test_what_is_no_model_is_one_line(
    name: str, data: Path, tmp_path: Path, cli: CommandLine
) -> None:
    for suffix in (".pt", ".onnx"):
        (tmp_path / f"text{suffix}").write_text("not a model")
    assert str(tmp_path) in cli.fail(["evaluate", str(tmp_path / name), "--data", str(data)])


def test_an_onnx_model_does_not_run_on_a_gpu(data: Path, tmp_path: Path, cli: CommandLine) -> None:
    command = ["evaluate", tmp_path / "m.onnx", "--data", data, "--device", "cuda"]
    assert "an ONNX model runs on the CPU" in cli.fail(command)


def test_progress_tells_the_time_left_now_and_then() -> None:
    said: list[str] = []
    times = iter([0.0, 5.0, 10.0, 15.0, 20.0, 40.0])
    progress = common.plain_progress("images", said.append, clock=lambda: next(times))
    for done in range(1, 6):
        progress(done, 5)
    assert said == ["2 of 5 images, 15 s left", "4 of 5 images, 5 s left"]
    times = iter([0.0, 5.0, 10.0, 20.0])
    progress = common.plain_progress("frames", said.append, clock=lambda: next(times))
    for done in range(1, 4):
        progress(done, None)
    assert said[2:] == ["2 frames", "3 frames"]


def test_the_time_left_does_not_count_the_work_before() -> None:
    said: list[str] = []
    times = iter([0.0, 100.0, 112.0])  # 100 s until the first call, then 12 s an image
    progress = common.plain_progress("images", said.append, clock=lambda: next(times))
    for done in (1, 2):
        progress(done, 4)
    assert said == ["1 of 4 images", "2 of 4 images, 24 s left"]


@pytest.mark.slow
def test_released_weights_give_the_golden_figures(shared_dir: Path, cli: CommandLine) -> None:
    """The table of the golden README (238 images)."""
    model = shared_dir / "weights" / "scrfd_0.5g.onnx"
    data = shared_dir / "data" / "widerface_mini"
    content = cli.json(["evaluate", model, "--data", data])
    found = [content[name] for name in APS]
    assert found == pytest.approx([0.912859, 0.898875, 0.696736], abs=2e-4)
