"""Conversion of checkpoints of other programs; ONNX files: `onnx/test_network_import.py`."""

import argparse
import collections
import datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from small_networks import randomised

from search_spaces.errors import ConfigError, DataError
from search_spaces.mmdet.config_writer import mmdet_config
from search_spaces.network.detector import build_detector
from search_spaces.network.reference_keys import reference_key
from search_spaces.zoo import load_zoo
from trials.convert import convert_model
from trials.model_file import load_model
from trials.onnx.export import export_onnx


def reference_weights(detector):
    """Return the detector's weights under the reference's names."""
    names = detector.state_dict()
    return {reference_key(n, detector.architecture): v.clone() for n, v in names.items()}


def save_checkpoint(path, weights, config=None):
    torch.save({"meta": {"config": config, "epoch": 3}, "state_dict": weights}, path)
    return path


def assert_same_weights(model, detector):
    weights = load_model(model)[1].state_dict()
    assert all(torch.equal(weights[name], v) for name, v in detector.state_dict().items())


def test_a_checkpoint_of_a_batch_norm_head_is_recognised(tmp_path):
    detector = randomised("basic")
    source = save_checkpoint(tmp_path / "m.pth", reference_weights(detector))
    done = convert_model(source, tmp_path / "m.pt")
    assert done.architecture == detector.architecture
    assert_same_weights(tmp_path / "m.pt", detector)


def test_groups_come_from_the_configuration_in_a_checkpoint(tmp_path):
    detector = randomised("mobile")
    config = mmdet_config(detector.architecture)
    source = save_checkpoint(tmp_path / "m.pth", reference_weights(detector), config)
    assert convert_model(source, tmp_path / "m.pt").architecture == detector.architecture


def test_unknown_groups_ask_for_the_architecture(tmp_path):
    detector = randomised("mobile")
    source = save_checkpoint(tmp_path / "m.pth", reference_weights(detector))
    with pytest.raises(DataError, match=r"GroupNorm groups.*--architecture"):
        convert_model(source, tmp_path / "m.pt")
    convert_model(source, tmp_path / "m.pt", detector.architecture)
    assert_same_weights(tmp_path / "m.pt", detector)


def test_groups_of_a_family_member_are_known(tmp_path):
    architecture = load_zoo("scrfd_0.5g")
    weights = reference_weights(build_detector(architecture))
    weights = {f"module.{name}": value for name, value in weights.items()}
    weights["module.bbox_head.integral.project"] = torch.arange(9.0)
    torch.save(weights, tmp_path / "m.pth")
    done = convert_model(tmp_path / "m.pth", tmp_path / "m.pt")
    assert (done.architecture, done.architecture.name) == (architecture, "scrfd_0.5g")
    assert done.ignored == ("bbox_head.integral.project",)


BIAS = "neck.fpn_convs.1.conv.bias"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda weights: weights.pop(BIAS), f"1 keys missing.*{BIAS}"),
        (lambda weights: weights.update(other=torch.ones(1)), "1 left over.*other"),
        (lambda weights: weights.update({BIAS: torch.ones(99)}), "does not fit.*neck.outputs.1"),
        (lambda weights: weights[BIAS].fill_(torch.nan), "neck.outputs.1.bias is not finite"),
        (lambda weights: weights.update(hello="world"), "'hello' is no tensor"),
        (lambda weights: weights.clear(), "no state_dict"),
    ],
    ids=["missing", "extra", "shape", "nan", "text", "empty"],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, edit, message):
    weights = reference_weights(randomised("basic"))
    edit(weights)
    source = save_checkpoint(tmp_path / "m.pth", weights)
    with pytest.raises(DataError, match=message):
        convert_model(source, tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("kind", ["onnx", "pth"])
def test_another_architecture_than_the_given_one_is_refused(tmp_path, kind):
    detector = randomised("basic")
    export_onnx(detector, tmp_path / "m.onnx")
    save_checkpoint(tmp_path / "m.pth", reference_weights(detector))
    with pytest.raises((ConfigError, DataError), match=rf"m.{kind}"):
        convert_model(tmp_path / f"m.{kind}", tmp_path / "m.pt", load_zoo("scrfd_0.5g"))
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("suffix", [".onnx", ".pth"])
@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 40], ids=len)
def test_damaged_and_missing_files_are_one_line_of_error(tmp_path, suffix, content):
    path = tmp_path / f"m{suffix}"
    with pytest.raises(DataError, match="cannot be read"):
        convert_model(path, tmp_path / "out.pt")
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"m\{suffix}: is (damaged|not)") as caught:
        convert_model(path, tmp_path / "out.pt")
    assert "\n" not in str(caught.value)


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"can convert \.onnx and \.pth files, got '\.txt'"):
        convert_model(tmp_path / "m.txt", tmp_path / "m.pt")


def test_a_checkpoint_with_code_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": {"x": torch.ones(1)}, "meta": Bomb()}, tmp_path / "m.pth")
    with pytest.raises(DataError, match="is not a SCRFD checkpoint"):
        convert_model(tmp_path / "m.pth", tmp_path / "m.pt")
    assert not (tmp_path / "ran").exists()


