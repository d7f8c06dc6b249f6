"""Stage 2: exact counts against brute force, uniform sampling, figures of the reference."""

import json
from collections import Counter
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.cost.constraints import flops_window
from search_spaces.cost.detector import PARTS, flops_by_part, mmcv_flops_by_part, total
from search_spaces.errors import ConfigError, InfeasibleError
from search_spaces.randomness import seeded_generator
from search_spaces.spaces import network_backbones
from search_spaces.spaces.network_backbones import Proportions, backbone_blocks
from search_spaces.spaces.network_ranges import NetworkRanges
from search_spaces.spaces.network_space import NetworkSpace
from search_spaces.zoo import load_zoo

RANGES = NetworkRanges(
    depth_ratio=(0.5, 1.5), width_ratio=(0.5, 1.5), neck=(8, 24), head=(8, 32), convs=(1, 2)
)
NETS = list(product((8, 16, 24), (8, 16, 24, 32), (1, 2)))
DEPTHS = (2, 1, 3, 2)


def template_of(block: str) -> Architecture:
    mobile = block == "depthwise"
    backbone = Backbone(
        block=block,
        stem_widths=(8, 16) if mobile else (16,),
        depths=DEPTHS,
        widths=(16, 24, 24, 40),
    )
    head = Head(convs=2, width=16, groups=8, depthwise=mobile, keypoints=5 if mobile else 0)
    return Architecture(backbone=backbone, neck=Neck(width=16), head=head)


def in_proportion(flops: dict[str, int], template: dict[str, int], tolerance: float) -> bool:
    share = Fraction(str(tolerance))
    for part in PARTS[1:5]:
        t = Fraction(template[part], template["stem"])
        c = Fraction(flops[part], flops["stem"])
        if not (1 - share) * c <= t <= (1 + share) * c:
            return False
    return True


def rounded(parts: dict[str, int]) -> dict[str, int]:
    """Return FLOPs as the reference reads them: in millions."""
    return {part: round(flops / 1e6) for part, flops in parts.items()}


def free_backbones(block: str) -> list[Backbone]:
    depths = list(product((1, 2, 3), (1, 2), (2, 3, 4), (1, 2, 3)))  # round half to even
    w16, w24, w40 = (8, 16, 24), (8, 16, 24, 32), (16, 24, 32, 40, 48, 56)
    if block == "depthwise":
        stems = [(a, b) for a in (8,) for b in w16]
        firsts = [(stem, w) for stem in stems for w in w16]
    else:
        firsts = [((w,), w) for w in w16]
    return [
        Backbone(block=block, stem_widths=stem, depths=d, widths=(w1, w2, w3, w4))
        for (stem, w1), w2, w3, w4, d in product(firsts, w24, w24, w40, depths)
    ]


