"""Writing a detector as an ONNX graph, from its trace.

The graph uses operations of opset 11 that onnxruntime and OpenCV's dnn module both run with
sizes unknown in advance. Batch normalisation is folded into the convs. A GroupNorm becomes
an InstanceNormalization between two reshapes that copy the batch and the width from their
input, so that no shape has to be computed.

Shapes: B images, G groups, C channels, H x W cells.
"""

import copy
import operator
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch.nn.functional as F
from torch import Tensor, fx, nn

from search_spaces.network.detector import Detector
from search_spaces.network.head import ANCHORS, HeadOutputs
from search_spaces.network.reference_keys import reference_key
from trials.detection.anchors import STRIDES
from trials.detection.folding import folded

OPSET = 11
IR_VERSION = 6
INPUT = "input.1"
VALUES = {"score": 1, "bbox": 4, "kps": 10}
"""Kinds of outputs (`score_8`, `bbox_8`, ...) and how many values an anchor has in each."""

_INT64 = 7  # onnx.TensorProto.INT64
Array = npt.NDArray[Any]


def build_model(detector: Detector, shape: tuple[int, int] | None = None) -> Any:
    """Return the detector as an onnx `ModelProto`, checked by onnx.

    Args:
        detector: its weights are copied.
        shape: height and width of the input, multiples of 32; None leaves both open. The
            number of images is always open.
    """
    network = folded(copy.deepcopy(detector).double())
    writer = _Writer(network, shape)
    for node in fx.Tracer().trace(network).nodes:
        writer.translate(node)
    return writer.model()


