"""Models of other programs become ours: every weight in its place, or an error."""

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.errors import ConfigError, DataError
from search_spaces.mmdet.config_writer import mmdet_config
from search_spaces.network.detector import build_detector
from search_spaces.network.reference_keys import reference_key
from search_spaces.zoo import load_zoo
from trials.convert import convert_model
from trials.model_file import load_model
from trials.onnx.export import export_onnx, flat_outputs, onnx_bytes
from trials.onnx.walk import unit_variance

STAGES = {"depths": (1, 2, 1, 1), "widths": (8, 8, 16, 16)}
ARCHITECTURES = {
    "mobile": Architecture(
        backbone=Backbone(block="depthwise", stem_widths=(8, 16), **STAGES),
        neck=Neck(width=8),
        head=Head(convs=2, width=16, depthwise=True, groups=4),
    ),
    "basic": Architecture(
        backbone=Backbone(block="basic", stem_widths=(8,), **STAGES),
        neck=Neck(width=8),
        head=Head(convs=1, width=16, norm="batch", shared=False, keypoints=5),
    ),
    "bottleneck": Architecture(
        backbone=Backbone(block="bottleneck", stem_widths=(8,), **STAGES),
        neck=Neck(width=24),
        head=Head(convs=3, width=16, groups=2, level_scales=False),
    ),
}
NOISE = torch.randn(2, 3, 76, 101, generator=torch.Generator().manual_seed(7))


def randomised(architecture, seed=0):
    """A detector none of whose numbers is at a neutral value."""
    detector = build_detector(architecture).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, value in detector.state_dict().items():
        if "running_var" in name or "scale" in name or (".norm." in name and "weight" in name):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.is_floating_point():
            fan_in = max(1, value[0].numel()) if value.ndim == 4 else 25
            value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
    return detector


@pytest.fixture(params=ARCHITECTURES, name="detector")
def _detector(request):
    return randomised(ARCHITECTURES[request.param])


def reference_weights(detector):
    """The detector's weights as the reference names them."""
    names = detector.state_dict()
    return {reference_key(n, detector.architecture): v.clone() for n, v in names.items()}


def save_checkpoint(path, weights, config=None):
    torch.save({"meta": {"config": config, "epoch": 3}, "state_dict": weights}, path)
    return path


def assert_same_outputs(model, detector, tolerance=1e-4):
    _, loaded = load_model(model)
    pairs = zip(flat_outputs(loaded, NOISE), flat_outputs(detector, NOISE), strict=True)
    for got, wanted in pairs:
        torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


def test_an_exported_model_converts_back(detector, tmp_path):
    export_onnx(detector, tmp_path / "m.onnx")
    done = convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")
    assert done.architecture == detector.architecture
    assert done.difference < 1e-5
    assert done.tensors == len(detector.state_dict())
    assert_same_outputs(tmp_path / "m.pt", detector)


def test_a_file_of_one_fixed_size_converts(detector, tmp_path):
    export_onnx(detector, tmp_path / "m.onnx", (64, 96))
    done = convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")
    assert done.architecture == detector.architecture


def test_names_and_order_of_nodes_do_not_matter(detector, tmp_path):
    model = onnx.load_from_string(onnx_bytes(detector))
    names = {}

    def renamed(items, shuffle=False):
        changed = [names.setdefault(item, f"t{len(names)}") if item else "" for item in items]
        del items[:]
        items.extend(changed)

    for node in model.graph.node:
        renamed(node.input)
        renamed(node.output)
    for item in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        item.name = names.setdefault(item.name, f"t{len(names)}")
    reorder(model.graph)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")
    assert_same_outputs(tmp_path / "m.pt", detector)


def reorder(graph):
    """Put nodes into another valid order: whatever can come late comes late."""
    waiting = list(graph.node)
    needed = [name for node in waiting for name in node.input]
    placed = []
    while waiting:
        ready = [n for n in waiting if not any(name in needed for name in n.output)]
        last = ready[0]
        waiting.remove(last)
        for name in last.input:
            needed.remove(name)
        placed.append(last)
    del graph.node[:]
    graph.node.extend(reversed(placed))


def test_batch_norm_nodes_that_were_not_folded_are_mapped(tmp_path):
    detector = randomised(ARCHITECTURES["basic"])
    model = onnx.load_from_string(onnx_bytes(detector))
    conv, channels = model.graph.node[0], detector.backbone.stem[0].conv.out_channels
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(0.5, 1.5, channels).astype(np.float32) for name in "wbmv"}
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in values.items())
    output = conv.output[0]
    conv.output[0] = "before"
    norm = helper.make_node("BatchNormalization", ["before", *"wbmv"], [output], epsilon=1e-3)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([nodes[0], norm, *nodes[1:]])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert convert_model(tmp_path / "m.onnx", tmp_path / "m.pt").difference < 1e-5


