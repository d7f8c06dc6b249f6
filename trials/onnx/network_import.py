"""Reading the Architecture and the weights of a SCRFD network from an ONNX file.

The sizes of the convs give the Architecture; our network of it, exported in memory, must be
the same graph as the file's, which gives every weight its place.
"""

import os
import re
from dataclasses import replace
from itertools import pairwise, zip_longest

import numpy as np
import torch
from torch import Tensor, nn

from search_spaces.architecture import NUM_STAGES, Architecture, Backbone, Head, Neck
from search_spaces.cost.detector import params_by_part, total
from search_spaces.errors import DataError
from search_spaces.network.detector import Detector
from search_spaces.network.reference_keys import reference_key
from trials.model_file import build_claimed
from trials.onnx.graph_reader import Graph, Node, graph_of_model, read_graph
from trials.onnx.graph_writer import build_model

_LATER_LEVEL = re.compile(r"(head\.(?:towers|scores|boxes|keypoints))\.[12]\.")


def read_onnx(path: str | os.PathLike[str]) -> tuple[Architecture, dict[str, Tensor]]:
    """Read the Architecture of a SCRFD ONNX file and its weights under our names.

    Outputs are scores, boxes and maybe key points, each of strides 8, 16, 32 in this order. A
    batch normalisation folded into a conv becomes one that only adds: mean 0, weight 1, a variance
    such that it divides by one, and the conv's bias.

    Raises:
        DataError: not an ONNX file, or not the graph of a SCRFD network; says what differs.
    """
    graph = read_graph(path)
    try:
        architecture = _recognise(graph)
        _check_size(graph, architecture)
        weights = _matched_weights(graph, build_claimed(architecture, path))
    except DataError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise graph.fault(str(error)) from error
    shared = _shared_head(weights)
    if shared is None:
        return architecture, weights
    return replace(architecture, head=replace(architecture.head, shared=True)), shared


def _recognise(graph: Graph) -> Architecture:
    """Return the Architecture, with a head of its own for every level, from the convs' sizes.

    Depth first, the nodes up to the first output are the backbone with the laterals, an
    output conv of the neck, the tower and the score conv of stride 8; up to the second
    output there are three convs of the neck, the tower and the score conv of stride 16.
    """
    if len(graph.outputs) not in (6, 9):
        raise ValueError(f"it has {len(graph.outputs)} outputs, not 6 or 9")
    first = graph.convs(0, graph.outputs[0])
    second = graph.convs(graph.outputs[0] + 1, graph.outputs[1])
    tower_length = len(second) - 4
    if tower_length < 1:
        raise ValueError("the head of stride 16 has no tower")
    body, tower = first[: -tower_length - 2], first[-tower_length - 1 : -1]
    norms = [node for node in graph.nodes if node.operation == "InstanceNormalization"]
    separable = _is_depthwise(tower[0])
    head = Head(
        convs=tower_length // (2 if separable else 1),
        width=_width(tower[-1]),
        depthwise=separable,
        norm="group" if norms else "batch",
        groups=len(norms[0].constants[0]) if norms else 0,
        shared=False,
        keypoints=5 if len(graph.outputs) == 9 else 0,
        level_scales=graph.nodes[graph.outputs[3]].operation == "Mul",
    )
    return Architecture(backbone=_backbone(body), neck=Neck(width=_width(body[-1])), head=head)


def _backbone(body: list[Node]) -> Backbone:
    """Return the backbone from its convs, with the 1x1 laterals among them."""
    mobile, bottleneck = _is_depthwise(body[1]), _kernel(body[3]) == 1
    wide = [index for index, conv in enumerate(body) if _kernel(conv) > 1]
    blocks = wide[2:] if mobile else wide[3:]  # without the stem's
    starts = [at for at, index in enumerate(blocks) if body[index].attributes["strides"][0] == 2]
    if not mobile:
        starts = [0, *starts]  # C2 keeps the size
    if len(starts) != NUM_STAGES:
        raise ValueError(f"its backbone has {len(starts)} stages, not {NUM_STAGES}")
    convs_per_block = 1 if mobile or bottleneck else 2
    sizes = pairwise([*starts, len(blocks)])
    return Backbone(
        block="depthwise" if mobile else "bottleneck" if bottleneck else "basic",
        stem_widths=(_width(body[0]), _width(body[2])) if mobile else (_width(body[2]),),
        depths=tuple((end - start) // convs_per_block for start, end in sizes),
        widths=tuple(_width(body[blocks[at] + mobile]) for at in starts),
    )


def _width(conv: Node) -> int:
    return int(conv.constants[0].shape[0])


def _kernel(conv: Node) -> int:
    return int(conv.constants[0].shape[2])


def _is_depthwise(conv: Node) -> bool:
    return _kernel(conv) > 1 and conv.attributes["group"] == _width(conv)


def _check_size(graph: Graph, architecture: Architecture) -> None:
    """Refuse a network much larger than the graph before it is built."""
    claimed = int(total(params_by_part(architecture)))
    held = sum(value.size for node in graph.nodes for value in node.constants)
    if claimed > 2 * held:
        raise graph.fault(f"it has {held:,} weights for a network of {claimed:,} parameters")


def _matched_weights(graph: Graph, detector: Detector) -> dict[str, Tensor]:
    """Return the graph's constants under the detector's names.

    Raises:
        DataError: the graph is not that of the detector.
    """
    for norm in detector.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_parameters()
            norm.running_var.fill_(unit_variance(norm.eps))  # type: ignore[union-attr]
    weights, names = detector.state_dict(), _names(detector)
    ours = graph_of_model(build_model(detector.eval()), "")
    for position, (node, wanted) in enumerate(zip_longest(graph.nodes, ours.nodes)):
        if str(node) != str(wanted):
            raise graph.fault(f"node {position} is {node}, should be {wanted}")
        for name, value in zip(wanted.names, node.constants, strict=True):
            if name in names:
                values = torch.from_numpy(np.array(value, np.float32))
                weights[names[name]] = values.reshape(weights[names[name]].shape)
    if graph.outputs != ours.outputs:
        raise graph.fault("its outputs come from other nodes")
    return weights


def _names(detector: Detector) -> dict[str, str]:
    """Return the detector's names of weights by those in its exported graph.

    The bias of a conv into which a batch normalisation was folded is the norm's.
    """
    pairs = {name: name for name in detector.state_dict()}
    for name in detector.state_dict():
        if name.endswith(".norm.running_mean"):
            unit = name.removesuffix(".norm.running_mean")
            pairs[f"{unit}.conv.bias"] = f"{unit}.norm.bias"
    return {reference_key(key, detector.architecture): name for key, name in pairs.items()}


def _shared_head(weights: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the weights with level 0's head only, or None if the levels' heads differ."""
    kept = {}
    for name, value in weights.items():
        first = _LATER_LEVEL.sub(r"\1.0.", name)
        if first == name:
            kept[name] = value
        elif not torch.equal(value, weights[first]):
            return None
    return kept


def unit_variance(epsilon: float) -> float:
    """Return the variance to which a BatchNorm adds `epsilon` to get exactly 1 in float32."""
    value = np.float32(1 - epsilon)
    while value + np.float32(epsilon) < 1:
        value = np.nextafter(value, np.float32(2))
    return float(value)
