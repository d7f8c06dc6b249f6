from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nas.candidates.flops import FlopsError, confirm_flops, count_by_module, count_flops
from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.cost import detector as cost
from search_spaces.errors import ConfigError
from search_spaces.network.detector import Detector, build_detector
from search_spaces.network.neck import PAFPN
from search_spaces.zoo import load_zoo, zoo_names


def random_architecture(block, random):
    """Return any valid architecture with this kind of block, small enough to trace quickly."""

    def draw(low, high, count=1):
        return tuple(int(n) for n in random.integers(low, high + 1, count))

    def flip():
        return bool(random.integers(2))

    stem = draw(1, 40, 2) if block == "depthwise" else (2 * draw(1, 30)[0],)
    widths = draw(1, 90, 4)
    if flip():  # as the spaces do: the stem is as wide as C2
        stem = (*stem[:-1], 2 * draw(1, 30)[0])
        widths = (stem[-1], *widths[1:])
    groups, batch = draw(1, 8)[0], flip()
    head = Head(
        convs=draw(1, 2)[0],
        width=groups * draw(1, 12)[0],
        depthwise=flip(),
        norm="batch" if batch else "group",
        groups=0 if batch else groups,
        shared=flip(),
        keypoints=5 * flip(),
        level_scales=flip(),
    )
    backbone = Backbone(block=block, stem_widths=stem, depths=draw(1, 2, 4), widths=widths)
    return Architecture(backbone=backbone, neck=Neck(width=groups * draw(1, 8)[0]), head=head)


@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
def test_closed_form_equals_fvcore_to_the_integer_in_every_part(block):
    random = np.random.default_rng(["basic", "bottleneck", "depthwise"].index(block))
    for _ in range(12):
        architecture = random_architecture(block, random)
        assert count_flops(architecture) == cost.flops_by_part(architecture), architecture


@pytest.mark.parametrize("size", [(480, 640), (150, 203), (97, 131)])
@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
def test_closed_form_and_scaled_count_equal_a_trace_of_the_whole_image(block, size):
    random = np.random.default_rng(9)
    for _ in range(2):
        architecture = random_architecture(block, random)
        whole = count_by_module(build_detector(architecture).eval(), size)
        assert sum(count_flops(architecture, *size).values()) == whole[""], architecture
        assert cost.total(cost.flops_by_part(architecture, *size)) == whole[""], architecture


DEEPEST = Architecture(
    backbone=Backbone(
        block="bottleneck", stem_widths=(8,), depths=(10,) * 4, widths=(8, 16, 32, 64)
    ),
    neck=Neck(width=8),
    head=Head(convs=4, width=64, groups=8),
)


@pytest.mark.parametrize("name", [*zoo_names(), "deepest"])
def test_closed_form_of_published_and_deepest_networks_equals_fvcore(name):
    architecture = DEEPEST if name == "deepest" else load_zoo(name)
    counted = count_flops(architecture)
    assert counted == cost.flops_by_part(architecture)
    assert confirm_flops(architecture) == sum(counted.values())


def test_parts_come_in_order_as_ints_without_logs_and_random_numbers(caplog, capfd):
    before = torch.get_rng_state()
    parts = count_flops(load_zoo("scrfd_0.5g"))
    assert tuple(parts) == cost.PARTS
    assert all(type(value) is int for value in parts.values())
    assert torch.equal(torch.get_rng_state(), before)
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


class Apply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (torch.sigmoid, "aten::sigmoid"),
        (torch.fft.fft2, "aten::fft_fft2"),
        (torch.exp, "aten::exp"),
    ],
)
def test_unknown_operator_is_an_error(function, operator):
    with pytest.raises(FlopsError, match=operator):
        count_by_module(Apply(function), (8, 8))


def test_free_operators_cost_nothing():
    model = Apply(lambda x: nn.functional.max_pool2d(x + x, 2) * 3)
    assert count_by_module(model, (8, 8))[""] == 0


def test_flops_between_modules_belong_to_the_whole_model():
    inner = Apply(lambda x: nn.functional.interpolate(x, scale_factor=2))
    model = nn.Sequential(inner, Apply(lambda x: nn.functional.conv2d(x, x[:, :, :3, :3])))
    counts = count_by_module(model, (8, 4))
    assert counts["0"] == 3 * 16 * 8
    assert counts[""] - counts["0"] == (3 * 3 * 3) * (14 * 6)


def test_flops_outside_of_all_parts_are_an_error(monkeypatch):
    forward = Detector.forward

    def enlarged(self, images):
        return forward(self, nn.functional.interpolate(images, scale_factor=1))

    monkeypatch.setattr(Detector, "forward", enlarged)
    with pytest.raises(FlopsError, match=r"has 921600 FLOPs outside of stem, c2"):
        count_flops(load_zoo("scrfd_0.5g"))


@pytest.mark.parametrize("method", ["bias", "batch_norm", "group_norm", "upsample", None])
def test_wrong_or_missing_cost_in_the_closed_form_is_an_error(method, monkeypatch):
    architecture = load_zoo("scrfd_0.5g")
    confirm_flops(architecture)
    forward = PAFPN.forward

    def enlarged(self, features):
        return [nn.functional.interpolate(x, scale_factor=1) for x in forward(self, features)]

    if method:
        wrong = replace(cost.FVCORE, **{method: getattr(cost.FVCORE, method) + 1})
        monkeypatch.setattr(cost, "FVCORE", wrong)
    else:
        monkeypatch.setattr(PAFPN, "forward", enlarged)
    with pytest.raises(FlopsError, match=r"fvcore counts .*; please report this"):
        confirm_flops(architecture)


def test_image_without_area_is_an_error():
    with pytest.raises(ConfigError, match="positive height and width, got 0 x 640"):
        count_flops(load_zoo("scrfd_0.5g"), 0, 640)
