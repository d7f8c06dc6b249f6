"""ONNX files as a function from images to head outputs, whatever their outputs are called."""

import onnx
import pytest
import torch
from small_networks import noise, randomised

from search_spaces.errors import DataError
from trials.onnx.export import export_onnx
from trials.onnx.runtime import OnnxDetector


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "named.onnx"
    export_onnx(randomised("basic"), path)
    return path


def renamed(path, target, order, *, forget_shapes=False):
    """The file with numbered outputs in another order."""
    model = onnx.load(path)
    names = {output.name: str(440 + n) for n, output in enumerate(model.graph.output)}
    for node in model.graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]
        node.input[:] = [names.get(name, name) for name in node.input]
    outputs = [model.graph.output[n] for n in order]
    for output in outputs:
        output.name = names[output.name]
        if forget_shapes:
            output.type.tensor_type.ClearField("shape")
    copies = [onnx.ValueInfoProto.FromString(output.SerializeToString()) for output in outputs]
    del model.graph.output[:]
    model.graph.output.extend(copies)
    onnx.save(model, target)
    return target


@pytest.mark.parametrize(
    ("order", "forget_shapes"),
    [(range(9), False), ((0, 3, 6, 1, 4, 7, 2, 5, 8), False), (range(8, -1, -1), False)],
)
def test_numbered_outputs_are_recognised_by_their_shapes(exported, tmp_path, order, forget_shapes):
    path = renamed(exported, tmp_path / "n.onnx", order, forget_shapes=forget_shapes)
    images = noise(1, 3, 64, 96)
    expected, found = OnnxDetector(exported)(images), OnnxDetector(path)(images)
    for name in ("scores", "boxes", "keypoints"):
        pairs = zip(getattr(expected, name), getattr(found, name), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)


def test_messages_of_onnxruntime_have_no_places_in_its_source(exported, tmp_path):
    model = onnx.load(exported)
    model.ir_version = 99
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(DataError, match=r"new\.onnx: cannot be opened by onnxruntime \(Unsupp.*99"):
        OnnxDetector(tmp_path / "new.onnx")


def test_outputs_of_another_network_are_refused_with_their_shapes(exported, tmp_path):
    path = renamed(exported, tmp_path / "n.onnx", range(5))
    with pytest.raises(DataError, match=r"is not a SCRFD model \(outputs of 1, 4 and maybe 10"):
        OnnxDetector(path)
