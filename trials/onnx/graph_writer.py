"""Writing a detector as an ONNX graph.

The graph uses operations of opset 11 that onnxruntime and OpenCV's dnn module both run with
sizes unknown in advance. Batch normalisation is folded into the convs. A GroupNorm becomes
an InstanceNormalization between two reshapes that copy the batch and the width from their
input, so that no shape has to be computed.

Shapes: B images, G groups, C channels, H x W cells.
"""

from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from search_spaces.network.backbone import Backbone
from search_spaces.network.detector import Detector
from search_spaces.network.head import ANCHORS, Head
from search_spaces.network.layers import ConvUnit, ResidualBlock, SeparableUnit, Shortcut
from search_spaces.network.neck import PAFPN
from search_spaces.network.reference_keys import reference_key
from trials.detection.anchors import STRIDES

OPSET = 11
IR_VERSION = 6
INPUT = "input.1"
_INT64 = 7  # onnx.TensorProto.INT64
Array = npt.NDArray[Any]


def output_names(detector: Detector) -> list[str]:
    """Return the names of the graph's outputs, in order."""
    kinds = ("score", "bbox", "kps") if len(detector.head.keypoints) else ("score", "bbox")
    return [f"{kind}_{stride}" for kind in kinds for stride in STRIDES]


def build_model(detector: Detector, shape: tuple[int, int] | None = None) -> Any:
    """Return the detector as an onnx `ModelProto`, checked by onnx.

    Args:
        detector: in evaluation mode; its weights are copied.
        shape: height and width of the input; None leaves both open. The number of images is
            always open.
    """
    writer = _Writer(detector, shape)
    features = _backbone(writer, detector.backbone)
    _head(writer, detector.head, _neck(writer, detector.neck, features))
    return writer.model()


