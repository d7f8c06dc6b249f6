"""Proxies from the gradients of an untrained detector: synflow and gradient norm.

Both include neck and head.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from search_spaces.architecture import Architecture
from search_spaces.network.backbone import Backbone
from search_spaces.network.detector import Detector
from search_spaces.network.head import HeadOutputs
from search_spaces.network.layers import ConvUnit, Shortcut
from trials.proxies.probe import Probe, finite, untrained

BATCH = 4


def synflow(architecture: Architecture, probe: Probe) -> float:
    """Return log of sum |w * dR/dw|, where R is the sum of all outputs.

    Tanaka et al., NeurIPS 2020 (arXiv 2006.05467, equations 2 and 3), summed over all weights
    as in Abdelfattah et al., ICLR 2021 (arXiv 2101.08134, section 3.1): weights are replaced
    by their magnitudes, biases by 0, norms are removed, and the image is all ones. The
    weights are the initial ones of training.
    """
    detector = untrained(architecture, probe).double()
    _make_positive(detector)
    image = torch.ones(1, 3, probe.image_size, probe.image_size, dtype=torch.float64)
    features, log_scale = _scaled_features(detector.backbone, image)
    outputs: HeadOutputs = detector.head(detector.neck(features))
    levels = (*outputs.scores, *outputs.boxes, *(outputs.keypoints or ()))
    total = torch.stack([level.sum() for level in levels]).sum()
    total.backward()  # type: ignore[no-untyped-call]
    flow = sum(
        float((p.detach() * p.grad).abs().sum())
        for p in detector.parameters()
        if p.grad is not None
    )
    return finite(math.log(flow) + log_scale if flow > 0 else -math.inf, "synflow")


def grad_norm(architecture: Architecture, probe: Probe) -> float:
    """Return log of the sum over weight tensors of the Euclidean norm of the loss's gradient.

    Abdelfattah et al., ICLR 2021 (arXiv 2101.08134, section 3.1). Random images have no
    labels, so that the loss is a substitute: binary cross-entropy of the scores against
    random labels plus the mean distance of all other outputs from 1; means over each output.
    """
    detector = untrained(architecture, probe).train()
    outputs: HeadOutputs = detector(probe.images(BATCH))
    labels = probe.generator(2)
    loss = torch.zeros(())
    for scores in outputs.scores:
        target = torch.randint(0, 2, scores.shape, generator=labels).float()
        loss = loss + F.binary_cross_entropy_with_logits(scores, target)
    for values in (*outputs.boxes, *(outputs.keypoints or ())):
        loss = loss + (values - 1).abs().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    norms = sum(float(p.grad.norm()) for p in detector.parameters() if p.grad is not None)
    return finite(math.log(norms) if norms > 0 else -math.inf, "the gradient norm")


def _make_positive(detector: Detector) -> None:
    """Replace weights by magnitudes and remove biases and norms.

    Every output is then a polynomial with positive coefficients in the weights.
    """
    for module in detector.modules():
        if isinstance(module, ConvUnit | Shortcut):
            module.register_module("norm", nn.Identity())
        if isinstance(module, nn.Conv2d):
            module.weight.data.abs_()
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _scaled_features(backbone: Backbone, image: Tensor) -> tuple[list[Tensor], float]:
    """Return the maps of C3, C4 and C5 divided by a common factor, and its logarithm.

    Without norms, deep networks leave the range of floating point. Each block's output is
    therefore divided by its greatest value, which changes the gradient of every weight by
    the same factor, since all that follows is linear in it.
    """
    x, log_scale = _rescaled(backbone.pool(backbone.stem(image)))
    maps, logs = [], []
    for stage in (backbone.c2, backbone.c3, backbone.c4, backbone.c5):
        for block in stage:
            x, more = _rescaled(block(x))
            log_scale += more
        maps.append(x)
        logs.append(log_scale)
    largest = max(logs[1:])
    return [x * math.exp(log - largest) for x, log in zip(maps[1:], logs[1:], strict=True)], largest


def _rescaled(x: Tensor) -> tuple[Tensor, float]:
    largest = x.detach().amax()
    return x / largest, math.log(float(largest))
