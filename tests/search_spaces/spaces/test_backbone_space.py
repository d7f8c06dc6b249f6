"""Stage 1: distribution of the draws, exact counts against brute force, budgets."""

import json
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.cost.constraints import flops_window, norm_groups, stage_window
from search_spaces.cost.detector import flops_by_part, mmcv_flops_by_part, total
from search_spaces.cost.parts import array_candidate
from search_spaces.errors import ConfigError, InfeasibleError
from search_spaces.randomness import seeded_generator
from search_spaces.spaces.backbone_chain import build_chain
from search_spaces.spaces.backbone_counting import count_in_window, nearest_flops
from search_spaces.spaces.backbone_draws import draw, next_width, next_width_weights
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.spaces.backbone_space import BackboneSpace
from search_spaces.spaces.neck_and_head import family_for, neck_and_head
from search_spaces.zoo import load_zoo

NECK = Neck(width=16)
HEAD = Head(convs=1, width=16, groups=8)
MOBILE_HEAD = Head(convs=1, width=16, groups=8, depthwise=True)
SMALL = {"depth": (1, 2), "ratio": (1.0, 2.0)}
STREAM = (
    [1, 1, 1],
    [[56, 56, 168, 584], [8, 16, 32, 72], [16, 24, 32, 48]],
    [[8, 7, 2, 2], [1, 1, 8, 6], [8, 2, 10, 4]],
)
RESNETS = BackboneRanges.of_family("resnet", stem=(8, 24), **SMALL)
MOBILES = BackboneRanges.of_family("mobile", stem=(8, 16), stem_ratio=(1.0, 2.0), **SMALL)


def wider(width: int) -> range:
    """Return the multiples of 8 for ratios in [1, 2)."""
    return range(width, 2 * width, 8)


def chains(ranges: BackboneRanges, length: int) -> list[tuple[int, ...]]:
    found = [(width,) for width in range(8, ranges.stem[1] + 1, 8)]
    for _ in range(length - 1):
        found = [(*chain, width) for chain in found for width in wider(chain[-1])]
    return found


def brute_force(ranges: BackboneRanges, head: Head) -> dict[Architecture, int]:
    """Return every architecture of the small ranges with its FLOPs."""
    mobile = ranges.family == "mobile"
    found = {}
    for block, chain in product(ranges.blocks, chains(ranges, 6 if mobile else 4)):
        for depths in product((1, 2), repeat=4):
            stem, widths = (chain[:2], chain[2:]) if mobile else (chain[:1], chain)
            backbone = Backbone(block=block, stem_widths=stem, depths=depths, widths=widths)
            architecture = Architecture(backbone=backbone, neck=NECK, head=head)
            found[architecture] = total(flops_by_part(architecture))
    return found


@pytest.fixture(scope="module", params=["resnet", "mobile"])
def small(request: pytest.FixtureRequest) -> tuple[BackboneRanges, Head, dict[Architecture, int]]:
    ranges = RESNETS if request.param == "resnet" else MOBILES
    head = HEAD if request.param == "resnet" else MOBILE_HEAD
    return ranges, head, brute_force(ranges, head)


def space_of(ranges: BackboneRanges, head: Head, flops: int, tolerance: float) -> BackboneSpace:
    return BackboneSpace(ranges=ranges, neck=NECK, head=head, flops=flops, tolerance=tolerance)


def test_count_and_full_sample_equal_brute_force(
    small: tuple[BackboneRanges, Head, dict[Architecture, int]],
) -> None:
    ranges, head, all_flops = small
    for share, tolerance in ((0.5, 0.02), (0.1, 0.01), (0.9, 0.1)):
        target = int(np.quantile(list(all_flops.values()), share))
        low, high = flops_window(target, tolerance)
        expected = {a for a, flops in all_flops.items() if low <= flops <= high}
        space = space_of(ranges, head, target, tolerance)
        assert space.count() == len(expected)
        sample = space.sample(seeded_generator(0), len(expected) + 5)
        assert set(sample.architectures) == expected
        assert len(sample.architectures) == sample.feasible == len(expected)
        assert sample.note == (
            f"{len(expected)} of {len(expected) + 5} candidates: no more satisfy the constraints"
        )