def test_the_folded_norm_divides_by_exactly_one():
    norm = torch.nn.BatchNorm2d(1).eval()
    norm.running_var.fill_(float(unit_variance()))
    assert float(norm.running_var + np.float32(norm.eps)) == 1
    images = torch.randn(1, 1, 50, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(norm(images), images)


def test_a_checkpoint_of_a_batch_norm_head_is_recognised(tmp_path):
    detector = randomised(ARCHITECTURES["basic"])
    source = save_checkpoint(tmp_path / "m.pth", reference_weights(detector))
    done = convert_model(source, tmp_path / "m.pt")
    assert done.architecture == detector.architecture
    assert_same_outputs(tmp_path / "m.pt", detector, 0)


def test_the_configuration_in_a_checkpoint_tells_the_groups(tmp_path):
    detector = randomised(ARCHITECTURES["mobile"])
    config = mmdet_config(detector.architecture)
    source = save_checkpoint(tmp_path / "m.pth", reference_weights(detector), config)
    assert convert_model(source, tmp_path / "m.pt").architecture == detector.architecture


def test_unknown_groups_ask_for_the_architecture(tmp_path):
    detector = randomised(ARCHITECTURES["mobile"])
    source = save_checkpoint(tmp_path / "m.pth", reference_weights(detector))
    with pytest.raises(DataError, match=r"GroupNorm groups.*--architecture"):
        convert_model(source, tmp_path / "m.pt")
    convert_model(source, tmp_path / "m.pt", detector.architecture)
    assert_same_outputs(tmp_path / "m.pt", detector, 0)


def test_groups_of_a_family_member_are_known(tmp_path):
    architecture = load_zoo("scrfd_0.5g")
    weights = reference_weights(build_detector(architecture))
    weights = {f"module.{name}": value for name, value in weights.items()}
    weights["module.bbox_head.integral.project"] = torch.arange(9.0)
    torch.save(weights, tmp_path / "m.pth")
    done = convert_model(tmp_path / "m.pth", tmp_path / "m.pt")
    assert (done.architecture, done.architecture.name) == (architecture, "scrfd_0.5g")
    assert done.ignored == ("bbox_head.integral.project",)


def edits():
    def drop(weights):
        del weights["neck.fpn_convs.1.conv.bias"]

    def extra(weights):
        weights["bbox_head.reg_stride_convs.0.0.conv.weight"] = torch.ones(1)

    def widen(weights):
        weights["neck.fpn_convs.1.conv.bias"] = torch.ones(99)

    def spoil(weights):
        weights["neck.fpn_convs.1.conv.bias"][0] = float("nan")

    def name(weights):
        weights["hello"] = "world"

    def clear(weights):
        weights.clear()

    return [
        (drop, "1 keys missing.*fpn_convs.1.conv.bias"),
        (extra, "1 left over.*reg_stride_convs"),
        (widen, "does not fit.*neck.outputs.1.bias"),
        (spoil, "neck.outputs.1.bias is not finite"),
        (name, "'hello' is no tensor"),
        (clear, "no state_dict"),
    ]


@pytest.mark.parametrize(("edit", "message"), edits(), ids=lambda v: getattr(v, "__name__", ""))
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, edit, message):
    weights = reference_weights(randomised(ARCHITECTURES["basic"]))
    edit(weights)
    source = save_checkpoint(tmp_path / "m.pth", weights)
    with pytest.raises(DataError, match=message):
        convert_model(source, tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("kind", ["onnx", "pth"])
def test_another_architecture_than_the_given_one_is_refused(tmp_path, kind):
    detector = randomised(ARCHITECTURES["basic"])
    export_onnx(detector, tmp_path / "m.onnx")
    save_checkpoint(tmp_path / "m.pth", reference_weights(detector))
    with pytest.raises((ConfigError, DataError), match=rf"m.{kind}"):
        convert_model(tmp_path / f"m.{kind}", tmp_path / "m.pt", load_zoo("scrfd_0.5g"))
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("suffix", [".onnx", ".pth"])
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 100, b"hello world", bytes(range(256)) * 40], ids=len
)
def test_damaged_files_are_one_line_of_error(tmp_path, suffix, content):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"m\{suffix}: is (damaged|not)") as caught:
        convert_model(path, tmp_path / "out.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.99])
def test_truncated_onnx_files_are_refused(tmp_path, fraction):
    content = onnx_bytes(randomised(ARCHITECTURES["mobile"]))
    (tmp_path / "m.onnx").write_bytes(content[: int(len(content) * fraction)])
    with pytest.raises(DataError, match=r"m\.onnx: is (damaged|not)"):
        convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["missing.onnx", "missing.pth"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(DataError, match="cannot be read"):
        convert_model(tmp_path / name, tmp_path / "m.pt")


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"can convert \.onnx and \.pth files, got '\.txt'"):
        convert_model(tmp_path / "m.txt", tmp_path / "m.pt")


def graph_edits():
    def extra_conv(graph):
        weight = numpy_helper.from_array(np.ones((1, 8, 1, 1), np.float32), "w")
        graph.initializer.append(weight)
        source = graph.node[1].output[0]
        graph.node.append(helper.make_node("Conv", [source, "w"], ["extra"]))

    def no_relu(graph):
        graph.node[1].op_type = "Sigmoid"

    def computed_weight(graph):
        name = graph.node[0].input[1]
        graph.node.insert(0, helper.make_node("Relu", [name], ["computed"]))
        graph.node[1].input[1] = "computed"

    def other_padding(graph):
        pads = next(item for item in graph.node[2].attribute if item.name == "pads")
        del pads.ints[:]
        pads.ints.extend([0, 1, 2, 1])

    def activation_in_neck(graph):
        first = next(i for i, n in enumerate(graph.node) if "lateral" in "".join(n.input))
        lateral = graph.node[first]
        output = lateral.output[0]
        lateral.output[0] = "inner"
        graph.node.insert(first + 1, helper.make_node("Tanh", ["inner"], [output]))

    return [
        (extra_conv, "1 of its .* convs have no place|should be one conv"),
        (no_relu, "should be one conv, found 0"),
        (computed_weight, "is not a constant"),
        (other_padding, "outputs differ|cannot be run"),
        (activation_in_neck, "enters 0 sums|found 0|outputs differ"),
    ]


@pytest.mark.parametrize(
    ("edit", "message"), graph_edits(), ids=lambda v: getattr(v, "__name__", "")
)
def test_a_graph_that_is_no_scrfd_network_is_refused(tmp_path, edit, message):
    model = onnx.load_from_string(onnx_bytes(randomised(ARCHITECTURES["basic"])))
    edit(model.graph)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=message):
        convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()


