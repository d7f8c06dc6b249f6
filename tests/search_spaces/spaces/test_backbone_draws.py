"""Draws of stage 1: their distribution and the fixed stream of random numbers."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from search_spaces.cost.detector import mmcv_flops_by_part, total
from search_spaces.cost.parts import array_candidate
from search_spaces.randomness import seeded_generator
from search_spaces.spaces.backbone_draws import draw, next_width, next_width_weights
from search_spaces.spaces.backbone_ranges import BackboneRanges
from search_spaces.spaces.backbone_space import BackboneSpace
from search_spaces.zoo import load_zoo

STREAM = (
    [1, 1, 1],
    [[56, 56, 168, 584], [8, 16, 32, 72], [16, 24, 32, 48]],
    [[8, 7, 2, 2], [1, 1, 8, 6], [8, 2, 10, 4]],
)


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


def test_random_stream_is_fixed() -> None:
    """Changes of the stream change the candidates of every seed: keep the expected numbers."""
    drawn = draw(BackboneRanges(), seeded_generator(0, 1), 3)
    assert (drawn.blocks.tolist(), drawn.chain.tolist(), drawn.depths.tolist()) == STREAM