class _Writer:
    """Nodes and weights of a graph under construction; tensors are known by name."""

    def __init__(self, detector: Detector, shape: tuple[int, int] | None) -> None:
        self.detector = detector
        self.shape = shape
        self.nodes: list[Any] = []
        self.weights: dict[str, Array] = {}
        self.names = {id(module): name for name, module in detector.named_modules()}

    def add(self, operation: str, inputs: list[str], name: str = "", **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        from onnx.helper import make_node

        output = name or f"{operation}_{len(self.nodes)}"
        node = make_node(operation, inputs, [output], name=output, **attributes)
        self.nodes.append(node)
        return output

    def weight(self, name: str, value: Array) -> str:
        """Add an initializer unless there is one of this name, and return its name."""
        self.weights.setdefault(name, value)
        return name

    def integers(self, *values: int) -> str:
        """Add an initializer of int64 values."""
        return self.weight(f"int_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def constant(self, value: Array) -> str:
        """Add a constant node."""
        from onnx.numpy_helper import from_array

        return self.add("Constant", [], value=from_array(value))

    def key(self, module: nn.Module, tensor: str) -> str:
        """Return the reference's name of a module's weight or bias."""
        ours = f"{self.names[id(module)]}.{tensor}"
        return reference_key(ours, self.detector.architecture)

    def model(self) -> Any:
        """Return the finished model. Raises onnx's own error if it is not valid."""
        from onnx import TensorProto, checker, helper, numpy_helper

        height, width = self.shape or ("height", "width")
        value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
        image = value(INPUT, shape=["batch", 3, height, width])
        names = output_names(self.detector)
        outputs = [value(name, shape=["batch", *self._output_shape(name)]) for name in names]
        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "scrfd", [image], outputs, weights)
        opset = helper.make_operatorsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="scrfd-nas"
        )
        checker.check_model(model)
        return model

    def _output_shape(self, name: str) -> tuple[int | str, int]:
        kind, _, stride = name.partition("_")
        values = {"score": 1, "bbox": 4, "kps": 10}[kind]
        if self.shape is None:
            return f"anchors_{stride}", values
        rows, columns = (-(-side // int(stride)) for side in self.shape)
        return ANCHORS * rows * columns, values


def _backbone(writer: _Writer, backbone: Backbone) -> list[str]:
    """Add stem and stages, and return the names of C3, C4 and C5."""
    x = INPUT
    for unit in backbone.stem:
        x = _unit(writer, unit, x)
    if isinstance(backbone.pool, nn.MaxPool2d):
        x = writer.add("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
    features = []
    for stage in (backbone.c2, backbone.c3, backbone.c4, backbone.c5):
        for block in stage:
            x = _unit(writer, block, x)
        features.append(x)
    return features[1:]


def _unit(writer: _Writer, unit: nn.Module, x: str) -> str:
    """Add a conv unit, separable unit or residual block."""
    if isinstance(unit, SeparableUnit):
        return _conv_unit(writer, unit.pointwise, _conv_unit(writer, unit.depthwise, x))
    if isinstance(unit, ResidualBlock):
        return _residual(writer, unit, x)
    return _conv_unit(writer, cast(ConvUnit, unit), x)


def _residual(writer: _Writer, block: ResidualBlock, x: str) -> str:
    branch = x
    for unit in block.branch:
        branch = _unit(writer, unit, branch)
    total = writer.add("Add", [branch, _shortcut(writer, block.shortcut, x)])
    return writer.add("Relu", [total])


def _shortcut(writer: _Writer, shortcut: nn.Module, x: str) -> str:
    if not isinstance(shortcut, Shortcut):
        return x
    if isinstance(shortcut.pool, nn.AvgPool2d):
        side = [cast(int, shortcut.pool.stride)] * 2
        x = writer.add("AveragePool", [x], kernel_shape=side, strides=side, ceil_mode=1)
    return _folded(writer, shortcut.conv, shortcut.norm, x)


def _conv_unit(writer: _Writer, unit: ConvUnit, x: str) -> str:
    if isinstance(unit.norm, nn.BatchNorm2d):
        x = _folded(writer, unit.conv, unit.norm, x)
    else:
        x = _conv(writer, unit.conv, x, _array(unit.conv.weight), None)
        x = _group_norm(writer, unit.norm, x)
    return writer.add("Relu", [x]) if isinstance(unit.relu, nn.ReLU) else x


def _folded(writer: _Writer, conv: nn.Conv2d, norm: nn.BatchNorm2d, x: str) -> str:
    """Add a conv with its batch normalisation, folded in double precision."""
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    factor_C = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
    weight = conv.weight.double() * factor_C[:, None, None, None]
    bias_C = norm.bias.double() - mean.double() * factor_C
    return _conv(writer, conv, x, _array(weight), _array(bias_C))


def _conv(writer: _Writer, conv: nn.Conv2d, x: str, weight: Array, bias: Array | None) -> str:
    inputs = [x, writer.weight(writer.key(conv, "weight"), weight)]
    if bias is not None:
        inputs.append(writer.weight(writer.key(conv, "bias"), bias))
    pad = cast(int, conv.padding[0])
    return writer.add(
        "Conv",
        inputs,
        kernel_shape=list(conv.kernel_size),
        strides=list(conv.stride),
        pads=[pad] * 4,
        dilations=[1, 1],
        group=conv.groups,
    )


def _biased_conv(writer: _Writer, conv: nn.Module, x: str) -> str:
    conv = cast(nn.Conv2d, conv)
    return _conv(writer, conv, x, _array(conv.weight), _array(cast(Tensor, conv.bias)))


def _group_norm(writer: _Writer, norm: nn.GroupNorm, x: str) -> str:
    """Normalise (B, C, H, W) as (B, G, C/G H, W); then apply weight and bias."""
    groups, channels = norm.num_groups, norm.num_channels
    ones = writer.weight(f"ones_{groups}", np.ones(groups, np.float32))
    zeros = writer.weight(f"zeros_{groups}", np.zeros(groups, np.float32))
    x = writer.add("Reshape", [x, writer.integers(0, groups, -1, 0)])
    x = writer.add("InstanceNormalization", [x, ones, zeros], epsilon=norm.eps)
    x = writer.add("Reshape", [x, writer.integers(0, channels, -1, 0)])
    weight, bias = _array(norm.weight)[:, None, None], _array(norm.bias)[:, None, None]
    x = writer.add("Mul", [x, writer.weight(writer.key(norm, "weight"), weight)])
    return writer.add("Add", [x, writer.weight(writer.key(norm, "bias"), bias)])


def _neck(writer: _Writer, neck: PAFPN, features: list[str]) -> list[str]:
    levels = len(features)
    merged = [
        _biased_conv(writer, conv, x) for conv, x in zip(neck.laterals, features, strict=True)
    ]
    for level in range(levels - 1, 0, -1):
        upper = _upsample(writer, merged[level], merged[level - 1], STRIDES[level])
        merged[level - 1] = writer.add("Add", [merged[level - 1], upper])
    path = [_biased_conv(writer, conv, x) for conv, x in zip(neck.outputs, merged, strict=True)]
    for level, down in enumerate(neck.downs):
        lower = _biased_conv(writer, down, path[level])
        path[level + 1] = writer.add("Add", [path[level + 1], lower])
    outputs = zip(neck.path_outputs, path[1:], strict=True)
    return [path[0], *(_biased_conv(writer, conv, x) for conv, x in outputs)]


def _upsample(writer: _Writer, x: str, like: str, stride: int) -> str:
    """Upsample `x` (at `stride`) to the height and width of `like`, to the nearest."""
    nothing = writer.constant(np.zeros(0, np.float32))
    if writer.shape is not None and all(side % stride == 0 for side in writer.shape):
        inputs = [x, nothing, writer.constant(np.array([1, 1, 2, 2], np.float32))]
    else:
        inputs = [x, nothing, writer.constant(np.zeros(0, np.float32)), _size_of(writer, x, like)]
    return writer.add(
        "Resize",
        inputs,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


def _size_of(writer: _Writer, x: str, like: str) -> str:
    """Return (B, C) of `x` and (H, W) of `like` as a vector of int64.

    This chain of nodes, with its constants as nodes, is the only one that OpenCV 4 accepts
    for sizes that are not known in advance.
    """
    sides = []
    for axis in (2, 3):
        side = writer.add("Shape", [like])
        side = writer.add("Gather", [side, writer.constant(np.array(axis))], axis=0)
        sides.append(writer.add("Unsqueeze", [side], axes=[0]))
    wanted = writer.add("Concat", sides, axis=0)
    zero, start, end = (writer.constant(np.array([value])) for value in (0, 0, 2))
    own = writer.add("Slice", [writer.add("Shape", [x]), start, end, zero])
    return writer.add("Concat", [own, writer.add("Cast", [wanted], to=_INT64)], axis=0)


def _head(writer: _Writer, head: Head, features: list[str]) -> None:
    for level, x in enumerate(features):
        own = level % len(head.towers)
        for unit in cast(nn.Sequential, head.towers[own]):
            x = _unit(writer, unit, x)
        stride = STRIDES[level]
        scores = _flat(writer, _biased_conv(writer, head.scores[own], x), 1)
        writer.add("Sigmoid", [scores], f"score_{stride}")
        boxes = _biased_conv(writer, head.boxes[own], x)
        if len(head.level_scales):
            key = reference_key(f"head.level_scales.{level}", writer.detector.architecture)
            scale = writer.weight(key, _array(head.level_scales[level]))
            boxes = writer.add("Mul", [boxes, scale])
        _flat(writer, boxes, 4, f"bbox_{stride}")
        if len(head.keypoints):
            points = _biased_conv(writer, head.keypoints[own], x)
            _flat(writer, points, 10, f"kps_{stride}")


def _flat(writer: _Writer, x: str, values: int, name: str = "") -> str:
    """Reshape (B, 2 values, H, W) to (B, 2 H W, values)."""
    x = writer.add("Transpose", [x], perm=[0, 2, 3, 1])
    return writer.add("Reshape", [x, writer.integers(0, -1, values)], name)


def _array(values: Tensor) -> Array:
    return np.ascontiguousarray(values.detach().cpu().to(torch.float32).numpy())