def test_the_released_checkpoint_is_recognised(shared_dir, tmp_path):
    source = shared_dir / "weights" / "scrfd_500m_kps_official.pth"
    done = convert_model(source, tmp_path / "m.pt")
    assert done.architecture.name == "scrfd_0.5g_kps"
    weights = torch.load(source, map_location="cpu", weights_only=True)["state_dict"]
    assert done.tensors + len(done.ignored) == len(weights)


class Config(dict):
    """As mmcv's configurations lie in checkpoints; unknown where they are loaded."""

    def __reduce__(self):
        return Config, (), {"_filename": "x.py"}


class Gadget:
    def __reduce__(self):
        return eval, ("open('executed', 'w')",)


def test_metadata_of_other_types_are_no_fault_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    detector = randomised("basic")
    meta = {
        "loss": np.float64(0.5),
        "time": datetime.datetime(2021, 5, 10),
        "path": Path("work_dirs"),
        "config": Config(a=1),
        "gadget": Gadget(),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "last": collections.deque([1, 2]),
        "arguments": argparse.Namespace(sizes=torch.Size([1, 2]), order=np.arange(3)),
    }
    content = {"meta": meta, "state_dict": reference_weights(detector), "optimizer": {"lr": 0.1}}
    torch.save(content, "m.pth")
    convert_model("m.pth", "m.pt")
    assert_same_weights("m.pt", detector)
    assert not Path("executed").exists()


def test_averaged_weights_are_taken_when_asked_for(tmp_path):
    detector, averaged = randomised("basic"), randomised("basic", seed=1)
    both = reference_weights(detector) | {
        "ema_" + name.replace(".", "_"): value
        for name, value in reference_weights(averaged).items()
    }
    source = save_checkpoint(tmp_path / "m.pth", both)
    convert_model(source, tmp_path / "live.pt")
    assert_same_weights(tmp_path / "live.pt", detector)
    convert_model(source, tmp_path / "ema.pt", ema=True)
    assert_same_weights(tmp_path / "ema.pt", averaged)
    plain = save_checkpoint(tmp_path / "plain.pth", reference_weights(detector))
    with pytest.raises(DataError, match=r"has no averaged weights \(ema_\*\); leave --ema out"):
        convert_model(plain, tmp_path / "none.pt", ema=True)


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "net", None])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module._orig_mod."])
def test_weights_are_found_under_the_usual_keys_and_wrappers(tmp_path, key, prefix):
    detector = randomised("basic")
    weights = {prefix + name: value for name, value in reference_weights(detector).items()}
    torch.save({key: weights, "epoch": 3} if key else weights, tmp_path / "m.pth")
    convert_model(tmp_path / "m.pth", tmp_path / "m.pt")
    assert_same_weights(tmp_path / "m.pt", detector)
    with pytest.raises(DataError, match=r"m\.pt: is a model file of this program already"):
        convert_model(tmp_path / "m.pt", tmp_path / "again.pt")


def test_batch_counters_may_be_missing(tmp_path):
    detector = randomised("basic")
    weights = reference_weights(detector)
    fewer = {name: v for name, v in weights.items() if not name.endswith("num_batches_tracked")}
    assert len(fewer) < len(weights)
    convert_model(save_checkpoint(tmp_path / "m.pth", fewer), tmp_path / "m.pt")
    found = load_model(tmp_path / "m.pt")[1].state_dict()
    assert all(
        torch.equal(found[n], v) for n, v in detector.state_dict().items() if "num_" not in n
    )


def test_weights_without_values_are_refused(tmp_path):
    weights = {n: v.to("meta") for n, v in reference_weights(randomised("basic")).items()}
    with pytest.raises(DataError, match=r"m\.pth: does not fit"):
        convert_model(save_checkpoint(tmp_path / "m.pth", weights), tmp_path / "m.pt")


@pytest.mark.filterwarnings("always")
def test_a_torchscript_file_is_refused_without_a_warning(tmp_path, recwarn):
    torch.jit.trace(torch.nn.Identity(), torch.zeros(1)).save(str(tmp_path / "m.pth"))
    recwarn.clear()  # those of `trace` itself
    with pytest.raises(DataError, match=r"m\.pth: is damaged or not a file of tensors"):
        convert_model(tmp_path / "m.pth", tmp_path / "m.pt")
    with pytest.raises(DataError, match=r"m\.pth: is damaged or not a file of tensors"):
        load_model(tmp_path / "m.pth")
    assert not recwarn.list


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"\x80\x02}q\x00.", b"text"])
def test_a_damaged_checkpoint_is_named_in_our_words(tmp_path, content):
    (tmp_path / "m.pth").write_bytes(content)
    with pytest.raises(DataError, match=r"m\.pth: is (damaged|not a checkpoint)") as caught:
        convert_model(tmp_path / "m.pth", tmp_path / "m.pt")
    assert "weights_only" not in str(caught.value)
