"""From an ONNX graph to an Architecture and its weights, by following the data.

The walk starts at the image and recognises stem, blocks, neck and head by how they are
connected, so that neither names nor the order of nodes matter. Every conv must be met.
Facts: REFERENCE section 3.
"""

import os

import numpy as np
import torch
from torch import Tensor

from search_spaces.architecture import Architecture
from search_spaces.errors import DataError
from trials.onnx.reader import Array, read_graph
from trials.onnx.walk import Walk
from trials.onnx.walk_backbone import walk_backbone
from trials.onnx.walk_head import walk_head, walk_neck


def read_onnx(path: str | os.PathLike[str]) -> tuple[Architecture, dict[str, Tensor]]:
    """The Architecture of a SCRFD ONNX file and its weights under our names.

    BatchNorm that was folded into convs becomes a BatchNorm that only adds: mean 0, variance
    such that it divides by one, weight 1, bias the conv's bias.

    Raises:
        ConfigError: the onnx package is not installed.
        DataError: not an ONNX file, or not the graph of a SCRFD network; says what differs.
    """
    walk = Walk(graph=read_graph(path))
    graph = walk.graph
    if len(graph.inputs) != 1:
        raise graph.fault(f"it has {len(graph.inputs)} inputs instead of one image")
    try:
        backbone, features = walk_backbone(walk)
        neck, levels = walk_neck(walk, features)
        head = walk_head(walk, levels)
        architecture = Architecture(backbone=backbone, neck=neck, head=head)
    except DataError:
        raise
    except (ArithmeticError, LookupError, ValueError) as error:  # numbers that fit nothing
        raise graph.fault(str(error)) from error
    if len(walk.met) != graph.convs:
        left = graph.convs - len(walk.met)
        raise graph.fault(f"{left} of its {graph.convs} convs have no place in one")
    return architecture, {name: _tensor(value) for name, value in walk.weights.items()}


def _tensor(value: Array) -> Tensor:
    kind = np.int64 if value.dtype == np.int64 else np.float32
    return torch.from_numpy(np.array(value, dtype=kind))
