"""The backbone of an ONNX graph: stem, blocks and stages, found by following the data."""

from dataclasses import dataclass, field

from search_spaces.architecture import NUM_STAGES, Backbone
from trials.onnx.reader import ConvLayer
from trials.onnx.walk import Walk

LONGEST_BRANCH = 3


def walk_backbone(walk: Walk) -> tuple[Backbone, list[str]]:
    """The backbone and the tensors of C3, C4, C5."""
    first = walk.only(walk.active(walk.graph.inputs[0]), "the stem's first layer")
    walk.put_unit("backbone.stem.0", first)
    second = walk.only(walk.active(first.output), "the stem's second layer")
    follow = _walk_mobile if second.depthwise else _walk_residual
    return follow(walk, first, second)


def _walk_mobile(walk: Walk, first: ConvLayer, depthwise: ConvLayer) -> tuple[Backbone, list[str]]:
    pointwise = walk.only(walk.active(depthwise.output), "the stem's last layer")
    walk.put_unit("backbone.stem.1.depthwise", depthwise)
    walk.put_unit("backbone.stem.1.pointwise", pointwise)
    stages = _Stages()
    x = pointwise.output
    while following := [layer for layer in walk.active(x) if layer.depthwise]:
        depthwise = walk.only(following, "a depthwise layer")
        pointwise = walk.only(walk.active(depthwise.output), "a pointwise layer")
        name = stages.next_block(walk, starts=depthwise.stride > 1)
        walk.put_unit(f"{name}.depthwise", depthwise)
        walk.put_unit(f"{name}.pointwise", pointwise)
        x = pointwise.output
        stages.close_block(x, len(pointwise.weight))
    stem = (len(first.weight), walk.weights["backbone.stem.1.pointwise.conv.weight"].shape[0])
    return stages.backbone(walk, "depthwise", stem), stages.outputs[1:]


def _walk_residual(walk: Walk, first: ConvLayer, second: ConvLayer) -> tuple[Backbone, list[str]]:
    third = walk.only(walk.active(second.output), "the stem's third layer")
    walk.put_unit("backbone.stem.1", second)
    walk.put_unit("backbone.stem.2", third)
    pool = walk.graph.only_reader(third.output, "MaxPool")
    if pool is None:
        raise walk.graph.fault("the stem is not followed by a max-pool")
    x = pool.output[0]
    stages, lengths = _Stages(), set()
    while walk.active(x):
        branch = _branch(walk, x)
        starts = not stages.outputs or any(layer.stride > 1 for layer in branch)
        name = stages.next_block(walk, starts=starts)
        for index, layer in enumerate(branch):
            walk.put_unit(f"{name}.branch.{index}", layer)
        x = _close_residual(walk, name, x, branch[-1].output)
        lengths.add(len(branch))
        stages.close_block(x, len(branch[0].weight))
    if lengths not in ({2}, {3}):
        raise walk.graph.fault(f"its blocks have {sorted(lengths)} convs, not 2 or 3")
    kind = "basic" if lengths == {2} else "bottleneck"
    return stages.backbone(walk, kind, (len(third.weight),)), stages.outputs[1:]


def _branch(walk: Walk, x: str) -> list[ConvLayer]:
    """The layers of a residual block's branch, up to the one whose output is added."""
    branch = [walk.only(walk.active(x), "the start of a residual block")]
    while branch[-1].relu:
        if len(branch) == LONGEST_BRANCH:
            raise walk.graph.fault("a residual block has more than 3 convs")
        following = walk.graph.layers_from(branch[-1].output)
        branch.append(walk.only(following, "the next layer of a residual block"))
    return branch


def _close_residual(walk: Walk, name: str, x: str, branch: str) -> str:
    """Record the shortcut and return the tensor after the sum and its ReLU."""
    graph = walk.graph
    total = graph.only_reader(branch, "Add")
    if total is None:
        raise graph.fault(f"the branch of {name} is not added to anything")
    other = total.input[1] if total.input[0] == branch else total.input[0]
    if other != x:
        walk.put_unit(f"{name}.shortcut", _shortcut(walk, name, x, other))
    relu = graph.only_reader(total.output[0], "Relu")
    if relu is None:
        raise graph.fault(f"the sum of {name} has no ReLU")
    return str(relu.output[0])


def _shortcut(walk: Walk, name: str, x: str, output: str) -> ConvLayer:
    pools = [node.output[0] for node in walk.graph.readers(x, "AveragePool")]
    layers = [layer for tensor in (x, *pools) for layer in walk.plain(tensor)]
    matching = [layer for layer in layers if layer.output == output]
    return walk.only(matching, f"the shortcut of {name}")


@dataclass(kw_only=True)
class _Stages:
    """Counts blocks and stages of a backbone while they are met."""

    depths: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def next_block(self, walk: Walk, *, starts: bool) -> str:
        """The name of the next block; `starts` begins a stage."""
        if starts:
            if len(self.depths) == NUM_STAGES:
                raise walk.graph.fault(f"its backbone has more than {NUM_STAGES} stages")
            for values in (self.depths, self.widths):
                values.append(0)
            self.outputs.append("")
        if not self.depths:
            raise walk.graph.fault("its first block does not halve the size")
        self.depths[-1] += 1
        return f"backbone.c{1 + len(self.depths)}.{self.depths[-1] - 1}"

    def close_block(self, output: str, width: int) -> None:
        """Note the block's output and width."""
        self.outputs[-1], self.widths[-1] = output, width

    def backbone(self, walk: Walk, block: str, stem: tuple[int, ...]) -> Backbone:
        """The finished backbone."""
        if len(self.depths) != NUM_STAGES:
            raise walk.graph.fault(f"its backbone has {len(self.depths)} stages, not 4")
        return Backbone(
            block=block,
            stem_widths=stem,
            depths=tuple(self.depths),
            widths=tuple(self.widths),
        )
