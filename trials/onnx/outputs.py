"""Kinds of the outputs of SCRFD ONNX files, whose names and order differ by exporter."""

from collections.abc import Sequence

from search_spaces.errors import DataError
from trials.detection.anchors import STRIDES
from trials.onnx.graph_writer import VALUES

Shapes = Sequence[Sequence[object]]


def outputs_by_kind(outputs: Sequence[str], shapes: Shapes, source: str) -> dict[str, list[str]]:
    """Return the names of the outputs of each kind, one a level, in any order of the levels.

    Many exporters number the outputs. A kind is recognised by its number of values an anchor, or,
    where a file does not state it, by the usual order: scores, boxes, key points.

    Args:
        outputs: names in the order of the file.
        shapes: their shapes; sizes that the file does not state are no integers.
        source: the file's name, for messages.

    Raises:
        DataError: these are not the outputs of a SCRFD network.
    """
    found = {kind: [n for n in _names(kind) if n in outputs] for kind in VALUES}
    if len(found["score"]) < len(STRIDES):
        sizes = [shape[-1] if shape else None for shape in shapes]
        named = list(zip(outputs, sizes, strict=True))
        found = {kind: [n for n, size in named if size == VALUES[kind]] for kind in VALUES}
        if not any(isinstance(size, int) for size in sizes):
            starts = range(0, len(named), len(STRIDES))
            groups = [list(outputs[start : start + len(STRIDES)]) for start in starts]
            found = dict(zip(VALUES, groups, strict=False))
    kinds = {kind: names for kind, names in found.items() if names}
    if not kinds.keys() >= {"score", "bbox"} or {len(names) for names in kinds.values()} != {3}:
        rule = "outputs of 1, 4 and maybe 10 values an anchor on each of 3 levels"
        listed = ", ".join(map(str, shapes[:9]))
        raise DataError(f"{source}: is not a SCRFD model ({rule}), it has {listed}")
    return kinds


def usual_order(outputs: Sequence[str], shapes: Shapes) -> list[str]:
    """Return the outputs sorted by kind, without others; as they are if they are no SCRFD's."""
    try:
        kinds = outputs_by_kind(outputs, shapes, "")
    except DataError:
        return list(outputs)
    return [name for names in kinds.values() for name in names]


def _names(kind: str) -> list[str]:
    """Return the output names of one kind, one a level."""
    return [f"{kind}_{stride}" for stride in STRIDES]
