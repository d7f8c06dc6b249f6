"""Costs by hand, of the reference, and of arrays; `tests/nas` compares them with fvcore."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.cost import detector as cost
from search_spaces.cost.layers import PUBLISHED
from search_spaces.errors import ConfigError
from search_spaces.zoo import load_zoo, zoo_names

REFERENCE_PARTS = {"stem": "backbone.stem", "pool": "backbone.maxpool"}
REFERENCE_PARTS |= {f"c{stage + 1}": f"backbone.layer{stage}" for stage in (1, 2, 3, 4)}
REFERENCE_PARTS |= {"neck": "neck", "head": "bbox_head"}
# mmcv 1.3.3, which made the golden files, counts GroupNorm too.
MMCV_1_3 = replace(PUBLISHED, group_norm=2)


def tiny(block="basic", **head):
    backbone = Backbone(
        block=block,
        stem_widths=(2, 2) if block == "depthwise" else (2,),
        depths=(1, 1, 1, 1),
        widths=(2, 2, 2, 2),
    )
    values = {"convs": 1, "width": 4, "norm": "batch", **head}
    return Architecture(backbone=backbone, neck=Neck(width=3), head=Head(**values))


def test_stage_flops_by_hand():
    basic = cost.flops_by_part(tiny(), 32, 32)
    # C2, 8 x 8 cells, no shortcut: two convs of 36 weights and two BatchNorms of 2 channels
    assert basic["c2"] == 64 * 2 * (36 + 4)
    # C3, 4 x 4 cells: the same and a 1x1 shortcut of 4 weights with its BatchNorm
    assert basic["c3"] == 16 * (2 * (36 + 4) + 4 + 4)
    bottleneck = cost.flops_by_part(tiny("bottleneck"), 32, 32)
    # C2, 64 cells: 1x1 2->2, 3x3 2->2, 1x1 2->8, shortcut 1x1 2->8
    assert bottleneck["c2"] == 64 * ((4 + 4) + (36 + 4) + (16 + 16) + (16 + 16))
    # C3: the first 1x1 (8->2) still works on 64 cells, the rest on 16
    assert bottleneck["c3"] == 64 * (16 + 4) + 16 * ((36 + 4) + (16 + 16) + (64 + 16))
    # C2, 8 x 8 cells: depthwise 18 weights, pointwise 4, two BatchNorms
    assert cost.flops_by_part(tiny("depthwise"), 32, 32)["c2"] == 64 * (18 + 4 + 4 + 4)


def test_towers_of_their_own_and_level_scales_add_parameters_but_no_flops():
    plain = tiny(level_scales=False)
    apart, scaled = tiny(shared=False, level_scales=False), tiny()
    assert cost.flops_by_part(apart) == cost.flops_by_part(plain) == cost.flops_by_part(scaled)
    params = cost.params_by_part(plain)["head"]
    assert cost.params_by_part(apart)["head"] == 3 * params
    assert cost.params_by_part(scaled)["head"] == params + 3


@pytest.mark.parametrize("name", zoo_names())
def test_parameters_by_part_equal_the_reference(name, reference_model):
    golden = reference_model(name)
    params = cost.params_by_part(load_zoo(name))
    expected = golden["params_by_part"]
    assert params == {part: expected[REFERENCE_PARTS[part]] for part in cost.PARTS}
    assert cost.total(params) == golden["params"]


@pytest.mark.parametrize("name", zoo_names())
def test_published_flops_by_part_equal_the_reference_counter(name, reference_model):
    golden = reference_model(name)
    expected = {
        part: golden["flops_by_part_exact"].get(key, 0) for part, key in REFERENCE_PARTS.items()
    }
    counted = cost.cost_by_part(load_zoo(name), MMCV_1_3)
    assert counted == expected
    assert cost.total(counted) == golden["flops_480x640"]


@pytest.mark.parametrize(
    ("name", "fvcore", "mmcv"),
    [  # G, as fvcore counts, and as in the tables of arXiv 2105.04714
        ("scrfd_0.5g", 0.5039, 0.5087),
        ("scrfd_1g", 0.9719, 0.9823),
        ("scrfd_2.5g", 2.5217, 2.5306),
        ("scrfd_10g", 9.9624, 9.9821),
        ("scrfd_34g", 33.9868, 34.1369),
        ("resnet_2.5g", 2.5701, 2.5743),
    ],
)
def test_both_conventions_give_the_known_totals(name, fvcore, mmcv):
    architecture = load_zoo(name)
    assert round(cost.total(cost.flops_by_part(architecture)) / 1e9, 4) == fvcore
    assert round(cost.total(cost.mmcv_flops_by_part(architecture)) / 1e9, 4) == mmcv


def stacked(architectures):
    """Return a candidate whose numbers are arrays over `architectures` (of equal kinds)."""

    def stack(values):
        if isinstance(values[0], dict):
            return SimpleNamespace(**{k: stack([v[k] for v in values]) for k in values[0]})
        if isinstance(values[0], tuple):
            return tuple(stack(list(column)) for column in zip(*values, strict=True))
        if isinstance(values[0], str | bool):
            return values[0]
        return np.array(values, dtype=np.int32)

    candidate = stack([asdict(architecture) for architecture in architectures])
    candidate.head.keypoints = architectures[0].head.keypoints
    return candidate


@pytest.mark.parametrize("function", ["flops_by_part", "params_by_part", "mmcv_flops_by_part"])
@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
@pytest.mark.parametrize("shared", [True, False])
def test_costs_of_arrays_equal_those_of_their_elements(block, shared, function):
    random = np.random.default_rng(7)
    architectures = []
    for _ in range(50):
        widths = tuple(int(w) for w in 8 * random.integers(1, 60, 4))
        stem = (8, 16) if block == "depthwise" else (widths[0],)
        backbone = Backbone(
            block=block,
            stem_widths=stem,
            depths=tuple(int(d) for d in random.integers(1, 11, 4)),
            widths=widths,
        )
        head = Head(
            convs=int(random.integers(1, 5)),
            width=int(8 * random.integers(1, 33)),
            groups=8,
            depthwise=block == "depthwise",
            shared=shared,
            keypoints=5 if shared else 0,
        )
        neck = Neck(width=int(8 * random.integers(1, 17)))
        architectures.append(Architecture(backbone=backbone, neck=neck, head=head))
    count = getattr(cost, function)
    together = count(stacked(architectures))
    for i, architecture in enumerate(architectures):
        alone = count(architecture)
        assert all(type(value) is int for value in alone.values())
        assert alone == {
            part: int(np.broadcast_to(value, 50)[i]) for part, value in together.items()
        }


def test_small_integer_arrays_do_not_overflow():
    def widest(width):
        return SimpleNamespace(
            backbone=SimpleNamespace(
                block="bottleneck", stem_widths=(width,), depths=(100,) * 4, widths=(width,) * 4
            ),
            neck=SimpleNamespace(width=width),
            head=load_zoo("scrfd_34g").head,
        )

    flops = cost.total(cost.flops_by_part(widest(np.array([4096], np.int16))))
    assert flops.dtype == np.int64
    assert flops.tolist() == [cost.total(cost.flops_by_part(widest(4096)))]


def test_empty_images_and_unknown_blocks_are_refused():
    for size in ((0, 640), (480, -1)):
        with pytest.raises(ConfigError, match="positive height and width"):
            cost.flops_by_part(tiny(), *size)
    backbone = SimpleNamespace(block="dense", stem_widths=(8,), depths=(1,) * 4, widths=(8,) * 4)
    with pytest.raises(ConfigError, match="'dense'"):
        cost.flops_by_part(SimpleNamespace(backbone=backbone))
