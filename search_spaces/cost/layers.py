"""Costs of single layers under a counting convention.

`inputs`, `outputs` and `channels` are ints or int64 arrays, `cells` is height x width of the
layer's output. Sources: fvcore's `nn/jit_handles.py`; mmcv 1.2.6's `cnn/utils/flops_counter.py`,
which made the tables of the SCRFD paper (arXiv 2105.04714).
"""

from dataclasses import dataclass
from typing import Any

Number = Any  # int, or an int64 array: numpy's operators serve both
Cells = int  # height x width of a feature map


@dataclass(frozen=True, kw_only=True)
class Convention:
    """Weights of the operations that a way of counting includes.

    Every operation counts once per output element (`pool`: per input element). Products of
    convolutions count 1. Additions of feature maps are free.

    Attributes:
        bias: one bias of a convolution.
        batch_norm, group_norm: an affine norm in eval mode.
        relu: an activation.
        pool: a max-pool or average-pool.
        upsample: a nearest-neighbour upsampling.
        level_scale: a learned factor on a whole feature map, counted once.
        per_cell: False for parameters, which exist once whatever the size of the map.
    """

    bias: int = 0
    batch_norm: int = 2
    group_norm: int = 0
    relu: int = 0
    pool: int = 0
    upsample: int = 0
    level_scale: int = 0
    per_cell: bool = True

    def conv(
        self, kernel: int, inputs: Number, outputs: Number, cells: Cells, *, bias: bool = False
    ) -> Number:
        """Return the cost of a `kernel` x `kernel` convolution."""
        times = self._times(cells)
        weights = kernel * kernel * times * inputs * outputs  # scalars first
        return weights + self.bias * times * outputs if bias else weights

    def unit(
        self, kernel: int, inputs: Number, outputs: Number, cells: Cells, norm: str = "batch"
    ) -> Number:
        """Return the cost of a convolution without bias, a norm and a ReLU."""
        return self.conv(kernel, inputs, outputs, cells) + self._norm_relu(norm, outputs, cells)

    def separable(
        self, inputs: Number, outputs: Number, cells: Cells, norm: str = "batch"
    ) -> Number:
        """Return the cost of a depthwise 3x3 and a pointwise 1x1 unit."""
        depthwise = 9 * self._times(cells) * inputs + self._norm_relu(norm, inputs, cells)
        return depthwise + self.unit(1, inputs, outputs, cells, norm)

    def shortcut(self, inputs: Number, outputs: Number, cells_in: Cells, cells: Cells) -> Number:
        """Return the cost of an average-pool, a 1x1 convolution and a BatchNorm."""
        norm = self.batch_norm * self._times(cells) * outputs
        pool = self.pool * cells_in * inputs if self.pool else 0
        return self.conv(1, inputs, outputs, cells) + norm + pool

    def _norm_relu(self, norm: str, channels: Number, cells: Cells) -> Number:
        weight = self.batch_norm if norm == "batch" else self.group_norm
        return (weight + self.relu) * self._times(cells) * channels

    def _times(self, cells: Cells) -> int:
        return cells if self.per_cell else 1


FVCORE = Convention(group_norm=5, upsample=1)
"""Multiply-adds as fvcore counts them: the budget of a search."""
PUBLISHED = Convention(bias=1, relu=1, pool=1)
"""FLOPs of the SCRFD paper's tables."""
PARAMETERS = Convention(bias=1, group_norm=2, level_scale=1, per_cell=False)
"""Learned numbers."""
