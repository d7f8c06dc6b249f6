from dataclasses import replace

import pytest

from search_spaces.architecture import (
    Architecture,
    Backbone,
    Head,
    Neck,
    load_architecture,
    save_architecture,
)
from search_spaces.errors import ConfigError


def basic(**changes: object) -> Backbone:
    values = {
        "block": "basic",
        "stem_widths": (16,),
        "depths": (1, 2, 3, 4),
        "widths": (16, 24, 32, 40),
    }
    return Backbone(**{**values, **changes})


def small(**changes: object) -> Architecture:
    parts = {
        "backbone": basic(),
        "neck": Neck(width=16),
        "head": Head(convs=1, width=32, groups=8),
    }
    return Architecture(**{**parts, **changes})


def test_yaml_and_file_round_trip(tmp_path):
    architecture = small(name="mine")
    save_architecture(architecture, tmp_path / "a.yaml")
    for again in (
        Architecture.from_yaml(architecture.to_yaml()),
        load_architecture(tmp_path / "a.yaml"),
    ):
        assert again == architecture
        assert again.name == "mine"


def test_names_and_kinds_of_sequences_do_not_change_the_hash():
    other = small(name="a", backbone=basic(depths=[1, 2, 3, 4]))
    assert other.content_hash == small(name="b").content_hash
    assert other == small(name="b")


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": basic(depths=(1, 2, 3, 5))},
        {"backbone": basic(block="bottleneck")},
        {"neck": Neck(width=24)},
        {"head": Head(convs=1, width=32, groups=16)},
        {"head": Head(convs=1, width=32, groups=8, keypoints=5)},
        {"head": Head(convs=1, width=32, groups=8, shared=False)},
        {"head": Head(convs=1, width=32, groups=8, level_scales=False)},
        {"head": Head(convs=1, width=32, groups=8, depthwise=True)},
        {"head": Head(convs=1, width=32, norm="batch")},
    ],
)
def test_every_difference_changes_the_hash(changes):
    assert small(**changes).content_hash != small().content_hash


def test_bottleneck_outputs_are_four_times_the_width():
    assert basic(block="bottleneck").output_widths == (64, 96, 128, 160)
    assert basic().output_widths == (16, 24, 32, 40)


@pytest.mark.parametrize(
    "changes",
    [
        {"block": "dense"},
        {"depths": (1, 2, 3)},
        {"depths": (1, 2, 3, 0)},
        {"depths": (1, 2, 3, 1.5)},
        {"depths": (1, 2, 3, True)},
        {"depths": "1234"},
        {"widths": (16, 24, 32, 10**9)},
        {"stem_widths": (16, 16)},
        {"stem_widths": (15,)},
        {"stem_widths": 16},
        {"block": "depthwise"},
    ],
)
def test_invalid_backbones_are_refused(changes):
    with pytest.raises(ConfigError, match="got"):
        basic(**changes)


@pytest.mark.parametrize(
    "values",
    [
        {"convs": 0, "width": 32, "groups": 8},
        {"convs": 1, "width": 32},
        {"convs": 1, "width": 32, "groups": 5},
        {"convs": 1, "width": 32, "groups": 8, "keypoints": 4},
        {"convs": 1, "width": 32, "groups": 8, "shared": 1},
        {"convs": 1, "width": 32, "groups": 8, "norm": "batch"},
        {"convs": 1, "width": 32, "groups": 8, "norm": "layer"},
    ],
)
def test_invalid_heads_are_refused(values):
    with pytest.raises(ConfigError, match="got"):
        Head(**values)


def test_groups_of_a_separable_tower_must_divide_the_neck_width():
    head = Head(convs=1, width=32, groups=32, depthwise=True)
    with pytest.raises(ConfigError, match="neck's width 16, got 32"):
        small(head=head)
    assert small(head=replace(head, depthwise=False)).head.groups == 32


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must be a mapping"),
        ("[1, 2]", "must be a mapping"),
        ("neck: {width: 3}", "lacks the keys"),
        ("a: {", "is not valid YAML"),
        (small().to_yaml().replace("neck: {width: 16}", "neck: {width: 16, wdith: 3}"), "wdith"),
    ],
)
def test_invalid_yaml_raises_an_error_with_its_source(text, rule):
    with pytest.raises(ConfigError, match=rf"^hostile\.yaml: .*{rule}"):
        Architecture.from_yaml(text, "hostile.yaml")
