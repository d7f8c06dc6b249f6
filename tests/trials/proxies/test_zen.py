"""Zen-scores against a direct computation and consequences of the formula."""

import math

import pytest
import torch
from tiny import make_architecture
from torch import nn

from search_spaces.network.layers import ConvUnit, ResidualBlock, basic_block
from trials.proxies import zen
from trials.proxies.probe import Probe
from trials.proxies.registry import score

PROBE = Probe(seed=3)
NETWORK = make_architecture()


def random_unit(inputs: int, outputs: int, kernel: int = 3) -> ConvUnit:
    unit = ConvUnit(inputs, outputs, kernel=kernel)
    nn.init.normal_(unit.conv.weight, generator=torch.Generator().manual_seed(inputs))
    return unit


def score_of(layers: nn.Module, pair: torch.Tensor) -> float:
    output, log_scale = zen.plain_pass(layers, pair)
    return zen.log_response(output) + log_scale


def test_one_pixelwise_conv_by_hand() -> None:
    # One channel times 5. x is -1 and 1, its neighbour x + 0.5: the mean of all four values is
    # 5 * 0.25, their standard deviation 5 * sqrt(1 + 0.25 ** 2) = sd. After ReLU the pairs are
    # (0, 0) and (3.75 / sd, 6.25 / sd): the distances 0 and 2.5 / sd, 1.25 / sd on average.
    unit = ConvUnit(1, 1, kernel=1)
    nn.init.constant_(unit.conv.weight, 5.0)
    pair = torch.tensor([-1.0, 1.0, -0.5, 1.5]).view(4, 1, 1, 1)
    deviation = 5 * math.sqrt(1 + 0.25**2)
    expected = math.log(1.25 / deviation) + math.log(deviation)
    with torch.no_grad():
        assert score_of(unit, pair) == pytest.approx(expected, abs=1e-5)


def test_a_chain_is_batch_norm_and_relu_after_every_conv() -> None:
    first, second = random_unit(3, 6), random_unit(6, 4)
    pair = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scales, x = 0.0, pair
    with torch.no_grad():
        for conv in (first.conv, second.conv):
            x = conv(x)
            norm = nn.BatchNorm2d(x.shape[1], momentum=1.0, affine=False).train()
            y = norm(x)
            assert norm.running_var is not None
            count = x.numel() / x.shape[1]  # its running variance is that of a sample
            scales += 0.5 * math.log(float(norm.running_var.mean()) * (count - 1) / count)
            x = y.relu()
        distances = [float((x[i] - x[i + 4]).norm()) for i in range(4)]
        expected = math.log(sum(distances) / 4) + scales
        assert score_of(nn.Sequential(first, second), pair) == pytest.approx(expected, abs=1e-5)


def test_residual_links_are_ignored() -> None:
    block = basic_block(4, 4, stride=1)
    assert isinstance(block, ResidualBlock)
    chain = nn.Sequential(*block.branch)
    pair = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert score_of(block, pair) == score_of(chain, pair)


@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
def test_deeper_networks_have_higher_scores(block: str) -> None:
    scores = [score("zen", make_architecture(block, depths=depth)) for depth in (1, 2, 4)]
    assert scores == sorted(scores)


def test_the_stage_aware_score_is_the_weighted_mean_of_three_stages() -> None:
    c2, c3, c4, c5 = zen.stage_scores(NETWORK, PROBE)
    assert len({c2, c3, c4, c5}) == 4
    expected = 0.7893 * c3 + 0.10535 * c4 + 0.10535 * c5
    assert zen.stage_zen(NETWORK, PROBE) == pytest.approx(expected)
    assert zen.zen(NETWORK, PROBE) == c5
    assert sum(zen.LEVEL_WEIGHTS) == pytest.approx(1)