def scaled_backbones(block: str, template: Architecture) -> list[Backbone]:
    """Return the backbones of a dense grid of ratios, which contains every tie in rounding."""
    grid = [Fraction(1, 2) + Fraction(step, 960) for step in range(961)]
    stems = template.backbone.stem_widths
    depths = {tuple(round(d * r) for d in DEPTHS) for r in grid}
    widths = {
        tuple(round(w * r) // 8 * 8 for w in (*stems, *template.backbone.widths)) for r in grid
    }
    return [
        Backbone(block=block, stem_widths=w[: len(stems)], depths=d, widths=w[len(stems) :])
        for d, w in product(depths, widths)
        if min(w) >= 8 and min(d) >= 1
    ]


def brute_force(space: NetworkSpace, backbones: list[Backbone]) -> set[Architecture]:
    template = flops_by_part(space.template)
    low, high = flops_window(space.flops, space.tolerance)
    found = set()
    for backbone in backbones:
        plain = Architecture(backbone=backbone, neck=Neck(width=8), head=space.template.head)
        if not in_proportion(flops_by_part(plain), template, space.ratio_tolerance):
            continue
        for neck, width, convs in NETS:
            kind = space.template.head
            groups = 16 if width % 16 == 0 else 8
            groups = 32 if width % 32 == 0 else groups
            if kind.depthwise and neck % groups:
                groups = 16 if neck % 16 == 0 and groups == 32 else 8
            head = Head(
                convs=convs,
                width=width,
                groups=groups,
                depthwise=kind.depthwise,
                keypoints=kind.keypoints,
            )
            network = Architecture(backbone=backbone, neck=Neck(width=neck), head=head)
            if low <= total(flops_by_part(network)) <= high:
                found.add(network)
    return found


def space_around(block: str, space: str, tolerance: float, ratio: float) -> NetworkSpace:
    template = template_of(block)
    return NetworkSpace(
        template=template,
        flops=total(flops_by_part(template)),
        space=space,
        tolerance=tolerance,
        ratio_tolerance=ratio,
        ranges=RANGES,
    )


@pytest.mark.parametrize("block", ["basic", "bottleneck", "depthwise"])
@pytest.mark.parametrize(
    ("kind", "tolerance", "ratio"), [("free", 0.03, 0.3), ("scaled", 0.1, 0.6)]
)
def test_count_and_full_sample_equal_brute_force(
    block: str, kind: str, tolerance: float, ratio: float
) -> None:
    space = space_around(block, kind, tolerance, ratio)
    free = kind == "free"
    backbones = free_backbones(block) if free else scaled_backbones(block, space.template)
    expected = brute_force(space, backbones)
    assert space.count() == len(expected) > (20 if free else 5)
    sample = space.sample(seeded_generator(0), len(expected) + 1)
    assert set(sample.architectures) == expected
    assert len(sample.architectures) == len(expected)
    assert sample.note is not None
    assert "no more satisfy" in sample.note


def test_samples_depend_on_neither_their_number_nor_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = space_around("basic", "free", 0.03, 0.3).sample(seeded_generator(0), 40)
    few = space_around("basic", "free", 0.03, 0.3).sample(seeded_generator(0), 10)
    assert whole.architectures[:10] == few.architectures
    assert len(set(whole.architectures)) == 40
    monkeypatch.setattr(network_backbones, "BLOCK_ROWS", 7)
    assert space_around("basic", "free", 0.03, 0.3).sample(seeded_generator(0), 40) == whole


def test_sampling_is_uniform_over_members() -> None:
    space = space_around("basic", "scaled", 0.1, 0.6)
    members = space.count()
    generator = seeded_generator(0)
    repeats = 60 * members
    first = Counter(space.sample(generator, 1).architectures[0] for _ in range(repeats // 10))
    expected = repeats / 10 / members
    chi_square = sum((first[a] - expected) ** 2 / expected for a in first)
    chi_square += (members - len(first)) * expected
    assert chi_square < members + 5 * np.sqrt(2 * members)


def test_scaled_backbones_equal_the_reference_in_its_own_flops(golden_dir: Path) -> None:
    """The reference rounds FLOPs (of mmcv) to 0.001G, which admits two more of 16.

    The template's C4 is 1.102 times theirs exactly, 1.0994 times rounded.
    """
    golden = json.loads((golden_dir / "search_acceptance.json").read_text())["mode2"]
    template = load_zoo("resnet_2.5g")
    template_flops = rounded(mmcv_flops_by_part(template))
    theirs = {
        tuple(int(n) for n in key.strip("()").split(","))
        for key in golden["backbones_passing_ratio"]
    }
    ranges = NetworkRanges()
    passing = set()
    for d, w in product(
        ranges.scaled_depths(template.backbone.depths),
        ranges.scaled_widths(template.backbone.widths),
    ):
        backbone = Backbone(block="basic", stem_widths=w[:1], depths=d, widths=w)
        candidate = Architecture(backbone=backbone, neck=template.neck, head=template.head)
        if in_proportion(rounded(mmcv_flops_by_part(candidate)), template_flops, 0.1):
            passing.add((*d, *w))
    assert len(theirs) == 16
    assert passing == theirs
    proportions = Proportions(template=template, ratio_tolerance=0.1)
    (make,) = backbone_blocks("scaled", proportions, ranges, 1 << 60)
    rows = make()
    ours = {(*map(int, d), *map(int, w)) for d, w in zip(rows.depths, rows.widths, strict=True)}
    assert len(theirs & ours) == 14


def test_the_scaled_space_around_the_reference_template_equals_the_reference(
    golden_dir: Path,
) -> None:
    golden = json.loads((golden_dir / "search_acceptance.json").read_text())["mode2"]
    assert list(golden["backbones_of_accepted"]) == ["(3, 4, 6, 3 | 16, 32, 64, 128)"]
    template = load_zoo("resnet_2.5g")
    space = NetworkSpace(template=template, flops=2_500_000_000, space="scaled")
    members = space.sample(seeded_generator(0), 10**6).architectures
    assert {m.backbone for m in members} == {template.backbone}
    # Probability of this backbone: depth ratios in [11/12, 13/12], width ratios from 127.5/128 to
    # 135.5/128, each of a range of 2.5; then one of 16 x 32 x 4 necks and heads.
    backbone = (2 / 12) / 2.5 * (8 / 128) / 2.5
    rate = backbone * len(members) / 2048
    assert rate == pytest.approx(golden["rate"], rel=0.1)
    assert all(total(mmcv_flops_by_part(m)) < 2.56e9 for m in members)


def test_free_space_is_larger_and_contains_the_scaled_backbones() -> None:
    template = load_zoo("resnet_2.5g")
    scaled = NetworkSpace(template=template, flops=2_500_000_000, space="scaled").count()
    free = NetworkSpace(template=template, flops=2_500_000_000, space="free").count()
    assert (scaled, free) == (55, 17499)


def test_members_keep_kinds_and_proportions_of_the_template() -> None:
    template = load_zoo("scrfd_0.5g_kps")
    flops = total(flops_by_part(template))
    members = NetworkSpace(template=template, flops=flops).sample(seeded_generator(0), 30)
    for member in members.architectures:
        kinds = (member.head.norm, member.head.groups, member.head.shared, member.head.keypoints)
        assert kinds == ("batch", 0, template.head.shared, 5)
        assert member.head.level_scales == template.head.level_scales
        assert in_proportion(flops_by_part(member), flops_by_part(template), 0.1)
        assert abs(total(flops_by_part(member)) - flops) <= 0.02 * flops


def test_an_infeasible_target_reports_the_nearest_and_the_constraints() -> None:
    template = load_zoo("resnet_2.5g")
    space = NetworkSpace(template=template, flops=200_000_000_000)
    rule = r"200G.*nearest reachable is \d+\.\d+G.*--ratio-tolerance \(now 0.1\).*--flops"
    with pytest.raises(InfeasibleError, match=rule):
        space.sample(seeded_generator(0), 1)
    ranges = NetworkRanges(width_ratio=(1.1, 1.2))  # contain no backbone of the proportions
    space = NetworkSpace(template=template, flops=2_500_000_000, ranges=ranges)
    with pytest.raises(InfeasibleError, match="relax --ratio-tolerance"):
        space.sample(seeded_generator(0), 1)


def test_infeasible_nearest_equals_brute_force() -> None:
    template = template_of("basic")
    target = 10 * total(flops_by_part(template))
    space = NetworkSpace(template=template, flops=target, ratio_tolerance=0.3, ranges=RANGES)
    wide = NetworkSpace(
        template=template, flops=target, ratio_tolerance=0.3, tolerance=0.99, ranges=RANGES
    )
    greatest = max(total(flops_by_part(a)) for a in brute_force(wide, free_backbones("basic")))
    with pytest.raises(InfeasibleError, match=f"nearest reachable is {greatest / 1e9:.6g}G"):
        space.sample(seeded_generator(0), 1)


def test_bad_constraints_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    template = load_zoo("resnet_2.5g")
    for ratio in (0, 1, -0.1, float("nan"), "0.1"):
        with pytest.raises(ConfigError, match="ratio tolerance must be"):
            NetworkSpace(template=template, flops=10**9, ratio_tolerance=ratio)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="free, scaled, got 'both'"):
        NetworkSpace(template=template, flops=10**9, space="both").count()
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        NetworkSpace(template=template, flops=0)
    monkeypatch.setattr(network_backbones, "MAX_BACKBONES", 100)
    with pytest.raises(ConfigError, match="more than 100 backbones"):
        NetworkSpace(template=template, flops=2_500_000_000).count()
