"""Proxies in closed form, against numbers by hand and published ones."""

import math

import pytest
from tiny import make_architecture

from search_spaces.cost.detector import flops_by_part
from search_spaces.network.detector import build_detector
from search_spaces.zoo import load_zoo
from trials.proxies.registry import score

NETWORK = make_architecture(depths=(1, 2, 3, 4), widths=(8, 8, 16, 16))


def test_params_and_depth_are_those_of_the_network() -> None:
    counted = sum(parameter.numel() for parameter in build_detector(NETWORK).parameters())
    assert score("params", NETWORK) == pytest.approx(math.log(counted), abs=1e-12)
    assert score("depth", NETWORK) == 10


def test_flops_and_shares_are_those_of_the_parts() -> None:
    flops = flops_by_part(NETWORK)
    whole = sum(flops.values())
    early = flops["stem"] + flops["c2"] + flops["c3"]
    assert score("flops", NETWORK) == pytest.approx(math.log(whole), abs=1e-12)
    assert score("early", NETWORK) == pytest.approx(early / whole)
    assert score("backbone", NETWORK) == pytest.approx(1 - (flops["neck"] + flops["head"]) / whole)


def test_the_searched_network_spends_more_flops_early_than_the_plain_one() -> None:
    assert score("early", load_zoo("scrfd_2.5g")) > score("early", load_zoo("resnet_2.5g"))
    assert score("early", load_zoo("scrfd_0.5g")) > score("early", load_zoo("mobilenet_0.5g"))
