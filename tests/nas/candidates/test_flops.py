import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from nas.candidates import call_counting
from nas.candidates.call_counting import (
    FREE_OPERATORS,
    OUTSIDE,
    FlopsError,
    count_parts,
    forget_counts,
)
from nas.candidates.flops import confirm_flops, count_flops
from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.cost import detector as cost
from search_spaces.errors import ConfigError
from search_spaces.network.detector import build_detector
from search_spaces.network.neck import PAFPN
from search_spaces.zoo import load_zoo, zoo_names


class Flat(nn.Module):
    """The detector with its outputs in one tuple, which is all that a trace can return."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        outputs = self.model(images)
        return (*outputs.scores, *outputs.boxes, *(outputs.keypoints or ()))


def plain_count(architecture, height=480, width=640):
    """fvcore's total of the whole network with its weights, in one trace of a whole image."""
    flat = Flat(build_detector(architecture).eval())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fvcore leans on torch.jit, which torch deprecates
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(flat, torch.zeros(1, 3, height, width))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        analysis.set_op_handle(**dict.fromkeys(FREE_OPERATORS))
        total = analysis.total()
    assert not analysis.unsupported_ops()
    return total


def random_architecture(block, random):
    """Any valid architecture of the kind, small enough to trace quickly."""

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
def test_the_closed_form_equals_fvcore_to_the_integer_in_every_part(block):
    random = np.random.default_rng(["basic", "bottleneck", "depthwise"].index(block))
    for _ in range(70):
        architecture = random_architecture(block, random)
        assert count_flops(architecture) == cost.flops_by_part(architecture), architecture


@pytest.mark.parametrize("size", [(480, 640), (150, 203), (97, 131)])
@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
def test_calls_counted_one_by_one_are_the_whole_network_traced_at_once(block, size):
    random = np.random.default_rng(9)
    for _ in range(6 if size == (480, 640) else 2):
        architecture = random_architecture(block, random)
        whole = plain_count(architecture, *size)
        assert sum(count_flops(architecture, *size).values()) == whole, architecture
        assert cost.total(cost.flops_by_part(architecture, *size)) == whole, architecture


@pytest.mark.parametrize("name", zoo_names())
def test_the_family_equals_fvcore(name):
    architecture = load_zoo(name)
    counted = count_flops(architecture)
    assert counted == cost.flops_by_part(architecture)
    assert confirm_flops(architecture) == sum(counted.values())


@pytest.mark.parametrize("name", ["scrfd_0.5g", "scrfd_1g", "scrfd_2.5g_kps", "resnet_2.5g"])
def test_the_family_counted_call_by_call_is_the_family_traced_at_480x640(name):
    architecture = load_zoo(name)
    assert sum(count_flops(architecture).values()) == plain_count(architecture)


def test_a_count_does_not_depend_on_what_was_counted_before():
    random = np.random.default_rng(1)
    architectures = [random_architecture("basic", random) for _ in range(3)]
    together = [count_flops(architecture) for architecture in architectures]
    for architecture, counted in zip(reversed(architectures), reversed(together), strict=True):
        forget_counts()
        assert count_flops(architecture) == counted


def test_a_second_count_traces_nothing(monkeypatch):
    architecture = load_zoo("scrfd_0.5g")
    counted = count_flops(architecture)
    monkeypatch.setattr(call_counting, "_count", None)
    assert count_flops(architecture) == counted


def test_no_more_calls_are_remembered_than_allowed(monkeypatch):
    monkeypatch.setattr(call_counting, "MAX_REMEMBERED", 10)
    expected = count_flops(load_zoo("scrfd_0.5g"))
    count_flops(load_zoo("scrfd_2.5g"))
    assert count_flops(load_zoo("scrfd_0.5g")) == expected
    forget_counts()


def test_a_network_of_full_depth_equals_fvcore():
    backbone = Backbone(
        block="bottleneck", stem_widths=(8,), depths=(10, 10, 10, 10), widths=(8, 16, 32, 64)
    )
    head = Head(convs=4, width=64, groups=8)
    deep = Architecture(backbone=backbone, neck=Neck(width=8), head=head)
    assert count_flops(deep) == cost.flops_by_part(deep)


def test_parts_come_in_order_as_ints():
    parts = count_flops(load_zoo("scrfd_0.5g"))
    assert tuple(parts) == cost.PARTS
    assert all(type(value) is int for value in parts.values())


def test_counting_draws_no_random_numbers():
    before = torch.get_rng_state()
    count_flops(load_zoo("scrfd_0.5g"))
    assert torch.equal(torch.get_rng_state(), before)


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
def test_an_operator_that_nobody_declared_is_an_error(function, operator):
    with pytest.raises(FlopsError, match=operator):
        count_parts(Apply(function), (8, 8), {})


def test_declared_free_operators_cost_nothing():
    model = Apply(lambda x: nn.functional.max_pool2d(x + x, 2) * 3)
    assert count_parts(model, (8, 8), {}) == {OUTSIDE: 0}


def test_what_is_computed_between_modules_is_counted_too():
    inner = Apply(lambda x: nn.functional.interpolate(x, scale_factor=2))
    model = nn.Sequential(inner, Apply(lambda x: nn.functional.conv2d(x, x[:, :, :3, :3])))
    counts = count_parts(model, (8, 4), {"inner": "0"})
    assert counts == {"inner": 3 * 16 * 8, OUTSIDE: (3 * 3 * 3) * (14 * 6)}


def test_functions_that_answer_questions_or_give_several_tensors_are_no_obstacle():
    def function(x):
        top, bottom = torch.split(x, [x.shape[2] // 2, x.size(2) // 2], dim=2)
        return nn.functional.conv2d(top, bottom)

    for _ in range(2):  # met, then remembered
        assert count_parts(Apply(function), (6, 4), {}) == {OUTSIDE: 3 * 3 * 4}


def test_a_call_in_place_does_not_spoil_what_is_remembered():
    def function(x):
        return nn.functional.interpolate((x * 2).unsqueeze_(0)[0], scale_factor=2)

    for _ in range(2):
        assert count_parts(Apply(function), (4, 4), {}) == {OUTSIDE: 3 * 8 * 8}


def test_nothing_is_logged(caplog, capfd):
    count_flops(load_zoo("scrfd_0.5g"))
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", ["bias", "batch_norm", "group_norm", "upsample"])
def test_a_closed_form_with_one_wrong_price_is_found_out(method, monkeypatch):
    architecture = load_zoo("scrfd_0.5g")
    confirm_flops(architecture)
    wrong = replace(cost.FVCORE, **{method: getattr(cost.FVCORE, method) + 1})
    monkeypatch.setattr(cost, "FVCORE", wrong)
    with pytest.raises(FlopsError, match=r"fvcore counts .*; please report this"):
        confirm_flops(architecture)


def test_a_network_with_a_layer_that_the_closed_form_lacks_is_found_out(monkeypatch):
    architecture = load_zoo("scrfd_0.5g")
    confirm_flops(architecture)
    forward = PAFPN.forward

    def enlarged(self, features):
        return [nn.functional.interpolate(x, scale_factor=1) for x in forward(self, features)]

    monkeypatch.setattr(PAFPN, "forward", enlarged)
    with pytest.raises(FlopsError, match="fvcore counts"):
        confirm_flops(architecture)


def test_an_image_without_area_is_refused():
    with pytest.raises(ConfigError, match="positive height and width, got 0 x 640"):
        count_flops(load_zoo("scrfd_0.5g"), 0, 640)