class _Writer:
    """Nodes and weights of a graph under construction; tensors are known by name."""

    def __init__(self, network: nn.Module, shape: tuple[int, int] | None) -> None:
        self.network = network
        self.shape = shape
        self.nodes: list[Any] = []
        self.weights: dict[str, Array] = {}
        self.outputs: list[str] = []
        self.tensors: dict[Any, str] = {}  # of each node of the trace

    def translate(self, node: fx.Node) -> None:
        """Add the nodes for one operation of the trace."""
        inputs = [self.tensors.get(item, "") for item in node.args if isinstance(item, fx.Node)]
        if node.op == "placeholder":
            self.tensors[node] = INPUT
        elif node.op == "get_attr":
            self.tensors[node] = self.parameter(str(node.target))
        elif node.op == "call_module":
            self.tensors[node] = self.module(str(node.target), inputs[0])
        elif node.target is HeadOutputs:
            self.heads(node.args)
        elif node.target is F.interpolate:
            self.tensors[node] = self.upsample(inputs[0], self.tensors[_sized_as(node)])
        elif node.target in (operator.add, operator.mul):
            operation = "Add" if node.target is operator.add else "Mul"
            self.tensors[node] = self.add(operation, inputs)

    def add(self, operation: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        from onnx.helper import make_node

        output = name or f"{operation}_{len(self.nodes)}"
        self.nodes.append(make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, value: Array) -> str:
        """Add an initializer unless there is one of this name, and return its name."""
        self.weights.setdefault(name, value)
        return name

    def parameter(self, name: str, extra_axes: int = 0) -> str:
        """Add a parameter of the network under the reference's name."""
        values: Tensor = operator.attrgetter(name)(self.network)
        array = np.ascontiguousarray(values.detach().cpu().float().numpy())
        shaped = array.reshape(array.shape + (1,) * extra_axes)
        return self.weight(reference_key(name, self.network.architecture), shaped)  # type: ignore[arg-type]

    def integers(self, *values: int) -> str:
        """Add an initializer of int64 values."""
        return self.weight(f"int_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def constant(self, value: Array) -> str:
        """Add a constant node."""
        from onnx.numpy_helper import from_array

        return self.add("Constant", [], value=from_array(value))

    def module(self, name: str, x: str) -> str:
        """Add a layer of torch."""
        match module := self.network.get_submodule(name):
            case nn.Conv2d():
                return self.conv(name, module, x)
            case nn.GroupNorm():
                return self.group_norm(name, module, x)
            case nn.ReLU():
                return self.add("Relu", [x])
            case nn.MaxPool2d():
                return self.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
            case nn.AvgPool2d():
                side = [int(module.stride)] * 2  # type: ignore[arg-type]
                return self.add("AveragePool", [x], kernel_shape=side, strides=side, ceil_mode=1)
            case nn.Identity():
                return x
        raise TypeError(f"a detector has no {type(module).__name__}")

    def conv(self, name: str, conv: nn.Conv2d, x: str) -> str:
        """Add a conv, with a bias if it has one."""
        tensors = ["weight", "bias"] if conv.bias is not None else ["weight"]
        return self.add(
            "Conv",
            [x, *(self.parameter(f"{name}.{tensor}") for tensor in tensors)],
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[int(conv.padding[0])] * 4,
            dilations=[1, 1],
            group=conv.groups,
        )

    def group_norm(self, name: str, norm: nn.GroupNorm, x: str) -> str:
        """Normalise (B, C, H, W) as (B, G, C/G H, W); then apply weight and bias."""
        groups, channels = norm.num_groups, norm.num_channels
        ones = self.weight(f"ones_{groups}", np.ones(groups, np.float32))
        zeros = self.weight(f"zeros_{groups}", np.zeros(groups, np.float32))
        x = self.add("Reshape", [x, self.integers(0, groups, -1, 0)])
        x = self.add("InstanceNormalization", [x, ones, zeros], epsilon=norm.eps)
        x = self.add("Reshape", [x, self.integers(0, channels, -1, 0)])
        x = self.add("Mul", [x, self.parameter(f"{name}.weight", extra_axes=2)])
        return self.add("Add", [x, self.parameter(f"{name}.bias", extra_axes=2)])

    def upsample(self, x: str, like: str) -> str:
        """Upsample `x` to the height and width of `like`, to the nearest."""
        nothing = self.constant(np.zeros(0, np.float32))
        if self.shape is not None:
            inputs = [x, nothing, self.constant(np.array([1, 1, 2, 2], np.float32))]
        else:
            inputs = [x, nothing, self.constant(np.zeros(0, np.float32)), self.size(x, like)]
        settings = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.add("Resize", inputs, mode="nearest", **settings)

    def size(self, x: str, like: str) -> str:
        """Return (B, C) of `x` and (H, W) of `like` as a vector of int64.

        This chain of nodes, with its constants as nodes, is the only one that OpenCV 4
        accepts for sizes that are not known in advance.
        """
        sides = []
        for axis in (2, 3):
            side = self.add("Shape", [like])
            side = self.add("Gather", [side, self.constant(np.array(axis))], axis=0)
            sides.append(self.add("Unsqueeze", [side], axes=[0]))
        wanted = self.add("Concat", sides, axis=0)
        zero, start, end = (self.constant(np.array([value])) for value in (0, 0, 2))
        own = self.add("Slice", [self.add("Shape", [x]), start, end, zero])
        return self.add("Concat", [own, self.add("Cast", [wanted], to=_INT64)], axis=0)

    def heads(self, predictions: Sequence[Any]) -> None:
        """Reshape each (B, 2 values, H, W) to (B, 2 H W, values), and name the outputs."""
        for (kind, values), levels in zip(VALUES.items(), predictions, strict=True):
            for stride, level in zip(STRIDES, levels or (), strict=False):
                name = f"{kind}_{stride}"
                x = self.add("Transpose", [self.tensors[level]], perm=[0, 2, 3, 1])
                is_score = kind == "score"
                x = self.add("Reshape", [x, self.integers(0, -1, values)], "" if is_score else name)
                if is_score:
                    self.add("Sigmoid", [x], name)
                self.outputs.append(name)

    def model(self) -> Any:
        """Return the finished model. Raises onnx's own error if it is not valid."""
        from onnx import TensorProto, checker, helper, numpy_helper

        height, width = self.shape or ("height", "width")
        info = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
        image = info(INPUT, shape=["batch", 3, height, width])
        outputs = [info(name, shape=["batch", *self.output_shape(name)]) for name in self.outputs]
        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "scrfd", [image], outputs, weights)
        opset = helper.make_operatorsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="scrfd-nas"
        )
        checker.check_model(model)
        return model

    def output_shape(self, name: str) -> tuple[int | str, int]:
        """Return anchors and values of an output; anchors by a name where the size is open."""
        kind, _, stride = name.partition("_")
        if self.shape is None:
            return f"anchors_{stride}", VALUES[kind]
        rows, columns = (side // int(stride) for side in self.shape)
        return ANCHORS * rows * columns, VALUES[kind]


def _sized_as(interpolate: fx.Node) -> Any:
    """Return the node of the trace whose height and width an interpolation takes."""
    sides: Any = interpolate.kwargs["size"]  # x.shape[-2:]
    return sides.args[0].args[0]
