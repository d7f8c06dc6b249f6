"""Folding of batch normalisation into the convolutions before it, for fast inference."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from search_spaces.network.detector import Detector
from search_spaces.network.layers import ConvUnit, Shortcut


def folded(detector: Detector) -> Detector:
    """Return a copy for inference, in evaluation mode and channels-last memory.

    Outputs are the same up to rounding (float32: 1e-6), with a pass over every feature map
    less. GroupNorms depend on the image and remain.
    """
    network = copy.deepcopy(detector).eval().requires_grad_(False)
    for unit in network.modules():
        if isinstance(unit, ConvUnit | Shortcut) and isinstance(unit.norm, nn.BatchNorm2d):
            unit.conv = fuse_conv_bn_eval(unit.conv, unit.norm)
            unit.add_module("norm", nn.Identity())
    return network.to(memory_format=torch.channels_last)
