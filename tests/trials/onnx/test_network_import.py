"""Architecture and weights of ONNX files: any graph of the network, and no other."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from small_networks import ARCHITECTURES, noise, randomised

from search_spaces.errors import DataError
from search_spaces.zoo import load_zoo
from trials.convert import convert_model
from trials.model_file import load_model
from trials.onnx.export import export_onnx, flat_outputs, onnx_bytes
from trials.onnx.network_import import unit_variance


@pytest.fixture(params=ARCHITECTURES, name="detector")
def _detector(request):
    return randomised(request.param)


def exported(detector, shape=None):
    return onnx.load_from_string(onnx_bytes(detector, shape))


def convert(model, tmp_path):
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    return convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")


def assert_same_outputs(model, detector):
    images = noise(2, 3, 76, 101)
    found = flat_outputs(load_model(model)[1], images)
    for got, wanted in zip(found, flat_outputs(detector, images), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [None, (64, 96)])
def test_an_exported_model_converts_back(detector, tmp_path, shape):
    export_onnx(detector, tmp_path / "m.onnx", shape)
    done = convert_model(tmp_path / "m.onnx", tmp_path / "m.pt")
    assert done.architecture == detector.architecture
    assert done.difference < 1e-5
    assert done.tensors == len(detector.state_dict())
    assert_same_outputs(tmp_path / "m.pt", detector)


def test_names_and_order_of_nodes_do_not_matter(detector, tmp_path):
    model = exported(detector)
    names = {}
    for node in model.graph.node:
        for items in (node.input, node.output):
            items[:] = [names.setdefault(item, f"t{len(names)}") if item else "" for item in items]
    for item in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        item.name = names.setdefault(item.name, f"t{len(names)}")
    nodes = late_first(list(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    convert(model, tmp_path)
    assert_same_outputs(tmp_path / "m.pt", detector)


def late_first(nodes):
    """Return the nodes such that every one comes after all readers of its outputs."""
    placed = []
    while nodes:
        needed = {name for node in nodes for name in node.input}
        placed += [node for node in nodes if needed.isdisjoint(node.output)]
        nodes = [node for node in nodes if not needed.isdisjoint(node.output)]
    return placed


def insert_after(graph, index, node):
    """Insert a node between `graph.node[index]` and the readers of its output."""
    before = graph.node[index]
    node.input[0], node.output[0], before.output[0] = "inner", before.output[0], "inner"
    graph.node.insert(index + 1, node)


def test_a_batch_normalisation_that_was_not_folded_converts(tmp_path):
    model, rng = exported(randomised("basic")), np.random.default_rng(0)
    channels = model.graph.initializer[0].dims[0]
    for name in "wbmv":
        values = rng.uniform(0.5, 1.5, channels).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    norm = helper.make_node("BatchNormalization", ["", *"wbmv"], [""], epsilon=1e-3)
    insert_after(model.graph, 0, norm)
    assert convert(model, tmp_path).difference < 1e-5


def test_weights_of_half_precision_that_are_cast_convert(tmp_path):
    model = exported(randomised("basic"))
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4)
    half = numpy_helper.to_array(weight).astype(np.float16)
    name = weight.name
    weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
    cast = helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT)
    model.graph.node.insert(0, cast)
    assert convert(model, tmp_path).difference < 1e-5


def test_a_pool_over_one_cell_as_of_mmdetection_converts(tmp_path):
    model = exported(randomised("bottleneck"))
    nodes = list(model.graph.node)
    index, pool = next((i, n) for i, n in enumerate(nodes) if n.op_type == "MaxPool")
    readers = [n for n in nodes if pool.output[0] in n.input and "downsample" in n.input[1]]
    readers[0].input[0] = "pooled"
    sizes = {"kernel_shape": [1, 1], "strides": [1, 1]}
    one = helper.make_node("AveragePool", pool.output, ["pooled"], **sizes)
    model.graph.node.insert(index + 1, one)
    assert convert(model, tmp_path).difference < 1e-5


def test_a_group_normalisation_in_one_node_converts(tmp_path):
    detector = randomised("bottleneck")
    model = exported(detector, (64, 96))
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
    convert(model, tmp_path)
    assert_same_outputs(tmp_path / "m.pt", detector)


def test_the_folded_norm_divides_by_exactly_one():
    norm = torch.nn.BatchNorm2d(1).eval()
    norm.running_var.fill_(unit_variance(norm.eps))
    assert float(norm.running_var + np.float32(norm.eps)) == 1
    images = torch.randn(1, 1, 50, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(norm(images), images)


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
        others = dict(zip(names, names[3:6] + names[:3], strict=False))
        for node in graph.node:
            node.output[:] = [others.get(name, name) for name in node.output]

    def huge_neck(graph):
        weight = next(t for t in graph.initializer if "lateral_convs.2.conv.weight" in t.name)
        array = np.zeros((4096, weight.dims[1], 1, 1), np.float32)
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

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
        (huge_neck, "weights for a network of .* parameters"),
        (fewer_outputs, "lead to no output"),
    ]


@pytest.mark.parametrize(
    ("edit", "message"), graph_edits(), ids=lambda v: getattr(v, "__name__", "")
)
def test_a_graph_that_is_no_scrfd_network_is_refused(tmp_path, edit, message):
    model = exported(randomised("basic"))
    edit(model.graph)
    with pytest.raises(DataError, match=message):
        convert(model, tmp_path)
    assert not (tmp_path / "m.pt").exists()


@pytest.mark.parametrize("is_numbered", [False, True])
def test_outputs_may_be_grouped_by_level_and_others_added(tmp_path, is_numbered):
    detector = randomised("basic")
    model = exported(detector)
    outputs = list(model.graph.output)
    if is_numbered:
        names = {item.name: str(9000 + number) for number, item in enumerate(outputs)}
        for node in model.graph.node:
            node.output[:] = [names.get(name, name) for name in node.output]
        for item in outputs:
            item.name = names[item.name]
    by_level = [outputs[kind * 3 + level] for level in range(3) for kind in range(3)]
    name = model.graph.node[1].output[0]
    feature = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["a", "b", "c", "d"])
    del model.graph.output[:]
    model.graph.output.extend([*by_level, feature])
    assert convert(model, tmp_path).difference < 1e-5
    assert_same_outputs(tmp_path / "m.pt", detector)


@pytest.mark.parametrize(
    ("name", "file"),
    [(name, f"weights/{name}.onnx") for name in ("scrfd_0.5g", "scrfd_2.5g", "scrfd_2.5g_kps")]
    + [("scrfd_0.5g", "cases/onnx/numbered.onnx")],  # outputs of other names
)
def test_released_onnx_files_are_recognised(shared_dir, tmp_path, name, file):
    done = convert_model(shared_dir / file, tmp_path / "m.pt")
    assert (done.architecture.name, done.architecture) == (name, load_zoo(name))
    assert done.difference < 1e-5
