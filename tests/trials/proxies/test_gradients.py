"""Synflow against sums of paths and the plain formula; the gradient norm against its definition."""

import math

import pytest
import torch
from tiny import make_architecture
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.network.detector import Detector
from trials.proxies import gradients
from trials.proxies.probe import Probe, untrained
from trials.proxies.registry import score

PROBE = Probe()


def positive_detector(architecture: Architecture) -> Detector:
    detector = untrained(architecture, PROBE).double()
    gradients._make_positive(detector)
    return detector


def plain_flow(detector: Detector) -> float:
    """Return sum of |w * dR/dw| directly, which is finite for a shallow network."""
    outputs = detector(torch.ones(1, 3, 64, 64, dtype=torch.float64))
    tensors = [*outputs.scores, *outputs.boxes, *(outputs.keypoints or ())]
    total = sum(tensor.sum() for tensor in tensors)
    total.backward()
    terms = [p * p.grad for p in detector.parameters() if p.grad is not None]
    return float(sum(term.detach().abs().sum() for term in terms))


def test_the_flow_of_two_convs_is_twice_the_output_by_hand() -> None:
    # Pixelwise weights -2 and (3, -4): R = 2 * 3 + 2 * 4 = 14, and each layer passes it all.
    convs = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 2, 1, bias=False))
    convs[0].weight.data[:] = -2.0
    convs[1].weight.data.view(-1)[:] = torch.tensor([3.0, -4.0])
    gradients._make_positive(convs)  # type: ignore[arg-type]
    output = convs(torch.ones(1, 1, 1, 1)).sum()
    output.backward()
    assert output.item() == 14
    assert sum(float((p * p.grad).detach().sum()) for p in convs.parameters()) == 28


@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
@pytest.mark.parametrize("keypoints", [0, 5])
def test_rescaling_does_not_change_synflow(block: str, keypoints: int) -> None:
    architecture = make_architecture(block, depths=2, keypoints=keypoints)
    expected = math.log(plain_flow(positive_detector(architecture)))
    assert score("synflow", architecture) == pytest.approx(expected, abs=1e-9)


def test_synflow_is_finite_where_the_plain_formula_overflows() -> None:
    deep = make_architecture("bottleneck", depths=40, widths=16)
    assert not math.isfinite(plain_flow(positive_detector(deep)))
    assert score("synflow", deep) > math.log(1e308)


def test_synflow_depends_on_the_head() -> None:
    plain, wider = make_architecture(), make_architecture()
    object.__setattr__(wider.head, "width", 16)
    assert score("synflow", wider) > score("synflow", plain)


def test_the_gradient_norm_is_that_of_the_documented_loss() -> None:
    architecture = make_architecture()
    detector = untrained(architecture, PROBE).train()
    outputs = detector(PROBE.images(gradients.BATCH))
    labels = PROBE.generator(2)
    loss = torch.zeros(())
    for scores in outputs.scores:
        target = torch.randint(0, 2, scores.shape, generator=labels)
        probability = scores.sigmoid()
        chosen = torch.where(target == 1, probability, 1 - probability)
        loss = loss - chosen.log().mean()
    for boxes in outputs.boxes:
        loss = loss + (boxes - 1).abs().mean()
    gradient = torch.autograd.grad(loss, list(detector.parameters()), allow_unused=True)
    norms = sum(float(g.pow(2).sum().sqrt()) for g in gradient if g is not None)
    assert score("grad_norm", architecture) == pytest.approx(math.log(norms), abs=1e-4)


def test_gradients_reach_the_residual_branches() -> None:
    detector = untrained(make_architecture(), PROBE)
    for parameter in detector.parameters():
        parameter.requires_grad_(True)
    sum(x.sum() for x in detector(PROBE.images(2)).scores).backward()
    gradient = detector.backbone.c3[0].branch[0].conv.weight.grad
    assert gradient is not None
    assert float(gradient.abs().max()) > 0
