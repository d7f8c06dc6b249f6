"""Reading an ONNX file as a graph of conv layers, whatever its tensors are called.

A layer is a conv with what belongs to it: a BatchNormalization, the nodes into which
exporters turn a GroupNorm, a ReLU, a multiplication by a scalar.
"""

import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.errors import DataError
from trials.onnx.package import import_onnx

MAX_BYTES = 1 << 30
_BOOKKEEPING = ("Shape",)  # looks at a tensor without changing what is computed
Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupNorm:
    """A GroupNorm's constants; weight and bias are (C,)."""

    groups: int
    weight: Array
    bias: Array
    epsilon: float


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchNorm:
    """A BatchNormalization's constants, each (C,)."""

    weight: Array
    bias: Array
    mean: Array
    variance: Array
    epsilon: float


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvLayer:
    """A conv with its followers.

    Attributes:
        weight: (outputs, inputs / groups, k, k).
        bias: (outputs,) or None.
        stride: the same in both directions.
        groups: as of a grouped conv.
        norm: what normalises its output.
        relu: whether a ReLU ends the layer.
        scale: a scalar that multiplies its output.
        output: the tensor that leaves the layer.
        node: identity of the conv's node.
    """

    weight: Array
    bias: Array | None
    stride: int
    groups: int
    output: str
    node: int
    norm: GroupNorm | BatchNorm | None = None
    relu: bool = False
    scale: Array | None = None

    @property
    def depthwise(self) -> bool:
        """One input channel an output channel."""
        return bool(self.groups == self.weight.shape[0] and self.weight.shape[2] > 1)


