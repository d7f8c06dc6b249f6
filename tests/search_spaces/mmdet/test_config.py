"""Reading and writing of configurations of the SCRFD repository."""

import ast
from dataclasses import replace

import pytest
import torch

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.errors import ConfigError
from search_spaces.mmdet.config_reader import architecture_from_mmdet
from search_spaces.mmdet.config_writer import mmdet_config
from search_spaces.zoo import load_zoo, zoo_names

SMALL = Architecture(
    backbone=Backbone(
        block="bottleneck", stem_widths=(16,), depths=(1, 2, 3, 4), widths=(8, 16, 24, 32)
    ),
    neck=Neck(width=24),
    head=Head(convs=3, width=48, groups=8, shared=False, level_scales=False),
    name="small",
)
HEAD = """dict(type='SCRFDHead', num_classes=1, in_channels=48, stacked_convs=2,
    feat_channels=96, norm_cfg=dict(type='GN', num_groups=16, requires_grad=True),
    cls_reg_share=True, strides_share=True, scale_mode=2, use_kps=False)"""


def config(backbone, head=HEAD, inputs=(16, 32, 64, 128), **neck):
    fields = {"type": "PAFPN", "out_channels": 48, "start_level": 1, "num_outs": 3, **neck}
    return (
        f"model = dict(type='SCRFD', backbone={backbone}, "
        f"neck=dict(in_channels={list(inputs)}, **{fields}), bbox_head={head})"
    )


def resnet(**fields):
    return f"dict(**{ {'type': 'ResNetV1e', **fields} })"


@pytest.mark.parametrize("architecture", [*map(load_zoo, zoo_names()), SMALL], ids=lambda a: a.name)
def test_configurations_round_trip(architecture):
    again = architecture_from_mmdet(mmdet_config(architecture), "x.py", architecture.name)
    assert again == architecture
    assert again.name == architecture.name


def test_the_text_is_assignments_only_for_any_name():
    text = mmdet_config(replace(SMALL, name="x\nimport os\n"))
    assert all(isinstance(statement, ast.Assign) for statement in ast.parse(text).body)


def test_the_schedule_scales_with_the_epochs():
    assert "step=[440, 544]" in mmdet_config(SMALL)
    assert "step=[55, 68]" in mmdet_config(SMALL, 80)
    assert "step=[1, 1]" in mmdet_config(SMALL, 1)
    with pytest.raises(ConfigError, match="epochs must be"):
        mmdet_config(SMALL, 0)


def test_depth_without_block_cfg_selects_the_blocks():
    found = architecture_from_mmdet(config(resnet(depth=34, base_channels=16)), "x.py")
    assert found == load_zoo("resnet_2.5g")


def test_the_unused_first_input_of_the_neck_is_ignored():
    head = HEAD.replace("48", "128").replace("96", "256").replace("=16", "=32")
    text = config(resnet(depth=56, base_channels=64), head, (64, 512, 1024, 2048), out_channels=128)
    assert architecture_from_mmdet(text, "x.py") == load_zoo("resnet_34g")


def test_stages_of_a_searched_candidate():
    blocks = {"block": "Bottleneck", "stage_blocks": (2, 3, 4, 5), "stage_planes": [8, 16, 16, 24]}
    text = config(resnet(depth=0, base_channels=8, block_cfg=blocks), inputs=(32, 64, 64, 96))
    found = architecture_from_mmdet(text, "x.py").backbone
    assert found == Backbone(
        block="bottleneck", stem_widths=(8,), depths=(2, 3, 4, 5), widths=(8, 16, 16, 24)
    )


@pytest.mark.parametrize(
    ("scale_mode", "shared", "scales"),
    [(0, True, False), (0, False, False), (1, True, True), (1, False, False), (2, False, True)],
)
def test_scale_modes(scale_mode, shared, scales):
    head = HEAD.replace("scale_mode=2", f"scale_mode={scale_mode}")
    head = head.replace("strides_share=True", f"strides_share={shared}")
    text = config(resnet(depth=34, base_channels=16), head)
    assert architecture_from_mmdet(text, "x.py").head.level_scales is scales


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("'SCRFD'", "'RetinaNet'", r"model.type must be 'SCRFD', got 'RetinaNet'"),
        ("ResNetV1e", "ResNet", "model.backbone.type must be"),
        ("'depth': 34", "'depth': 33", "depth must be one of"),
        ("'depth': 34", "'depth': 34, 'dcn': {'type': 'DCN'}", "dcn must be None"),
        ("'depth': 34", "'depth': 34, 'norm_cfg': {'type': 'GN'}", "norm_cfg.type must be 'BN'"),
        ("'base_channels': 16", "'base_channels': 15", "stem_widths must be even"),
        ("'base_channels': 16", "'base_channels': '16'", "must be an integer, got '16'"),
        ("'base_channels': 16", "'base_channels': True", "must be an integer, got True"),
        ("'num_outs': 3", "'num_outs': 5", "num_outs must be 3, got 5"),
        ("[16, 32, 64, 128]", "[16, 32, 64, 999]", "end with the backbone's outputs"),
        ("in_channels=48", "in_channels=40", "bbox_head.in_channels must be 48, got 40"),
        ("cls_reg_share=True", "cls_reg_share=False", "cls_reg_share must be True"),
        ("num_classes=1", "num_classes=80", "num_classes must be 1, got 80"),
        ("num_groups=16", "num_groups=7", "must divide the head's width of 96"),
        ("'GN'", "'SyncBN'", "norm_cfg.type must be 'GN' or 'BN'"),
        ("use_kps=False", "use_kps=1", "use_kps must be True or False, got 1"),
        ("use_kps=False", "loss_dfl=dict(type='D')", "loss_dfl must be False or None"),
        (
            "use_kps=False",
            "anchor_generator=dict(ratios=[2.0], scales=[3], base_sizes=[8], strides=[8])",
            "anchor_generator.ratios must be",
        ),
        ("bbox_head=", "no_head=", "lacks 'bbox_head'"),
    ],
)
def test_unsupported_networks_are_refused(old, new, message):
    text = config(resnet(depth=34, base_channels=16))
    assert old in text
    with pytest.raises(ConfigError, match=message) as caught:
        architecture_from_mmdet(text.replace(old, new), "x.py")
    assert str(caught.value).startswith("x.py")


def test_a_model_that_is_no_dict_is_refused():
    with pytest.raises(ConfigError, match="model must be a dict, got list"):
        architecture_from_mmdet("model = [1]", "x.py")


def test_the_configuration_in_a_published_checkpoint_is_read(shared_dir):
    path = shared_dir / "weights" / "scrfd_500m_kps_official.pth"
    content = torch.load(path, map_location="cpu", weights_only=True)
    found = architecture_from_mmdet(content["meta"]["config"], "dumped.py")
    assert found == load_zoo("scrfd_0.5g_kps")
