"""Models of other programs are converted whole, or refused."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from small_networks import ARCHITECTURES, noise, randomised

from search_spaces.errors import ConfigError, DataError
from search_spaces.mmdet.config_writer import mmdet_config
from search_spaces.network.detector import build_detector
from search_spaces.network.reference_keys import reference_key
from search_spaces.zoo import load_zoo
from trials.convert import convert_model
from trials.model_file import load_model
from trials.onnx.export import export_onnx, flat_outputs, onnx_bytes
from trials.onnx.network_import import unit_variance

NOISE = noise(2, 3, 76, 101)


@pytest.fixture(params=ARCHITECTURES, name="detector")
def _detector(request):
    return randomised(request.param)


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


def save_onnx(path, model):
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("shape", [None, (64, 96)])
def test_an_exported_model_converts_back(detector, tmp_path, shape):
    export_onnx(detector, tmp_path / "m.onnx", shape)
    done = convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")
    assert done.architecture == detector.architecture
    assert done.difference < 1e-5
    assert done.tensors == len(detector.state_dict())
    assert_same_outputs(tmp_path / "m.pt", detector)


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
    convert_model(save_onnx(tmp_path / "m.onnx", model), tmp_path / "m.pt")
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


def batch_norm(model):
    """A batch normalisation that was not folded into the first conv."""
    channels = model.graph.initializer[0].dims[0]
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(0.5, 1.5, channels).astype(np.float32) for name in "wbmv"}
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in values.items())
    norm = helper.make_node("BatchNormalization", ["", *"wbmv"], ["?"], epsilon=1e-3)
    insert_after(model.graph, 0, norm)


def pool_of_one(model):
    """A pool over one cell before a shortcut that keeps the size, as mmdetection has it."""
    nodes = model.graph.node
    index = next(i for i, node in enumerate(nodes) if node.op_type == "MaxPool")
    shortcut = next(
        n
        for n in nodes
        if n.op_type == "Conv"
        and n.input[0] == nodes[index].output[0]
        and n.input[1].endswith("downsample.1.weight")
    )
    shortcut.input[0] = "pooled"
    pool = helper.make_node(
        "AveragePool", [nodes[index].output[0]], ["pooled"], kernel_shape=[1, 1], strides=[1, 1]
    )
    nodes.insert(index + 1, pool)


def insert_after(graph, index, node):
    """Insert a node between `graph.node[index]` and the readers of its output."""
    before = graph.node[index]
    node.input[0], node.output[0], before.output[0] = "inner", before.output[0], "inner"
    graph.node.insert(index + 1, node)


@pytest.mark.parametrize(
    ("name", "edit"), [("basic", batch_norm), ("bottleneck", pool_of_one)], ids=["norm", "pool"]
)
def test_other_graphs_of_the_same_network_convert(tmp_path, name, edit):
    model = onnx.load_from_string(onnx_bytes(randomised(name)))
    edit(model)
    source = save_onnx(tmp_path / "m.onnx", model)
    assert convert_model(source, tmp_path / "m.pt").difference < 1e-5


def test_a_group_normalisation_in_one_node_converts(tmp_path):
    detector = randomised("bottleneck")
    model = onnx.load_from_string(onnx_bytes(detector, (64, 96)))
    model.opset_import[0].version, model.ir_version = 21, 10
    nodes = list(model.graph.node)
    for index, node in enumerate(nodes):
        if node.op_type == "InstanceNormalization":
            before, mul, add = nodes[index - 1], nodes[index + 2], nodes[index + 3]
            names = [before.input[0], mul.input[1], add.input[1]]
            norm = helper.make_node("GroupNormalization", names, add.output, num_groups=2)
            nodes[index - 1 : index + 4] = [norm]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 3:
            del tensor.dims[1:]
    convert_model(save_onnx(tmp_path / "m.onnx", model), tmp_path / "m.pt")
    assert_same_outputs(tmp_path / "m.pt", detector)


def test_the_folded_norm_divides_by_exactly_one():
    norm = torch.nn.BatchNorm2d(1).eval()
    norm.running_var.fill_(unit_variance(norm.eps))
    assert float(norm.running_var + np.float32(norm.eps)) == 1
    images = torch.randn(1, 1, 50, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(norm(images), images)


def test_a_checkpoint_of_a_batch_norm_head_is_recognised(tmp_path):
    detector = randomised("basic")
    source = save_checkpoint(tmp_path / "m.pth", reference_weights(detector))
    done = convert_model(source, tmp_path / "m.pt")
    assert done.architecture == detector.architecture
    assert_same_outputs(tmp_path / "m.pt", detector, 0)


def test_the_configuration_in_a_checkpoint_tells_the_groups(tmp_path):
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
    content = onnx_bytes(randomised("mobile"))
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
        pads.ints[:] = [0, 1, 2, 1]

    def activation_in_neck(graph):
        index = next(i for i, n in enumerate(graph.node) if "lateral" in "".join(n.input))
        insert_after(graph, index, helper.make_node("Tanh", [""], [""]))

    def other_wiring(graph):
        add = next(node for node in graph.node if node.op_type == "Add")
        add.input[1] = add.input[0]

    def other_sizes(graph):
        resize = next(node for node in graph.node if node.op_type == "Resize")
        mode = next(item for item in resize.attribute if item.name == "nearest_mode")
        mode.s = b"ceil"

    def swapped_outputs(graph):
        names = [item.name for item in graph.output]
        for item, name in zip(graph.output, names[3:6] + names[:3], strict=False):
            item.name = name

    def fewer_outputs(graph):
        del graph.output[3:]

    return [
        (extra_conv, "1 of its 39 convs lead to no output"),
        (no_relu, "node 1 is Sigmoid of 0, should be Relu of 0"),
        (computed_weight, "Relu computes 'computed' from constants"),
        (other_padding, r"node 2 is Conv .*pads=\[0, 1, 2, 1\].*should be Conv"),
        (activation_in_neck, r"node \d+ is Tanh"),
        (other_wiring, r"node \d+ is"),
        (other_sizes, "outputs differ"),
        (swapped_outputs, "is not a SCRFD network"),
        (fewer_outputs, "3 outputs, not 6 or 9|lead to no output"),
    ]


@pytest.mark.parametrize(
    ("edit", "message"), graph_edits(), ids=lambda v: getattr(v, "__name__", "")
)
def test_a_graph_that_is_no_scrfd_network_is_refused(tmp_path, edit, message):
    model = onnx.load_from_string(onnx_bytes(randomised("basic")))
    edit(model.graph)
    with pytest.raises(DataError, match=message):
        convert_model(save_onnx(tmp_path / "m.onnx", model), tmp_path / "m.pt")
    assert not (tmp_path / "m.pt").exists()


def test_weights_in_other_files_are_not_read(tmp_path):
    model = onnx.load_from_string(onnx_bytes(randomised("mobile")))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    with pytest.raises(DataError, match=r"m\.onnx"):
        convert_model(save_onnx(tmp_path / "m.onnx", model), tmp_path / "m.pt")


def test_a_checkpoint_with_code_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": {"x": torch.ones(1)}, "meta": Bomb()}, tmp_path / "m.pth")
    with pytest.raises(DataError, match="damaged or not a file of tensors"):
        convert_model(tmp_path / "m.pth", tmp_path / "m.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["scrfd_0.5g", "scrfd_2.5g", "scrfd_2.5g_kps"])
def test_released_onnx_files_are_recognised(shared_dir, tmp_path, name):
    done = convert_model(shared_dir / "weights" / f"{name}.onnx", tmp_path / "m.pt")
    assert (done.architecture.name, done.architecture) == (name, load_zoo(name))
    assert done.difference < 1e-5


def test_names_of_outputs_do_not_matter(shared_dir, tmp_path):
    source = shared_dir / "cases" / "onnx" / "numbered.onnx"
    assert convert_model(source, tmp_path / "m.pt").architecture.name == "scrfd_0.5g"


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
