"""`convert`, `export`, `export-config`, `import-config`, `detect`, `latency`."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import tiny
import torch
from images import noise, save_image

from nas.cli import main as cli
from search_spaces.architecture import (
    Architecture,
    Head,
    load_architecture,
    save_architecture,
)
from search_spaces.mmdet.config_reader import architecture_from_mmdet
from search_spaces.network.detector import build_detector
from search_spaces.zoo import load_zoo
from trials.data.images import read_size
from trials.model_file import load_model, save_model

TINY = replace(tiny.TINY, head=Head(convs=1, width=8, norm="batch", shared=False, keypoints=5))


@pytest.fixture(autouse=True)
def _only_these_commands(monkeypatch):
    monkeypatch.setattr(cli, "COMMAND_FILES", ("models.convert",))


@pytest.fixture(name="model")
def _model(tmp_path):
    detector = build_detector(TINY, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for conv in (*detector.head.scores, *detector.head.boxes):
            conv.bias.fill_(2.0)
    save_model(tmp_path / "best.pt", TINY, detector.state_dict())
    return tmp_path / "best.pt"


@pytest.fixture(name="photos")
def _photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.jpg", "a.png", "inner/c.jpg"):
        save_image(folder / name, noise(40, 60))
    (folder / "notes.txt").write_text("no image")
    return folder


def run(capsys, *arguments):
    code = cli.run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def succeed(capsys, *arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, "")
    return out


def fail(capsys, *arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_export_and_convert_come_round(capsys, tmp_path, model):
    out = json.loads(succeed(capsys, "export", model, "--out", tmp_path / "m.onnx", "--json"))
    assert (out["architecture"], out["shape"]) == ("tiny", None)
    assert out["difference"] < 1e-4
    text = succeed(capsys, "convert", tmp_path / "m.onnx", "--out", tmp_path / "again.pt", "--json")
    out = json.loads(text)
    assert out["hash"] == TINY.content_hash
    assert out["architecture"] is None
    assert load_model(tmp_path / "again.pt")[0] == TINY


def test_convert_takes_the_name_from_the_architecture(capsys, tmp_path, model):
    save_architecture(TINY, tmp_path / "tiny.yaml")
    succeed(capsys, "export", model, "--out", tmp_path / "m.onnx")
    arguments = ("--out", tmp_path / "n.pt", "--architecture", tmp_path / "tiny.yaml")
    text = succeed(capsys, "convert", tmp_path / "m.onnx", *arguments)
    assert "is tiny:" in text
    assert "none left over" in text
    assert load_model(tmp_path / "n.pt")[0].name == "tiny"


def test_export_takes_a_trials_folder_and_a_shape(capsys, tmp_path, model):
    out = tmp_path / "deep" / "m.onnx"
    succeed(capsys, "export", model.parent, "--out", out, "--shape", 64, 96)
    dims = onnx.load(out).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims[1:]] == [3, 64, 96]


def test_wrong_uses_exit_with_2(capsys, model):
    assert run(capsys, "export", model, "--shape", 64)[0] == 2
    assert run(capsys, "convert", model)[0] == 2  # no --out
    assert run(capsys, "detect", model)[0] == 2  # no images
    assert run(capsys, "latency", model, "--threads", 0)[0] == 2


def test_faults_are_one_line(capsys, tmp_path, model):
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    (tmp_path / "bad.pt").write_bytes(b"nonsense")
    out = ("--out", tmp_path / "out")
    assert "damaged" in fail(capsys, "convert", tmp_path / "bad.onnx", *out)
    assert "damaged" in fail(capsys, "convert", tmp_path / "bad.pt", *out)
    assert "multiples of 32" in fail(capsys, "export", model, *out, "--shape", 64, 65)
    assert "damaged" in fail(capsys, "export", tmp_path / "bad.pt", *out)
    assert "missing.pt: cannot be read" in fail(capsys, "export", tmp_path / "missing.pt", *out)
    assert "missing.pt: cannot be read" in fail(capsys, "latency", tmp_path / "missing.pt")
    assert "must be mmdet" in fail(capsys, "export-config", "scrfd_0.5g", "--format", "yolo")
    assert "did you mean" in fail(capsys, "export-config", "scrfd_0.5", *out)
    assert not (tmp_path / "out").exists()


def test_a_configuration_goes_out_and_comes_back(capsys, tmp_path):
    text = succeed(capsys, "export-config", "scrfd_2.5g", "--format", "mmdet")
    assert architecture_from_mmdet(text, "x") == load_zoo("scrfd_2.5g")
    (tmp_path / "mine.py").write_text(text)
    out = succeed(capsys, "import-config", tmp_path / "mine.py")
    assert Architecture.from_yaml(out) == load_zoo("scrfd_2.5g")
    succeed(capsys, "import-config", tmp_path / "mine.py", "--out", tmp_path / "mine.yaml")
    assert load_architecture(tmp_path / "mine.yaml").name == "mine"
    content = json.loads(succeed(capsys, "import-config", tmp_path / "mine.py", "--json"))
    assert content["hash"] == load_zoo("scrfd_2.5g").content_hash


def test_candidates_come_as_folder_file_or_model(capsys, tmp_path, model):
    (tmp_path / "0001").mkdir()
    save_architecture(TINY, tmp_path / "0001" / "architecture.yaml")
    texts = []
    for reference in (tmp_path / "0001", tmp_path / "0001" / "architecture.yaml", model):
        succeed(capsys, "export-config", reference, "--out", tmp_path / "c.py", "--epochs", 80)
        texts.append((tmp_path / "c.py").read_text())
    assert texts[0] == texts[1] == texts[2]
    assert "total_epochs = 80" in texts[0]


def test_a_configuration_is_never_run(capsys, tmp_path):
    (tmp_path / "evil.py").write_text(f"model = open({str(tmp_path / 'ran')!r}, 'w')")
    assert "cannot be read without running" in fail(capsys, "import-config", tmp_path / "evil.py")
    assert not (tmp_path / "ran").exists()


def test_detect_lists_the_images_of_a_folder(capsys, tmp_path, model, photos):
    found = json.loads(succeed(capsys, "detect", model, photos, "--json", "--size", 64))
    assert [entry["image"] for entry in found] == [
        str(photos / name) for name in ("a.png", "b.jpg", "inner/c.jpg")
    ]
    for entry in found:
        assert set(entry) == {"image", "boxes", "keypoints"}
        assert entry["boxes"]
        assert {len(box) for box in entry["boxes"]} == {5}
        assert np.array(entry["keypoints"]).shape == (len(entry["boxes"]), 5, 2)
        assert min(box[4] for box in entry["boxes"]) >= 0.5


def test_detect_thresholds(capsys, model, photos):
    def count(*flags):
        arguments = ("detect", model, photos / "a.png", "--json", "--size", 64)
        out = succeed(capsys, *arguments, *flags)
        return len(json.loads(out)[0]["boxes"])

    assert count("--score-threshold", 0.999) == 0
    assert count("--nms", 0) < count("--nms", 0.9)


def test_detect_draws(capsys, tmp_path, model, photos):
    other = tmp_path / "other"
    other.mkdir()
    (photos / "a.png").rename(other / "b.jpg")
    out = tmp_path / "drawn"
    text = succeed(capsys, "detect", model, photos, other, "--out", out, "--size", 64)
    assert "best score" in text
    drawn = sorted(str(path.relative_to(out)) for path in out.rglob("*.jpg"))
    assert drawn == ["b.jpg", "b_2.jpg", "inner/c.jpg"]
    assert read_size(out / "b.jpg") == (60, 40)


def test_a_broken_image_is_skipped_and_the_exit_code_says_so(capsys, model, photos):
    (photos / "broken.jpg").write_bytes(b"nonsense")
    missing = photos / "missing.jpg"
    code, out, err = run(capsys, "detect", model, photos, missing, "--json", "--size", 64)
    assert code == 1
    assert len(json.loads(out)) == 3
    assert err.count("\n") == 2
    assert "broken.jpg" in err
    assert "missing.jpg" in err


def test_a_folder_without_images_is_an_error(capsys, tmp_path, model):
    (tmp_path / "empty").mkdir()
    assert "holds no images" in fail(capsys, "detect", model, tmp_path / "empty")


def test_latency_of_models_and_architectures(capsys, tmp_path, model):
    succeed(capsys, "export", model, "--out", tmp_path / "m.onnx")
    save_architecture(TINY, tmp_path / "tiny.yaml")
    sizes = ("--size", 64, 96, "--runs", 3)
    for subject in (model, model.parent, tmp_path / "m.onnx", tmp_path / "tiny.yaml"):
        result = json.loads(succeed(capsys, "latency", subject, *sizes, "--json"))
        assert (result["runtime"], result["device"]) == ("onnxruntime", "cpu")
        assert (result["threads"], result["batch"], result["runs"]) == (1, 1, 3)
        assert (result["height"], result["width"]) == (64, 96)
        assert 0 < result["median_ms"] <= result["p95_ms"]
    text = succeed(capsys, "latency", tmp_path / "tiny.yaml", *sizes, "--runtime", "torch")
    assert "torch" in text
    assert "p95" in text


def test_latency_faults(capsys, tmp_path, model):
    succeed(capsys, "export", model, "--out", tmp_path / "m.onnx")
    assert "convert it" in fail(capsys, "latency", tmp_path / "m.onnx", "--runtime", "torch")
    assert "--runtime must be" in fail(capsys, "latency", model, "--runtime", "tensorrt")
    assert "neither a file" in fail(capsys, "latency", "scrfd_0.5x")
