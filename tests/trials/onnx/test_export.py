"""Exported ONNX files compute what the network does, in any size and batch."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from small_networks import ARCHITECTURES, noise, randomised, unchanged

from search_spaces.errors import ConfigError, TrialError
from trials.onnx.export import export_onnx, flat_outputs, onnx_bytes


@pytest.fixture(params=ARCHITECTURES, name="detector")
def _detector(request):
    return randomised(request.param)


def run(path, images_B3HW):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"input.1": images_B3HW.numpy()})


def test_any_size_and_batch_agree_with_torch(detector, tmp_path):
    assert export_onnx(detector, tmp_path / "m.onnx") < 1e-5
    for shape in ((1, 3, 64, 64), (3, 3, 96, 32), (2, 3, 76, 101)):
        images = noise(*shape)
        wanted = flat_outputs(detector, images)
        for got, values in zip(run(tmp_path / "m.onnx", images), wanted, strict=True):
            np.testing.assert_allclose(got, values.numpy(), rtol=1e-4, atol=1e-5)


def test_names_and_sizes_are_those_of_the_reference(tmp_path):
    export_onnx(randomised("basic"), tmp_path / "m.onnx")
    assert [item.version for item in onnx.load(tmp_path / "m.onnx").opset_import] == [11]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    image = session.get_inputs()[0]
    assert (image.name, image.shape) == ("input.1", ["batch", 3, "height", "width"])
    names = [f"{kind}_{s}" for kind in ("score", "bbox", "kps") for s in (8, 16, 32)]
    assert [output.name for output in session.get_outputs()] == names
    outputs = run(tmp_path / "m.onnx", noise(2, 3, 64, 96))
    cells = [8 * 12, 4 * 6, 2 * 3]
    shapes = [(2, 2 * n, values) for values in (1, 4, 10) for n in cells]
    assert [output.shape for output in outputs] == shapes
    assert all(scores.min() > 0 and scores.max() < 1 for scores in outputs[:3])


def test_a_fixed_shape_computes_no_shapes_and_keeps_the_batch_open(detector, tmp_path):
    export_onnx(detector, tmp_path / "m.onnx", (64, 96))
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert not {node.op_type for node in graph.node} & {"Shape", "Gather", "Slice"}
    assert run(tmp_path / "m.onnx", noise(3, 3, 64, 96))[0].shape == (3, 192, 1)


@pytest.mark.parametrize("shape", [(64, 100), (0, 64), (-32, 64), (64, 8224), (64,)])
def test_a_fixed_shape_must_be_of_whole_cells(tmp_path, shape):
    with pytest.raises(ConfigError, match="multiples of 32"):
        export_onnx(randomised("mobile"), tmp_path / "m.onnx", shape)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_numbers_are_not_exported(tmp_path):
    detector = randomised("mobile")
    with torch.no_grad():
        detector.neck.laterals[0].weight[0] = float("nan")
    (tmp_path / "m.onnx").write_text("the old file")
    with pytest.raises(TrialError, match="was not written"):
        export_onnx(detector, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_text() == "the old file"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_detector_stays_unchanged(tmp_path):
    detector = randomised("mobile").train()
    with unchanged(detector):
        export_onnx(detector, tmp_path / "m.onnx")


@pytest.mark.parametrize("shape", [None, (96, 64)])
def test_opencv_runs_the_file(detector, tmp_path, shape):
    path = tmp_path / "m.onnx"
    path.write_bytes(onnx_bytes(detector, shape))
    network = cv2.dnn.readNetFromONNX(str(path))
    images = noise(2, 3, 96, 64)
    wanted = flat_outputs(detector, images)
    network.setInput(images.numpy())
    kinds = ("score", "bbox", "kps")[: len(wanted) // 3]
    outputs = network.forward([f"{kind}_{s}" for kind in kinds for s in (8, 16, 32)])
    for got, values in zip(outputs, wanted, strict=True):
        np.testing.assert_allclose(got, values.numpy(), rtol=1e-3, atol=1e-4)
