"""`convert`, `export`, `export-config`, `import-config`, `latency`."""

import json
from dataclasses import replace

import onnx
import pytest
import tiny

from search_spaces.architecture import (
    Architecture,
    Head,
    load_architecture,
    save_architecture,
)
from search_spaces.mmdet.config_reader import architecture_from_mmdet
from search_spaces.zoo import load_zoo
from trials.model_file import load_model

TINY = replace(tiny.TINY, head=Head(convs=1, width=8, norm="batch", shared=False, keypoints=5))


@pytest.fixture(name="model")
def _model(tmp_path):
    return tiny.save_eager(tmp_path / "best.pt", TINY)


def succeed(cli, *arguments):
    out, err = cli.run(arguments)
    assert err == ""
    return out


def fail(cli, *arguments):
    return cli.fail(arguments)


def test_export_and_convert_come_round(cli, tmp_path, model):
    out = cli.json(["export", model, "--out", tmp_path / "m.onnx"])
    assert (out["architecture"], out["shape"]) == ("tiny", None)
    assert out["difference"] < 1e-4
    text = succeed(cli, "convert", tmp_path / "m.onnx", "--out", tmp_path / "again.pt", "--json")
    out = json.loads(text)
    assert out["hash"] == TINY.content_hash
    assert out["architecture"] is None
    assert load_model(tmp_path / "again.pt")[0] == TINY


def test_convert_takes_the_name_from_the_architecture(cli, tmp_path, model):
    save_architecture(TINY, tmp_path / "tiny.yaml")
    succeed(cli, "export", model, "--out", tmp_path / "m.onnx")
    arguments = ("--out", tmp_path / "n.pt", "--architecture", tmp_path / "tiny.yaml")
    text = succeed(cli, "convert", tmp_path / "m.onnx", *arguments)
    assert "is tiny:" in text
    assert "none left over" in text
    assert load_model(tmp_path / "n.pt")[0].name == "tiny"


def test_export_takes_a_trials_folder_and_a_shape(cli, tmp_path, model):
    out = tmp_path / "deep" / "m.onnx"
    succeed(cli, "export", model.parent, "--out", out, "--shape", 64, 96)
    dims = onnx.load(out).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in dims[1:]] == [3, 64, 96]


def test_wrong_uses_exit_with_2(cli, model):
    cli.run(["export", model, "--shape", 64], 2)
    cli.run(["convert", model], 2)  # no --out
    cli.run(["latency", model, "--threads", 0], 2)


def test_faults_are_one_line(cli, tmp_path, model):
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    (tmp_path / "bad.pt").write_bytes(b"nonsense")
    out = ("--out", tmp_path / "out")
    assert "damaged" in fail(cli, "convert", tmp_path / "bad.onnx", *out)
    assert "damaged" in fail(cli, "convert", tmp_path / "bad.pt", *out)
    assert "multiples of 32" in fail(cli, "export", model, *out, "--shape", 64, 65)
    assert "damaged" in fail(cli, "export", tmp_path / "bad.pt", *out)
    assert "missing.pt: cannot be read" in fail(cli, "export", tmp_path / "missing.pt", *out)
    assert "missing.pt: cannot be read" in fail(cli, "latency", tmp_path / "missing.pt")
    assert "must be mmdet" in fail(cli, "export-config", "scrfd_0.5g", "--format", "yolo")
    assert "did you mean" in fail(cli, "export-config", "scrfd_0.5", *out)
    assert not (tmp_path / "out").exists()


def test_a_configuration_goes_out_and_comes_back(cli, tmp_path):
    text = succeed(cli, "export-config", "scrfd_2.5g", "--format", "mmdet")
    assert architecture_from_mmdet(text, "x") == load_zoo("scrfd_2.5g")
    (tmp_path / "mine.py").write_text(text)
    out = succeed(cli, "import-config", tmp_path / "mine.py")
    assert Architecture.from_yaml(out) == load_zoo("scrfd_2.5g")
    succeed(cli, "import-config", tmp_path / "mine.py", "--out", tmp_path / "mine.yaml")
    assert load_architecture(tmp_path / "mine.yaml").name == "mine"
    content = cli.json(["import-config", tmp_path / "mine.py"])
    assert content["hash"] == load_zoo("scrfd_2.5g").content_hash


def test_candidates_come_as_folder_file_or_model(cli, tmp_path, model):
    (tmp_path / "0001").mkdir()
    save_architecture(TINY, tmp_path / "0001" / "architecture.yaml")
    texts = []
    for reference in (tmp_path / "0001", tmp_path / "0001" / "architecture.yaml", model):
        succeed(cli, "export-config", reference, "--out", tmp_path / "c.py", "--epochs", 80)
        texts.append((tmp_path / "c.py").read_text())
    assert texts[0] == texts[1] == texts[2]
    assert "total_epochs = 80" in texts[0]


def test_a_configuration_is_never_run(cli, tmp_path):
    (tmp_path / "evil.py").write_text(f"model = open({str(tmp_path / 'ran')!r}, 'w')")
    assert "cannot be read without running" in fail(cli, "import-config", tmp_path / "evil.py")
    assert not (tmp_path / "ran").exists()


def test_latency_of_models_and_architectures(cli, tmp_path, model):
    succeed(cli, "export", model, "--out", tmp_path / "m.onnx")
    save_architecture(TINY, tmp_path / "tiny.yaml")
    sizes = ("--size", 64, 96, "--runs", 3)
    for subject in (model, model.parent, tmp_path / "m.onnx", tmp_path / "tiny.yaml"):
        result = cli.json(["latency", subject, *sizes])
        assert (result["runtime"], result["device"]) == ("onnxruntime", "cpu")
        assert (result["threads"], result["batch"], result["runs"]) == (1, 1, 3)
        assert (result["height"], result["width"]) == (64, 96)
        assert 0 < result["median_ms"] <= result["p95_ms"]
    text = succeed(cli, "latency", tmp_path / "tiny.yaml", *sizes, "--runtime", "torch")
    assert "torch" in text
    assert "p95" in text


def test_latency_faults(cli, tmp_path, model):
    succeed(cli, "export", model, "--out", tmp_path / "m.onnx")
    assert "convert it" in fail(cli, "latency", tmp_path / "m.onnx", "--runtime", "torch")
    assert "--runtime must be" in fail(cli, "latency", model, "--runtime", "tensorrt")
    assert "neither a file" in fail(cli, "latency", "scrfd_0.5x")