def test_window_ends_are_inclusive(
    small: tuple[BackboneRanges, Head, dict[Architecture, int]],
) -> None:
    ranges, head, all_flops = small
    some = sorted(set(all_flops.values()))[len(all_flops) // 20]
    count = sum(flops == some for flops in all_flops.values())
    chain_counts = []
    for block in ranges.blocks:
        space = space_of(ranges, head, some, 0.01)
        rest = space._rest(block)
        chain = build_chain(ranges, block, NECK.width)
        chain_counts.append(count_in_window(chain, (some - rest, some - rest)))
    assert sum(chain_counts) == count > 0


def test_nearest_flops_equals_brute_force(
    small: tuple[BackboneRanges, Head, dict[Architecture, int]],
) -> None:
    ranges, head, all_flops = small
    block = ranges.blocks[-1]
    rest = space_of(ranges, head, 10**9, 0.5)._rest(block)
    chain = build_chain(ranges, block, NECK.width)
    reachable = np.array([f for a, f in all_flops.items() if a.backbone.block == block])
    for target in (1, int(reachable.min()) + 1, int(np.median(reachable)) + 777, 10**13):
        expected = np.abs(reachable - target).min()
        assert abs(nearest_flops(chain, target - rest) + rest - target) == expected


def test_rejection_and_listing_give_equal_sets(
    small: tuple[BackboneRanges, Head, dict[Architecture, int]],
) -> None:
    ranges, head, all_flops = small
    target = int(np.median(list(all_flops.values())))
    space = space_of(ranges, head, target, 0.01)
    listed = space.sample(seeded_generator(1), 10**6).architectures
    rejected = space._rejected(seeded_generator(2), len(listed))
    assert set(rejected.architectures) == set(listed)
    assert rejected.accepted >= len(listed)


def test_the_first_listed_has_the_distribution_of_the_draws() -> None:
    ranges = BackboneRanges.of_family("resnet", blocks=("basic",), stem=(8, 24), **SMALL)
    target = int(np.median(list(brute_force(ranges, HEAD).values())))
    space = space_of(ranges, HEAD, target, 0.02)
    chunk = draw(ranges, seeded_generator(0), 400_000)
    rows = np.flatnonzero(space.accepts(chunk))
    drawn = Counter(space._architecture("basic", chunk.chain[r], chunk.depths[r]) for r in rows)
    # One generator for all repetitions, so that they are independent.
    generator = seeded_generator(0)
    firsts = Counter(space._listed(generator, 1)[0] for _ in range(600))
    assert set(firsts) <= set(drawn)
    widest = Counter({c.backbone.stem_widths[0]: 0 for c in drawn})
    for architecture, times in drawn.items():
        widest[architecture.backbone.stem_widths[0]] += times
    for width, times in widest.items():
        share = times / len(rows)
        found = sum(n for a, n in firsts.items() if a.backbone.stem_widths[0] == width) / 600
        assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / 600) + 1e-9


@pytest.mark.parametrize("width", [8, 24, 64, 248])
def test_next_width_is_uniform_in_the_range_of_the_ratio(width: int) -> None:
    weights = next_width_weights(width, (1.0, 4.0))
    assert list(weights) == list(range(width, 4 * width, 8))
    assert sum(weights.values()) == 2**32
    assert max(weights.values()) - min(weights.values()) <= 1


@pytest.mark.parametrize("ratio", [(1.0, 4.0), (0.5, 1.3), (1.25, 1.25)])
def test_next_width_equals_the_floor_of_width_times_ratio(
    ratio: tuple[float, float],
) -> None:
    words = np.arange(0, 2**32, 2**20 + 1, dtype=np.int64)
    ratios = ratio[0] + (ratio[1] - ratio[0]) * words / 2**32
    for width in (16, 40, 136):
        expected = [int(width * r) // 8 * 8 for r in ratios]
        assert next_width(np.int64(width), words, ratio).tolist() == expected
        weights = next_width_weights(width, ratio)
        assert {w for w in expected if w > 0} <= set(weights)
        for found, weight in weights.items():
            share = np.mean(np.array(expected) == found)
            assert share == pytest.approx(weight / 2**32, abs=0.001)


def test_draws_cover_the_ranges_uniformly() -> None:
    ranges = BackboneRanges()
    drawn = draw(ranges, seeded_generator(3), 200_000)
    assert np.bincount(drawn.blocks) / 200_000 == pytest.approx([0.5, 0.5], abs=0.01)
    stems = Counter(drawn.chain[:, 0].tolist())
    assert sorted(stems) == list(range(8, 65, 8))
    assert stems[64] / 200_000 == pytest.approx(1 / 57, abs=0.002)  # 64 alone is floored to 64
    assert stems[32] / 200_000 == pytest.approx(8 / 57, abs=0.005)
    for stage in range(4):
        depths = np.bincount(drawn.depths[:, stage], minlength=11) / 200_000
        assert depths == pytest.approx([0.0, *[0.1] * 10], abs=0.005)


def test_acceptance_equals_the_reference_in_its_own_flops(golden_dir: Path) -> None:
    golden = json.loads((golden_dir / "search_acceptance.json").read_text())["mode1"]
    template = load_zoo("resnet_2.5g")
    ranges = BackboneRanges()
    number = 1 << 20
    drawn = draw(ranges, seeded_generator(0), number)
    flops = np.zeros(number, dtype=np.int64)
    for index, block in enumerate(ranges.blocks):
        rows = np.flatnonzero(drawn.blocks == index)
        chain, depths = drawn.chain[rows].T, drawn.depths[rows].T
        candidate = array_candidate(block, chain[:1], depths, chain, 48, template.head)
        flops[rows] = total(mmcv_flops_by_part(candidate))
    accepted = (flops >= 2_450_000_000) & (flops <= 2_550_000_000)
    deviation = np.sqrt(golden["rate"] * (1 / number + 1 / golden["n"]))
    assert abs(accepted.mean() - golden["rate"]) < 4 * deviation
    basic = (drawn.blocks[accepted] == 0).mean()
    assert basic == pytest.approx(golden["basicblock_share"], abs=0.025)
    assert np.median(flops) / 1e9 == pytest.approx(golden["median_G"], rel=0.01)
    # fvcore's convention differs by a few per mille, so the rate hardly changes.
    space = BackboneSpace.for_budget(2_500_000_000, ranges)
    assert space.accepts(drawn).mean() == pytest.approx(golden["rate"], rel=0.08)


def test_samples_depend_on_the_seed_and_larger_ones_extend_smaller_ones() -> None:
    space = BackboneSpace.for_budget(2_500_000_000, BackboneRanges())
    few = space.sample(seeded_generator(5), 8).architectures
    many = space.sample(seeded_generator(5), 24).architectures
    other = space.sample(seeded_generator(6), 8).architectures
    assert many[:8] == few
    assert len(set(many)) == 24
    assert set(few).isdisjoint(other)


def test_random_stream_is_fixed() -> None:
    """Changes of the stream change the candidates of every seed: keep the expected numbers."""
    drawn = draw(BackboneRanges(), seeded_generator(0, 1), 3)
    assert (drawn.blocks.tolist(), drawn.chain.tolist(), drawn.depths.tolist()) == STREAM


BUDGETS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 34.0, 50.0)


