"""The whole detector of an Architecture, and the initialisation of its weights."""

import math
from typing import cast

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.network.backbone import Backbone
from search_spaces.network.head import Head, HeadOutputs
from search_spaces.network.layers import ResidualBlock
from search_spaces.network.neck import PAFPN

SCORE_PRIOR = 0.01  # score of an untrained head for every anchor (focal loss, arXiv 1708.02002)
SCORE_BIAS = -math.log((1 - SCORE_PRIOR) / SCORE_PRIOR)  # -4.595
HEAD_STD = 0.01


class Detector(nn.Module):
    """A detector; its parts are `backbone.stem`, `.c2` .. `.c5`, `neck` and `head`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.backbone = Backbone(architecture.backbone)
        self.neck = PAFPN(architecture.backbone.output_widths[1:], architecture.neck.width)
        self.head = Head(architecture.head, architecture.neck.width)

    def forward(self, images_B3HW: Tensor) -> HeadOutputs:
        """Return the predictions for normalised RGB images of any size.

        The size of a level is that of the image over its stride, each halving rounded up
        (except the residual stem's max-pool, which drops an odd edge).
        """
        return cast(HeadOutputs, self.head(self.neck(self.backbone(images_B3HW))))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Initialise all weights from `generator`, as the reference's `init_weights` does.

        Backbone: Kaiming-normal (fan-out), the last norm of every residual block zero.
        Neck: Xavier-uniform. Head: N(0, 0.01), score bias -4.595. Other biases 0, norms 1.
        """
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
                module.reset_parameters()
        _reset_backbone(self.backbone, generator)
        for conv in _convs(self.neck):
            nn.init.xavier_uniform_(conv.weight, generator=generator)
        _reset_head(self.head, generator)


def build_detector(
    architecture: Architecture, generator: torch.Generator | None = None
) -> Detector:
    """Return a detector on the CPU with initial weights; the global random state is unchanged.

    Weights are drawn from `generator` (on the CPU), by default one with seed 0.
    """
    with torch.device("meta"):  # torch's own initialisation would draw global random numbers
        detector = Detector(architecture)
    detector.to_empty(device="cpu")
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    detector.reset_parameters(generator)
    return detector


def _convs(module: nn.Module) -> list[nn.Conv2d]:
    """Set the biases of all convs of `module` to zero, and return the convs."""
    convs = [conv for conv in module.modules() if isinstance(conv, nn.Conv2d)]
    for conv in convs:
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    return convs


def _reset_backbone(backbone: Backbone, generator: torch.Generator) -> None:
    for conv in _convs(backbone):
        nn.init.kaiming_normal_(
            conv.weight, mode="fan_out", nonlinearity="relu", generator=generator
        )
    for block in backbone.modules():
        if isinstance(block, ResidualBlock):
            nn.init.zeros_(block.last_norm.get_parameter("weight"))


def _reset_head(head: Head, generator: torch.Generator) -> None:
    for conv in _convs(head):
        nn.init.normal_(conv.weight, std=HEAD_STD, generator=generator)
    for conv in _convs(head.scores):
        nn.init.constant_(cast(Tensor, conv.bias), SCORE_BIAS)
    for scale in head.level_scales:
        nn.init.ones_(scale)
