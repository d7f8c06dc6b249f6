"""Neck and head of stage 1 by budget."""

import pytest

from search_spaces.spaces.neck_and_head import neck_and_head
from search_spaces.zoo import load_zoo


@pytest.mark.parametrize(
    ("family", "flops", "name"),
    [
        ("mobile", 500_000_000, "mobilenet_0.5g"),
        ("mobile", 1_000_000_000, "mobilenet_1g"),
        ("resnet", 2_500_000_000, "resnet_2.5g"),
        ("resnet", 10_000_000_000, "resnet_10g"),
        ("resnet", 34_000_000_000, "resnet_34g"),
        ("resnet", 2_600_000_000, "resnet_2.5g"),
    ],
)
def test_budgets_of_baselines_have_their_neck_and_head(family: str, flops: int, name: str) -> None:
    baseline = load_zoo(name)
    assert neck_and_head(family, flops) == (baseline.neck, baseline.head)


def test_neck_and_head_are_interpolated_in_logarithms_between_baselines() -> None:
    # Half way between 2.5G (48, 96) and 10G (128, 160): sqrt(48*128) = 78.4, sqrt(96*160) = 123.9
    neck, head = neck_and_head("resnet", 5_000_000_000)
    assert (neck.width, head.width, head.convs, head.groups) == (80, 120, 2, 8)


@pytest.mark.parametrize("family", ["mobile", "resnet"])
def test_neck_and_head_grow_with_the_budget_within_limits(family: str) -> None:
    budgets = [int(10 ** (exponent / 4)) for exponent in range(24, 48)]
    pairs = [neck_and_head(family, flops) for flops in budgets]
    necks, heads = [n.width for n, _ in pairs], [h.width for _, h in pairs]
    assert necks == sorted(necks)
    assert heads == sorted(heads)
    assert {necks[0], necks[-1]} == {8, 128}
    assert heads[-1] == 256
