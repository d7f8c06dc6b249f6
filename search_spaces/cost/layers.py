"""What single layers cost, under three conventions of counting.

- `FVCORE`: multiply-adds as fvcore counts them, this project's budget. Convs without their
  bias, BatchNorm 2 an element (eval mode), GroupNorm 5, nearest upsampling 1 an output
  element; activations, pooling, additions and the level scales are free.
- `PUBLISHED`: as the SCRFD paper's tables, which come from mmcv 1.2.6. Convs with their
  bias, BatchNorm 2 an element, ReLU 1, pooling 1 an input element; the rest is free.
- `PARAMETERS`: learned numbers.
"""

from typing import Any, Protocol

Number = Any  # int, or an int64 array: numpy's operators serve both
Cells = int  # height x width of a feature map


class Counting(Protocol):
    """What single layers cost. `cells` is height x width of the layer's output."""

    def conv(self, weights: Number, outputs: Number, cells: Cells, bias: bool) -> Number:
        """A convolution with `weights` numbers in its kernel."""

    def batch_norm(self, channels: Number, cells: Cells) -> Number:
        """An affine BatchNorm in eval mode."""

    def group_norm(self, channels: Number, cells: Cells) -> Number:
        """An affine GroupNorm."""

    def relu(self, channels: Number, cells: Cells) -> Number:
        """An activation."""

    def pool(self, channels: Number, cells_in: Cells) -> Number:
        """A max- or average-pool; `cells_in` of its input."""

    def upsample(self, channels: Number, cells: Cells) -> Number:
        """A nearest-neighbour enlargement."""

    def scalar(self) -> Number:
        """A learned factor on a whole feature map."""


class _Fvcore:
    def conv(self, weights: Number, outputs: Number, cells: Cells, bias: bool) -> Number:
        return weights * cells

    def batch_norm(self, channels: Number, cells: Cells) -> Number:
        return 2 * channels * cells

    def group_norm(self, channels: Number, cells: Cells) -> Number:
        return 5 * channels * cells

    def relu(self, channels: Number, cells: Cells) -> Number:
        return 0

    def pool(self, channels: Number, cells_in: Cells) -> Number:
        return 0

    def upsample(self, channels: Number, cells: Cells) -> Number:
        return channels * cells

    def scalar(self) -> Number:
        return 0


class _Published:
    def conv(self, weights: Number, outputs: Number, cells: Cells, bias: bool) -> Number:
        return (weights + bias * outputs) * cells

    def batch_norm(self, channels: Number, cells: Cells) -> Number:
        return 2 * channels * cells

    def group_norm(self, channels: Number, cells: Cells) -> Number:
        return 0

    def relu(self, channels: Number, cells: Cells) -> Number:
        return channels * cells

    def pool(self, channels: Number, cells_in: Cells) -> Number:
        return channels * cells_in

    def upsample(self, channels: Number, cells: Cells) -> Number:
        return 0

    def scalar(self) -> Number:
        return 0


class _Parameters:
    def conv(self, weights: Number, outputs: Number, cells: Cells, bias: bool) -> Number:
        return weights + bias * outputs

    def batch_norm(self, channels: Number, cells: Cells) -> Number:
        return 2 * channels

    def group_norm(self, channels: Number, cells: Cells) -> Number:
        return 2 * channels

    def relu(self, channels: Number, cells: Cells) -> Number:
        return 0

    def pool(self, channels: Number, cells_in: Cells) -> Number:
        return 0

    def upsample(self, channels: Number, cells: Cells) -> Number:
        return 0

    def scalar(self) -> Number:
        return 1


FVCORE: Counting = _Fvcore()
PUBLISHED: Counting = _Published()
PARAMETERS: Counting = _Parameters()