@pytest.mark.parametrize("giga", BUDGETS)
def test_every_budget_is_reachable(giga: float) -> None:
    flops = int(giga * 1e9)
    ranges = BackboneRanges.of_family(family_for("auto", flops))
    assert ranges.family == ("mobile" if giga <= 1 else "resnet")
    space = BackboneSpace.for_budget(flops, ranges)
    count = space.count()
    assert count is not None
    assert count > 100_000


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


@pytest.mark.parametrize("name", ["mobilenet_0.5g", "mobilenet_1g", "scrfd_0.5g", "scrfd_1g"])
def test_mobile_space_contains_the_published_mobile_backbones(name: str) -> None:
    ranges = BackboneRanges.of_family("mobile")
    backbone = load_zoo(name).backbone
    chain = (*backbone.stem_widths, *backbone.widths)
    assert chain[0] in ranges.stem_weights()
    for width, following, ratio in zip(chain[:-1], chain[1:], ranges.ratios, strict=True):
        assert following in next_width_weights(width, ratio)
    assert all(ranges.depth[0] <= depth <= ranges.depth[1] for depth in backbone.depths)


def test_an_infeasible_budget_reports_the_nearest_and_the_remedy() -> None:
    ranges = BackboneRanges.of_family("mobile")
    space = BackboneSpace.for_budget(10_000_000, ranges)
    with pytest.raises(InfeasibleError, match=r"0\.01G.*nearest reachable is 0\.048.*--flops"):
        space.sample(seeded_generator(0), 1)


def test_an_infeasible_tolerance_reports_a_sufficient_one() -> None:
    ranges = BackboneRanges.of_family("resnet")
    with pytest.raises(InfeasibleError, match=r"relax --tolerance to 0\.073"):
        BackboneSpace.for_budget(200_000_000, ranges).sample(seeded_generator(0), 1)
    assert BackboneSpace.for_budget(200_000_000, ranges, 0.073).count()


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


def test_bad_targets_are_refused() -> None:
    for flops, tolerance in ((0, 0.02), (-5, 0.02), (2.5, 0.02), (100, 0), (100, 1), (100, None)):
        with pytest.raises(ConfigError, match="got"):
            flops_window(flops, tolerance)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="auto, mobile, resnet, got 'vit'"):
        family_for("vit", 10**9)
    space = BackboneSpace.for_budget(2_500_000_000, BackboneRanges())
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        space.sample(seeded_generator(0), 0)


def test_windows_are_exact_decimals() -> None:
    assert flops_window(2_500_000_000, 0.02) == (2_450_000_000, 2_550_000_000)
    assert flops_window(101, 0.1) == (91, 111)  # 90.9 .. 111.1
    # t = 3.3, c = C / 100 with 0.9 c <= 3.3 <= 1.1 c: c from 3 to 3.666
    assert stage_window(100, 33, 10, 0.1) == (300, 366)


def test_norm_groups_are_the_longest_run_of_divisors() -> None:
    widths = {96: 32, 160: 32, 256: 64, 80: 16, 8: 8, 192: 64}
    assert {width: norm_groups(HEAD, 48, width) for width in widths} == widths
    assert norm_groups(MOBILE_HEAD, 24, 96) == 8
    assert norm_groups(Head(convs=1, width=96, norm="batch"), 48, 96) == 0
    with pytest.raises(ConfigError, match="multiples of 8"):
        norm_groups(HEAD, 48, 20)