@dataclass(kw_only=True)
class OnnxGraph:
    """Nodes by what they read and write.

    Attributes:
        source: the file's name, for messages.
        constants: values of initializers and Constant nodes by name.
        producers: tensor -> the node that writes it.
        consumers: tensor -> the nodes that read it, but for bookkeeping.
        inputs: names of the graph's inputs.
        outputs: names of the graph's outputs.
        convs: how many convs there are.
    """

    source: str
    constants: dict[str, Array]
    inputs: list[str]
    outputs: list[str]
    producers: dict[str, Any] = field(default_factory=dict)
    consumers: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    convs: int = 0

    def fault(self, reason: str) -> DataError:
        """The error for a graph that is not a SCRFD network."""
        return DataError(f"{self.source}: is not a SCRFD network: {reason}")

    def readers(self, tensor: str, operation: str) -> list[Any]:
        """The nodes of a kind that read `tensor`."""
        return [node for node in self.consumers.get(tensor, ()) if node.op_type == operation]

    def only_reader(self, tensor: str, *operations: str) -> Any | None:
        """The sole reader of `tensor` if there is only one and it is of these kinds."""
        nodes = self.consumers.get(tensor, [])
        return nodes[0] if len(nodes) == 1 and nodes[0].op_type in operations else None

    def constant(self, name: str) -> Array:
        """A constant's value. Raises DataError if `name` is computed."""
        if name not in self.constants:
            raise self.fault(f"the weight {name!r} is not a constant")
        return self.constants[name]

    def layers_from(self, tensor: str) -> list[ConvLayer]:
        """The layers that begin with a conv of `tensor`."""
        return [self.layer(node) for node in self.readers(tensor, "Conv")]

    def layer(self, node: Any) -> ConvLayer:
        """The layer that begins with a conv node."""
        attributes = _attributes(node)
        strides = list(attributes.get("strides", [1, 1]))
        weight = self.constant(node.input[1])
        if weight.ndim != 4 or len(set(strides)) != 1:
            raise self.fault(f"the conv {node.name!r} is not square and two-dimensional")
        layer = ConvLayer(
            weight=weight,
            bias=self.constant(node.input[2]) if len(node.input) > 2 else None,
            stride=int(strides[0]),
            groups=int(attributes.get("group", 1)),
            output=node.output[0],
            node=id(node),
        )
        return self._with_followers(layer)

    def _with_followers(self, layer: ConvLayer) -> ConvLayer:
        layer = self._with_norm(layer)
        relu = self.only_reader(layer.output, "Relu")
        if relu is not None:
            return replace(layer, relu=True, output=relu.output[0])
        product = self.only_reader(layer.output, "Mul")
        scale = None if product is None else self._factor(product)
        if product is None or scale is None or scale.size != 1:
            return layer
        return replace(layer, scale=scale.reshape(()), output=product.output[0])

    def _with_norm(self, layer: ConvLayer) -> ConvLayer:
        batch = self.only_reader(layer.output, "BatchNormalization")
        if batch is not None:
            weight, bias, mean, variance = (self.constant(name) for name in batch.input[1:5])
            epsilon = _attributes(batch).get("epsilon", 1e-5)
            norm = BatchNorm(
                weight=weight, bias=bias, mean=mean, variance=variance, epsilon=epsilon
            )
            return replace(layer, norm=norm, output=batch.output[0])
        group = self.only_reader(layer.output, "GroupNormalization")
        if group is not None:
            return self._with_group_node(layer, group)
        return self._with_group_nodes(layer)

    def _with_group_node(self, layer: ConvLayer, node: Any) -> ConvLayer:
        attributes = _attributes(node)
        weight, bias = (self.constant(name).reshape(-1) for name in node.input[1:3])
        groups = int(attributes["num_groups"])
        if weight.size == groups:  # opset 18 has one value a group
            weight, bias = (np.repeat(v, len(layer.weight) // groups) for v in (weight, bias))
        norm = GroupNorm(
            groups=groups, weight=weight, bias=bias, epsilon=attributes.get("epsilon", 1e-5)
        )
        return replace(layer, norm=norm, output=node.output[0])

    def _with_group_nodes(self, layer: ConvLayer) -> ConvLayer:
        """GroupNorm as reshape, InstanceNormalization, reshape, multiply, add."""
        first = self.only_reader(layer.output, "Reshape")
        middle = first and self.only_reader(first.output[0], "InstanceNormalization")
        if not middle:
            return layer
        tensor, weight, bias = self._affine(middle.output[0])
        ones, zeros = self.constant(middle.input[1]), self.constant(middle.input[2])
        if np.any(ones != 1) or np.any(zeros != 0):
            raise self.fault("a group normalisation has weights in an unexpected place")
        epsilon = _attributes(middle).get("epsilon", 1e-5)
        norm = GroupNorm(groups=ones.size, weight=weight, bias=bias, epsilon=epsilon)
        return replace(layer, norm=norm, output=tensor)

    def _affine(self, tensor: str) -> tuple[str, Array, Array]:
        """What reshape, multiply and add lead to, and the factors and summands (C,)."""
        values: list[Array] = []
        for operation in ("Reshape", "Mul", "Add"):
            node = self.only_reader(tensor, operation)
            value = None if node is None else self._factor(node)
            if node is None or (operation != "Reshape" and value is None):
                raise self.fault("a group normalisation is not followed by weight and bias")
            if operation != "Reshape" and value is not None:
                values.append(value.reshape(-1))
            tensor = node.output[0]
        return tensor, values[0], values[1]

    def _factor(self, node: Any) -> Array | None:
        """The constant among a node's inputs, if there is one."""
        for name in node.input:
            if name in self.constants:
                return self.constants[name]
        return None


def read_graph(path: str | os.PathLike[str]) -> OnnxGraph:
    """Read the graph of an ONNX file.

    Raises:
        ConfigError: the onnx package is not installed.
        DataError: missing, over 1 GiB, damaged, or with weights in other files.
    """
    onnx = import_onnx()
    content = _read_bytes(Path(path))
    try:
        graph = onnx.load_model_from_string(content).graph
        onnx.checker.check_model(content)
        constants = _constants(onnx, graph, str(path))
    except DataError:
        raise
    except Exception as error:  # protobuf, the checker and numpy each have their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: is damaged or not an ONNX file ({reason})") from error
    found = OnnxGraph(
        source=str(path),
        constants=constants,
        inputs=[item.name for item in graph.input if item.name not in constants],
        outputs=[item.name for item in graph.output],
    )
    for node in graph.node:
        found.convs += node.op_type == "Conv"
        for name in node.output:
            found.producers[name] = node
        for name in set(node.input) if node.op_type not in _BOOKKEEPING else ():
            found.consumers[name].append(node)
    return found


def _read_bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: an ONNX file may have 1 GiB, got {size} bytes")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _constants(onnx: Any, graph: Any, source: str) -> dict[str, Array]:
    """Values of initializers and Constant nodes, and of Identity nodes on them."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    for name, tensor in tensors.items():
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise DataError(f"{source}: keeps {name!r} in another file, which is not read")
    values = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in tensors.items()}
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    return values


def _attributes(node: Any) -> dict[str, Any]:
    onnx = import_onnx()
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
