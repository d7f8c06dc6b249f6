"""Ranges of stage 1: checks, and the published backbones that they contain."""

import pytest

from search_spaces.errors import ConfigError
from search_spaces.spaces.backbone_draws import next_width_weights
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.zoo import load_zoo


@pytest.mark.parametrize("name", ["mobilenet_0.5g", "mobilenet_1g", "scrfd_0.5g", "scrfd_1g"])
def test_mobile_space_contains_the_published_mobile_backbones(name: str) -> None:
    ranges = BackboneRanges.of_family("mobile")
    backbone = load_zoo(name).backbone
    chain = (*backbone.stem_widths, *backbone.widths)
    assert chain[0] in ranges.stem_weights()
    for width, following, ratio in zip(chain[:-1], chain[1:], ranges.ratios, strict=True):
        assert following in next_width_weights(width, ratio)
    assert all(ranges.depth[0] <= depth <= ranges.depth[1] for depth in backbone.depths)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"blocks": ()}, "blocks must be"),
        ({"blocks": ("basic", "basic")}, "blocks must be"),
        ({"blocks": ("basic", "depthwise")}, "family of their own"),
        ({"blocks": ("depthwise",)}, "no blocks depthwise"),
        ({"stem": (4, 64)}, "stem range must be an integer of at least 8, got 4"),
        ({"stem": (64, 8)}, "low=64, high=8"),
        ({"depth": (0, 3)}, "at least 1, got 0"),
        ({"depth": (1, 2.5)}, "must be an integer"),
        ({"depth": 3}, "two numbers, got 3"),
        ({"ratio": (0, 2)}, "0 < low"),
        ({"ratio": (1, 1000)}, "high=1000"),
        ({"ratio": (1, float("nan"))}, "finite number, got nan"),
        ({"ratio": (1, 1.23456)}, "at most 3 decimals"),
        ({"ratio": ("a", 2)}, "finite number, got 'a'"),
        ({"speed": 3}, "unknown keys"),
    ],
)
def test_bad_ranges_are_refused(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        BackboneRanges.of_family("resnet", **changes)
