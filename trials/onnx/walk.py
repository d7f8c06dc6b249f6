"""What the walk over an ONNX graph has found so far, and its steps."""

from dataclasses import dataclass, field

import numpy as np

from trials.onnx.reader import Array, BatchNorm, ConvLayer, GroupNorm, OnnxGraph

EPSILON = 1e-5


@dataclass(kw_only=True)
class Walk:
    """What the walk has found: weights under our names, and numbers of the architecture."""

    graph: OnnxGraph
    weights: dict[str, Array] = field(default_factory=dict)
    met: set[int] = field(default_factory=set)

    def put(self, name: str, layer: ConvLayer) -> None:
        """Record a conv without normalisation (neck, predictions)."""
        if layer.norm is not None or layer.bias is None:
            raise self.graph.fault(f"{name} should be a conv with a bias and no normalisation")
        self.met.add(layer.node)
        self.weights[f"{name}.weight"], self.weights[f"{name}.bias"] = layer.weight, layer.bias

    def put_unit(self, name: str, layer: ConvLayer) -> None:
        """Record a conv with its normalisation (backbone, towers)."""
        self.met.add(layer.node)
        self.weights[f"{name}.conv.weight"] = layer.weight
        norm = layer.norm
        if isinstance(norm, GroupNorm):
            if layer.bias is not None or abs(norm.epsilon - EPSILON) > 1e-9:
                raise self.graph.fault(f"{name} has a bias or an epsilon other than {EPSILON}")
            values = {"weight": norm.weight, "bias": norm.bias}
        else:
            values = batch_norm(norm, layer.bias, len(layer.weight))
        self.weights |= {f"{name}.norm.{key}": value for key, value in values.items()}

    def only(self, layers: list[ConvLayer], what: str) -> ConvLayer:
        """The one layer of a list. Raises DataError if there is not exactly one."""
        if len(layers) != 1:
            raise self.graph.fault(f"{what} should be one conv, found {len(layers)}")
        return layers[0]

    def active(self, tensor: str) -> list[ConvLayer]:
        """Layers on `tensor` that end with a ReLU."""
        return [layer for layer in self.graph.layers_from(tensor) if layer.relu]

    def plain(self, tensor: str) -> list[ConvLayer]:
        """Layers on `tensor` without a ReLU."""
        return [layer for layer in self.graph.layers_from(tensor) if not layer.relu]


def batch_norm(norm: BatchNorm | None, bias: Array | None, channels: int) -> dict[str, Array]:
    """A BatchNorm's tensors; the conv's bias moves into the mean, or becomes its bias."""
    zero = np.zeros(channels, np.float32) if bias is None else bias
    count = {"num_batches_tracked": np.array(0, np.int64)}
    if norm is None:
        ones = np.ones(channels, np.float32)
        values = {"weight": ones, "bias": zero, "running_mean": 0 * ones}
        return {**values, "running_var": ones * unit_variance(), **count}
    return {
        "weight": norm.weight,
        "bias": norm.bias,
        "running_mean": norm.mean - zero,
        "running_var": norm.variance + np.float32(norm.epsilon - EPSILON),
        **count,
    }


def unit_variance() -> np.float32:
    """The float32 that gives exactly 1 when BatchNorm adds its epsilon."""
    value = np.float32(1 - EPSILON)
    while value + np.float32(EPSILON) < 1:
        value = np.nextafter(value, np.float32(2))
    return value
