"""Scores without a network, against numbers by hand and published ones."""

import math
from dataclasses import replace

import pytest

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.cost.detector import flops_by_part
from search_spaces.network.detector import build_detector
from search_spaces.zoo import load_zoo
from trials.proxies.registry import score

TINY = Architecture(
    backbone=Backbone(block="basic", stem_widths=(8,), depths=(1, 2, 3, 4), widths=(8, 8, 16, 16)),
    neck=Neck(width=8),
    head=Head(convs=1, width=8, groups=8),
)


def test_params_is_the_logarithm_of_what_the_network_has() -> None:
    counted = sum(parameter.numel() for parameter in build_detector(TINY).parameters())
    assert score("params", TINY) == pytest.approx(math.log(counted), abs=1e-12)


def test_flops_and_shares_are_those_of_the_parts() -> None:
    flops = flops_by_part(TINY)
    whole = sum(flops.values())
    early = flops["stem"] + flops["c2"] + flops["c3"]
    assert score("flops", TINY) == pytest.approx(math.log(whole), abs=1e-12)
    assert score("early", TINY) == pytest.approx(early / whole)
    assert score("backbone", TINY) == pytest.approx(1 - (flops["neck"] + flops["head"]) / whole)


def test_depth_counts_blocks() -> None:
    assert score("depth", TINY) == 10


def test_the_searched_network_spends_earlier_than_the_plain_one() -> None:
    assert score("early", load_zoo("scrfd_2.5g")) > score("early", load_zoo("resnet_2.5g"))
    assert score("early", load_zoo("scrfd_0.5g")) > score("early", load_zoo("mobilenet_0.5g"))


def test_a_wider_last_stage_has_more_parameters_and_a_smaller_early_share() -> None:
    wider = replace(TINY, backbone=replace(TINY.backbone, widths=(8, 8, 16, 32)))
    assert score("params", wider) > score("params", TINY)
    assert score("early", wider) < score("early", TINY)