def test_weights_in_other_files_are_not_read(tmp_path):
    model = onnx.load_from_string(onnx_bytes(randomised(ARCHITECTURES["mobile"])))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match=r"m\.onnx"):
        convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")


def test_a_checkpoint_with_code_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": {"x": torch.ones(1)}, "meta": Bomb()}, tmp_path / "m.pth")
    with pytest.raises(DataError, match="damaged or not a file of tensors"):
        convert_model(tmp_path / "m.pth", tmp_path / "m.pt")
    assert not (tmp_path / "ran").exists()


def test_a_missing_package_is_named_with_its_remedy(tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ConfigError, match=r"pip install 'scrfd-nas\[onnx\]'"):
        convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["scrfd_0.5g", "scrfd_2.5g", "scrfd_2.5g_kps"])
def test_released_onnx_files_are_recognised(shared_dir, tmp_path, name):
    done = convert_model(shared_dir / "weights" / f"{name}.onnx", tmp_path / "m.pt")
    assert (done.architecture.name, done.architecture) == (name, load_zoo(name))
    assert done.difference < 1e-5


def test_the_released_checkpoint_is_recognised(shared_dir, tmp_path):
    source = shared_dir / "weights" / "scrfd_500m_kps_official.pth"
    done = convert_model(source, tmp_path / "m.pt")
    assert done.architecture.name == "scrfd_0.5g_kps"
    weights = torch.load(source, map_location="cpu", weights_only=True)["state_dict"]
    assert done.tensors + len(done.ignored) == len(weights)


@pytest.mark.parametrize(
    ("golden", "name"),
    [("2.5g", "scrfd_2.5g"), ("500m", "scrfd_0.5g"), ("2.5g_bnkps", "scrfd_2.5g_kps")],
)
def test_the_references_weights_give_its_outputs(golden_dir, tmp_path, golden, name):
    with np.load(golden_dir / f"forward_scrfd_{golden}_weights.npz") as file:
        weights = {key: torch.from_numpy(np.array(file[key])) for key in file.files}
    source = save_checkpoint(tmp_path / "m.pth", weights)
    assert convert_model(source, tmp_path / "m.pt").architecture.name == name
    _, detector = load_model(tmp_path / "m.pt")
    with np.load(golden_dir / f"forward_scrfd_{golden}.npz") as file, torch.inference_mode():
        outputs = detector(torch.from_numpy(file["b_input"]))
        for level, stride in enumerate((8, 16, 32)):
            wanted = file[f"b_cls_s{stride}"]
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(outputs.scores[level].numpy(), wanted, atol=1e-5 * scale)
