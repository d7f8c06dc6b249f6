"""Zen-scores: the response of a random backbone to a small change of its input.

Zen-score (Lin et al., Zen-NAS, ICCV 2021, arXiv 2102.01063, algorithm 1): with weights and
images drawn from N(0, 1), all biases 0 and the residual links taken out,

    zen = log E || f(x) - f(x + 0.01 e) ||  +  sum over norms of log sqrt(mean_j sigma_j^2)

where x and e are standard normal images, f is the map of the last stage, and sigma_j is
the standard deviation of channel j before a BatchNorm. BatchNorm keeps the numbers of a deep
network finite; the second term restores the scale that it removes.

`stage_zen` follows the idea of DamoFD's stage-aware score (Liu et al., ICLR 2023), not its
formula: the backbone of a face detector must be expressive at every stage that detects,
weighted by the faces found there. It averages the zen-scores after C3, C4 and C5 with
`LEVEL_WEIGHTS`.

Shapes: B images, of which the first half are x and the second half x + 0.01 e.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.network.backbone import Backbone
from search_spaces.network.layers import ConvUnit
from trials.proxies.probe import Probe, finite, untrained

BATCH = 4
STEP = 0.01
# Of the faces in WIDER FACE's hard set, 78.93 % are smaller than 32 pixels at 640 (arXiv
# 2105.04714, figure 3): those of stride 8. Sharing the rest equally is this project's choice.
_SMALL_FACES = 0.7893
LEVEL_WEIGHTS = (_SMALL_FACES, (1 - _SMALL_FACES) / 2, (1 - _SMALL_FACES) / 2)
_EPSILON = 1e-5  # as BatchNorm has


def zen(architecture: Architecture, probe: Probe) -> float:
    """Return the zen-score of the backbone at C5."""
    return finite(stage_scores(architecture, probe)[-1], "the zen-score")


def stage_zen(architecture: Architecture, probe: Probe) -> float:
    """Return the zen-scores at C3, C4 and C5, averaged with `LEVEL_WEIGHTS`."""
    levels = stage_scores(architecture, probe)[1:]
    score = sum(weight * level for weight, level in zip(LEVEL_WEIGHTS, levels, strict=True))
    return finite(score, "the stage-aware zen-score")


@torch.no_grad()
def stage_scores(architecture: Architecture, probe: Probe) -> list[float]:
    """Return the zen-scores after C2, C3, C4 and C5, each of all stages up to there."""
    backbone = untrained(architecture, probe).backbone
    generator = probe.generator(0)
    for conv in (module for module in backbone.modules() if isinstance(module, nn.Conv2d)):
        nn.init.normal_(conv.weight, generator=generator)
    images = probe.images(BATCH)
    pair_B3HW = torch.cat([images, images + STEP * probe.images(BATCH, purpose=2)])
    return list(_responses(backbone, pair_B3HW))


def _responses(backbone: Backbone, x: Tensor) -> Iterator[float]:
    x, log_scale = plain_pass(backbone.stem, x)
    x = backbone.pool(x)
    for stage in (backbone.c2, backbone.c3, backbone.c4, backbone.c5):
        x, more = plain_pass(stage, x)
        log_scale += more
        yield log_response(x) + log_scale


def plain_pass(layers: nn.Module, x: Tensor) -> tuple[Tensor, float]:
    """Apply convolution, norm and ReLU of every unit in order, without residual links.

    Returns:
        The map after the last unit, and the logarithm of the scale that the norms removed.
    """
    log_scale = 0.0
    for unit in layers.modules():
        if isinstance(unit, ConvUnit):
            x = unit.conv(x)
            variance, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0, keepdim=True)
            log_scale += _log(math.sqrt(float(variance.mean())))
            x = torch.relu((x - mean) / torch.sqrt(variance + _EPSILON))
    return x, log_scale


def log_response(pair_BCHW: Tensor) -> float:
    """Return log of the mean Euclidean distance between the two halves of the batch."""
    one, other = pair_BCHW.chunk(2)
    return _log(float((one - other).flatten(1).norm(dim=1).mean()))


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf
