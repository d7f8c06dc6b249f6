"""Neck and head of an ONNX graph, found by following the data from C3, C4 and C5."""

import numpy as np

from search_spaces.architecture import NUM_LEVELS, Head, Neck
from search_spaces.network.head import ANCHORS
from trials.onnx.reader import Array, ConvLayer, GroupNorm
from trials.onnx.walk import Walk

_KINDS = {ANCHORS: "scores", 4 * ANCHORS: "boxes", 10 * ANCHORS: "keypoints"}


def walk_neck(walk: Walk, features: list[str]) -> tuple[Neck, list[str]]:
    """The neck and its three outputs."""
    laterals = [walk.only(walk.plain(x), "a lateral conv") for x in features]
    for level, layer in enumerate(laterals):
        walk.put(f"neck.laterals.{level}", layer)
    merged = [layer.output for layer in laterals]
    for level in range(NUM_LEVELS - 1, 0, -1):
        merged[level - 1] = _added(walk, merged[level - 1])
    outputs = [walk.only(walk.plain(x), "an output conv of the neck") for x in merged]
    for level, layer in enumerate(outputs):
        walk.put(f"neck.outputs.{level}", layer)
    path = [outputs[0].output]
    for level in range(NUM_LEVELS - 1):
        strided = [layer for layer in walk.plain(path[level]) if layer.stride == 2]
        walk.put(f"neck.downs.{level}", walk.only(strided, "a downward conv"))
        path.append(_added(walk, outputs[level + 1].output))
    for level in range(NUM_LEVELS - 1):
        last = [layer for layer in walk.plain(path[level + 1]) if layer.stride == 1]
        layer = walk.only(last, "a last conv of the neck")
        walk.put(f"neck.path_outputs.{level}", layer)
        path[level + 1] = layer.output
    return Neck(width=len(laterals[0].weight)), path


def _added(walk: Walk, tensor: str) -> str:
    """The sum that `tensor` enters."""
    sums = walk.graph.readers(tensor, "Add")
    if len(sums) != 1:
        raise walk.graph.fault(f"a level of the neck enters {len(sums)} sums, not 1")
    return str(sums[0].output[0])


def walk_head(walk: Walk, levels: list[str]) -> Head:
    """The head; sets of weights that are equal on all levels become one."""
    towers = [_walk_tower(walk, level, x) for level, x in enumerate(levels)]
    kinds = [_walk_predictions(walk, level, tower[-1]) for level, tower in enumerate(towers)]
    if kinds[0] != kinds[1] or kinds[1] != kinds[2]:
        raise walk.graph.fault("its levels predict different things")
    scales = [f"head.level_scales.{level}" in walk.weights for level in range(NUM_LEVELS)]
    if any(scales) and not all(scales):
        raise walk.graph.fault("only some of its levels have a scale")
    first = towers[0]
    norm = first[0].norm
    depthwise = first[0].depthwise
    return Head(
        convs=len(first) // (2 if depthwise else 1),
        width=len(first[-1].weight),
        depthwise=depthwise,
        norm="group" if isinstance(norm, GroupNorm) else "batch",
        groups=norm.groups if isinstance(norm, GroupNorm) else 0,
        shared=_share(walk.weights),
        keypoints=5 if "keypoints" in kinds[0] else 0,
        level_scales=all(scales),
    )


def _walk_tower(walk: Walk, level: int, x: str) -> list[ConvLayer]:
    layers: list[ConvLayer] = []
    while following := walk.active(x):
        layer = walk.only(following, "a layer of the head's tower")
        layers.append(layer)
        x = layer.output
    if not layers:
        raise walk.graph.fault(f"its head has no tower on level {level}")
    separable = layers[0].depthwise
    for index, layer in enumerate(layers):
        part = (".depthwise", ".pointwise")[index % 2] if separable else ""
        block = index // 2 if separable else index
        walk.put_unit(f"head.towers.{level}.{block}{part}", layer)
    return layers


def _walk_predictions(walk: Walk, level: int, tower: ConvLayer) -> set[str]:
    """Record the prediction convs after a tower; which kinds there are."""
    found: set[str] = set()
    for layer in walk.plain(tower.output):
        kind = _KINDS.get(len(layer.weight))
        if kind is None or kind in found:
            raise walk.graph.fault(f"it predicts {len(layer.weight)} values a cell")
        found.add(kind)
        walk.put(f"head.{kind}.{level}", layer)
        if layer.scale is not None:
            if kind != "boxes":
                raise walk.graph.fault(f"its {kind} are multiplied by a number")
            walk.weights[f"head.level_scales.{level}"] = layer.scale
    if not {"scores", "boxes"} <= found:
        raise walk.graph.fault(f"level {level} predicts only {sorted(found)}")
    return found


def _share(weights: dict[str, Array]) -> bool:
    """Drop the sets of levels 1 and 2 where they equal level 0's; whether they did."""
    first, *others = (_names_of_level(weights, level) for level in range(NUM_LEVELS))
    for other in others:
        if first.keys() != other.keys():
            return False
        if not all(np.array_equal(weights[first[key]], weights[other[key]]) for key in first):
            return False
    for other in others:
        for name in other.values():
            del weights[name]
    return True


def _names_of_level(weights: dict[str, Array], level: int) -> dict[str, str]:
    """The head's weights of one level: name without the level -> name."""
    starts = [f"head.{part}.{level}." for part in ("towers", *_KINDS.values())]
    return {
        name.replace(start, start.removesuffix(f"{level}."), 1): name
        for name in weights
        for start in starts
        if name.startswith(start)
    }
