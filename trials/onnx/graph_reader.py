"""ONNX graphs as lists of computations in an order that depends on the wiring only.

Files of one network differ in the names and the order of their nodes, in how they compute
shapes, and in whether batch normalisation was folded into the convs. Their lists are equal.
"""

import os
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from search_spaces.errors import DataError
from trials.onnx.model_content import model_content
from trials.onnx.outputs import usual_order

IMAGE = -1  # the position of the network's input
Array = npt.NDArray[Any]

_LAYOUT = ("Identity", "Reshape", "Transpose")  # change no value
_RESIZE = ("Resize", "Upsample")
_POOL = {"ceil_mode": 0, "kernel_shape": [1, 1], "pads": [0] * 4, "strides": [1, 1]}
_DEFAULTS: dict[str, dict[str, Any]] = {  # the attributes that are compared
    "Conv": {"dilations": [1, 1], "group": 1, "pads": [0] * 4, "strides": [1, 1]},
    "MaxPool": _POOL,
    "AveragePool": _POOL,
    "InstanceNormalization": {"epsilon": float(np.float32(1e-5))},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One computation.

    Attributes:
        operation: the ONNX operator.
        inputs: positions of the nodes whose outputs it reads, or `IMAGE`.
        attributes: values by name, defaults included.
        names: names of its constant inputs.
        constants: their values; flat but for the weight of a conv.
    """

    operation: str
    inputs: tuple[int, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    constants: tuple[Array, ...] = ()

    def __str__(self) -> str:
        shapes = " ".join(str(value.shape) for value in self.constants)
        settings = " ".join(f"{name}={value}" for name, value in self.attributes.items())
        inputs = " ".join(map(str, self.inputs))
        return " ".join(filter(None, (f"{self.operation} of {inputs}", shapes, settings)))


@dataclass(kw_only=True)
class Graph:
    """The computations of a network with one input.

    Attributes:
        source: the file's name, for messages.
        nodes: depth first from the first output to the last; inputs come before their node.
        outputs: positions of the nodes that give the outputs.
    """

    source: str
    nodes: list[Node] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def fault(self, reason: str) -> DataError:
        """Return the error for a graph that is not a SCRFD network."""
        return DataError(f"{self.source}: is not a SCRFD network: {reason}")

    def convs(self, first: int = 0, last: int | None = None) -> list[Node]:
        """Return the convs among the nodes `first` to `last`."""
        end = len(self.nodes) if last is None else last + 1
        return [node for node in self.nodes[first:end] if node.operation == "Conv"]


def read_graph(path: str | os.PathLike[str]) -> Graph:
    """Read the graph of an ONNX file.

    Raises:
        DataError: as `model_content`, or without exactly one input.
    """
    import onnx

    content = model_content(path)
    try:
        onnx.checker.check_model(content)
        model = onnx.load_model_from_string(content)
        _sort_outputs(model.graph.output)
        return graph_of_model(model, str(path))
    except DataError:
        raise
    except Exception as error:  # protobuf, the checker and numpy each have their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: is damaged or not an ONNX file ({reason})") from error


def _sort_outputs(outputs: Any) -> None:
    """Bring the outputs of a model into the usual order, and leave out those of no kind."""
    by_name = {item.name: item for item in outputs}
    shapes = [[d.dim_value or None for d in o.type.tensor_type.shape.dim] for o in outputs]
    kept = [by_name[name] for name in usual_order([item.name for item in outputs], shapes)]
    del outputs[:]
    outputs.extend(kept)


def graph_of_model(model: Any, source: str) -> Graph:
    """Return the graph of an onnx `ModelProto` that the onnx checker accepts."""
    proto, graph = model.graph, Graph(source=source)
    constants = _constants(proto)
    images = [item.name for item in proto.input if item.name not in constants]
    if len(images) != 1:
        raise graph.fault(f"it has {len(images)} inputs instead of one image")
    producers = {name: node for node in proto.node for name in node.output}
    positions = {images[0]: IMAGE}
    waiting = [item.name for item in reversed(proto.output)]
    while waiting:
        node = producers.get(waiting[-1])
        if waiting[-1] in positions or node is None:
            waiting.pop()
            continue
        computed = _computed_inputs(node, constants)
        if not computed:
            raise graph.fault(f"{node.op_type} computes {waiting[-1]!r} from constants")
        missing = [name for name in computed if name not in positions]
        if missing:
            waiting += reversed(missing)
        else:
            inputs = tuple(positions[name] for name in computed)
            positions[waiting.pop()] = _append(graph, node, inputs, constants)
    graph.outputs = [positions[item.name] for item in proto.output]
    total = sum(node.op_type == "Conv" for node in proto.node)
    if unused := total - len(graph.convs()):
        raise graph.fault(f"{unused} of its {total} convs lead to no output")
    return graph


def _computed_inputs(node: Any, constants: dict[str, Array]) -> list[str]:
    """Return the inputs that hold data; a second one of a layout operation is a shape."""
    names = node.input[:1] if node.op_type in _LAYOUT + _RESIZE else node.input
    return [name for name in names if name and name not in constants]


def _append(graph: Graph, proto: Any, inputs: tuple[int, ...], constants: dict[str, Array]) -> int:
    """Add a node to the graph unless it changes nothing; return the position of its output."""
    node = _node(proto, inputs, constants)
    is_pool_of_one = node.operation == "AveragePool" and node.attributes == _POOL
    if node.operation in _LAYOUT or is_pool_of_one:
        return inputs[0]
    if node.operation == "BatchNormalization":
        _fold(graph, node)
        return inputs[0]
    is_group_norm = node.operation == "GroupNormalization"
    graph.nodes += _expanded(node, len(graph.nodes)) if is_group_norm else [node]
    return len(graph.nodes) - 1


def _node(proto: Any, inputs: tuple[int, ...], constants: dict[str, Array]) -> Node:
    from onnx.helper import get_attribute_value

    operation = "Resize" if proto.op_type in _RESIZE else proto.op_type
    names = () if operation in (*_LAYOUT, "Resize") else proto.input
    names = tuple(name for name in names if name in constants)
    attributes = {item.name: get_attribute_value(item) for item in proto.attribute}
    if operation in _DEFAULTS:
        defaults = _DEFAULTS[operation]
        attributes = {name: attributes.get(name, value) for name, value in defaults.items()}
    elif not operation.endswith("Normalization"):
        attributes = {}
    is_conv = operation == "Conv"
    values = [constants[name] for name in names]
    return Node(
        operation=operation,
        inputs=inputs,
        attributes=attributes,
        names=names,
        constants=tuple(v if v.ndim == 4 and is_conv else v.reshape(-1) for v in values),
    )


def _fold(graph: Graph, norm: Node) -> None:
    """Fold a batch normalisation into the conv before it, in double precision."""
    position = norm.inputs[0]
    if position == IMAGE or graph.nodes[position].operation != "Conv":
        raise graph.fault("a BatchNormalization does not follow a conv")
    conv = graph.nodes[position]
    weight, *bias = (value.astype(np.float64) for value in conv.constants)
    gamma, beta, mean, variance = (value.astype(np.float64) for value in norm.constants)
    if gamma.shape != weight.shape[:1]:
        raise graph.fault(f"a BatchNormalization of {gamma.size} channels follows {conv}")
    factor = gamma / np.sqrt(variance + norm.attributes.get("epsilon", 1e-5))
    folded = weight * factor[:, None, None, None], (sum(bias) - mean) * factor + beta
    graph.nodes[position] = replace(conv, constants=tuple(v.astype(np.float32) for v in folded))


def _expanded(norm: Node, position: int) -> list[Node]:
    """Return the nodes from `position` on that opset 11 has for a GroupNormalization."""
    groups, (weight, bias) = norm.attributes["num_groups"], norm.constants
    groups = min(groups, weight.size)
    epsilon = norm.attributes.get("epsilon", _DEFAULTS["InstanceNormalization"]["epsilon"])
    return [
        Node(
            operation="InstanceNormalization",
            inputs=norm.inputs,
            attributes={"epsilon": epsilon},
            names=("", ""),
            constants=(np.ones(groups), np.zeros(groups)),
        ),
        Node(operation="Mul", inputs=(position,), names=("",), constants=(weight,)),
        Node(operation="Add", inputs=(position + 1,), names=("",), constants=(bias,)),
    ]


def _constants(proto: Any) -> dict[str, Array]:
    """Return the values of initializers and Constant nodes, and of Identity or Cast of these."""
    from onnx.numpy_helper import to_array

    tensors = {tensor.name: tensor for tensor in proto.initializer}
    for node in proto.node:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.name == "value":
                tensors[node.output[0]] = attribute.t
    values = {name: to_array(tensor) for name, tensor in tensors.items()}
    for node in proto.node:
        if node.op_type in ("Identity", "Cast") and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    return values
