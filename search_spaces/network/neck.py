"""PAFPN on C3-C5: biased convs with neither norm nor activation (PANet, arXiv 1803.01534)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class PAFPN(nn.Module):
    """Top-down then bottom-up fusion of three feature maps, each to `width` channels."""

    def __init__(self, inputs: Sequence[int], width: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in inputs)
        self.outputs = nn.ModuleList(_conv3x3(width) for _ in inputs)
        self.downs = nn.ModuleList(_conv3x3(width, stride=2) for _ in inputs[1:])
        self.path_outputs = nn.ModuleList(_conv3x3(width) for _ in inputs[1:])

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Map feature maps (B, C_i, H / s, W / s) to maps of `width` channels and equal sizes."""
        merged = [conv(x) for conv, x in zip(self.laterals, features, strict=True)]
        for i in range(len(merged) - 1, 0, -1):
            size = merged[i - 1].shape[-2:]
            merged[i - 1] = merged[i - 1] + F.interpolate(merged[i], size=size, mode="nearest")
        path = [conv(x) for conv, x in zip(self.outputs, merged, strict=True)]
        for i, down in enumerate(self.downs):
            path[i + 1] = path[i + 1] + down(path[i])
        upper = [conv(x) for conv, x in zip(self.path_outputs, path[1:], strict=True)]
        return [path[0], *upper]


def _conv3x3(width: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, stride, padding=1)
