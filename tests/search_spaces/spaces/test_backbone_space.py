"""Stage 1: distribution of the draws, exact counts against brute force, budgets."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from search_spaces.architecture import Architecture, Backbone, Head, Neck
from search_spaces.cost.constraints import flops_window
from search_spaces.cost.detector import flops_by_part, total
from search_spaces.errors import ConfigError, InfeasibleError
from search_spaces.randomness import seeded_generator
from search_spaces.spaces.backbone_chain import build_chain
from search_spaces.spaces.backbone_counting import nearest_flops
from search_spaces.spaces.backbone_draws import draw
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.spaces.backbone_space import BackboneSpace
from search_spaces.spaces.neck_and_head import family_for

NECK = Neck(width=16)
HEAD = Head(convs=1, width=16, groups=8)
MOBILE_HEAD = Head(convs=1, width=16, groups=8, depthwise=True)
SMALL = {"depth": (1, 2), "ratio": (1.0, 2.0)}
RESNETS = BackboneRanges.of_family("resnet", stem=(8, 24), **SMALL)
MOBILES = BackboneRanges.of_family("mobile", stem=(8, 16), stem_ratio=(1.0, 2.0), **SMALL)
BUDGETS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 34.0, 50.0)
Small = tuple[BackboneRanges, Head, dict[Architecture, int]]


def chains(ranges: BackboneRanges, length: int) -> list[tuple[int, ...]]:
    found = [(width,) for width in range(8, ranges.stem[1] + 1, 8)]
    for _ in range(length - 1):  # ratios in [1, 2)
        found = [(*chain, width) for chain in found for width in range(chain[-1], 2 * chain[-1], 8)]
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
def small(request: pytest.FixtureRequest) -> Small:
    ranges = RESNETS if request.param == "resnet" else MOBILES
    head = HEAD if request.param == "resnet" else MOBILE_HEAD
    return ranges, head, brute_force(ranges, head)


def space_of(ranges: BackboneRanges, head: Head, flops: int, tolerance: float) -> BackboneSpace:
    return BackboneSpace(ranges=ranges, neck=NECK, head=head, flops=flops, tolerance=tolerance)


def test_count_and_full_sample_equal_brute_force(small: Small) -> None:
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


def test_window_ends_are_inclusive(small: Small) -> None:
    ranges, head, all_flops = small
    some = sorted(set(all_flops.values()))[len(all_flops) // 20]
    count = sum(flops == some for flops in all_flops.values())
    assert space_of(ranges, head, some, 1e-10).count() == count > 0  # a window of one integer


def test_nearest_flops_equals_brute_force(small: Small) -> None:
    ranges, head, all_flops = small
    block = ranges.blocks[-1]
    rest = space_of(ranges, head, 10**9, 0.5)._rest(block)
    chain = build_chain(ranges, block, NECK.width)
    reachable = np.array([f for a, f in all_flops.items() if a.backbone.block == block])
    for target in (1, int(reachable.min()) + 1, int(np.median(reachable)) + 777, 10**13):
        expected = np.abs(reachable - target).min()
        assert abs(nearest_flops(chain, target - rest) + rest - target) == expected


def test_rejection_and_listing_give_equal_sets(small: Small) -> None:
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


def test_samples_depend_on_the_seed_and_larger_ones_extend_smaller_ones() -> None:
    space = BackboneSpace.for_budget(2_500_000_000, BackboneRanges())
    few = space.sample(seeded_generator(5), 8).architectures
    many = space.sample(seeded_generator(5), 24).architectures
    other = space.sample(seeded_generator(6), 8).architectures
    assert many[:8] == few
    assert len(set(many)) == 24
    assert set(few).isdisjoint(other)


@pytest.mark.parametrize("giga", BUDGETS)
def test_every_budget_is_reachable(giga: float) -> None:
    flops = int(giga * 1e9)
    ranges = BackboneRanges.of_family(family_for("auto", flops))
    assert ranges.family == ("mobile" if giga <= 1 else "resnet")
    space = BackboneSpace.for_budget(flops, ranges)
    count = space.count()
    assert count is not None
    assert count > 100_000


def test_an_infeasible_target_reports_the_nearest_budget_or_a_sufficient_tolerance() -> None:
    mobile, resnet = (BackboneRanges.of_family(family) for family in ("mobile", "resnet"))
    with pytest.raises(InfeasibleError, match=r"0\.01G.*nearest reachable is 0\.048.*--flops"):
        BackboneSpace.for_budget(10_000_000, mobile).sample(seeded_generator(0), 1)
    with pytest.raises(InfeasibleError, match=r"relax --tolerance to 0\.073"):
        BackboneSpace.for_budget(200_000_000, resnet).sample(seeded_generator(0), 1)
    assert BackboneSpace.for_budget(200_000_000, resnet, 0.073).count()


def test_bad_targets_are_refused() -> None:
    for flops, tolerance in ((0, 0.02), (-5, 0.02), (2.5, 0.02), (100, 0), (100, 1), (100, None)):
        with pytest.raises(ConfigError, match="got"):
            flops_window(flops, tolerance)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="auto, mobile, resnet, got 'vit'"):
        family_for("vit", 10**9)
    space = BackboneSpace.for_budget(2_500_000_000, BackboneRanges())
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        space.sample(seeded_generator(0), 0)
