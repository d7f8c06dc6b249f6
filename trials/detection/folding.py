"""A detector as it is fastest at inference: norms folded into the convolutions before them."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from search_spaces.network.detector import Detector
from search_spaces.network.layers import ConvUnit, Shortcut


def folded(detector: Detector) -> Detector:
    """A copy for inference; the detector itself stays as it is.

    In evaluation mode a BatchNorm is one factor and one shift a channel, which the weights
    and the bias of the convolution before it take over: the outputs are the same but for
    rounding (float32: 1e-6), and a pass over every feature map less is needed. GroupNorms
    depend on the image and stay. The copy lies in channels-last memory.
    """
    network = copy.deepcopy(detector).eval().requires_grad_(False)
    for unit in network.modules():
        if isinstance(unit, ConvUnit | Shortcut) and isinstance(unit.norm, nn.BatchNorm2d):
            unit.conv = fuse_conv_bn_eval(unit.conv, unit.norm)
            unit.add_module("norm", nn.Identity())
    return network.to(memory_format=torch.channels_last)
