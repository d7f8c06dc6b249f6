"""Ranges of stage 2."""

import numpy as np
import pytest

from search_spaces.errors import ConfigError
from search_spaces.spaces.network_ranges import NetworkRanges


def test_scaled_depths_and_widths_contain_every_random_ratio() -> None:
    ranges = NetworkRanges()
    depths, widths = (3, 4, 6, 3), (16, 32, 64, 128)
    all_depths, all_widths = ranges.scaled_depths(depths), ranges.scaled_widths(widths)
    rng = np.random.default_rng(0)
    drawn = rng.uniform(0.5, 3, 20_000)
    assert {tuple(int(np.round(d * r)) for d in depths) for r in drawn} <= set(all_depths)
    expected = {tuple(round(w * r) // 8 * 8 for w in widths) for r in drawn}
    assert expected <= set(all_widths)
    assert len(all_widths) <= len(expected) + 4  # intervals too short for a random ratio
    # 0.5 * 3 rounds to 2; just above 0.5, 5 blocks become 3.
    assert ranges.scaled_depths((3, 5, 3, 5))[0] == (2, 2, 2, 2)
    assert ranges.scaled_depths((3, 5, 3, 5))[1] == (2, 3, 2, 3)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"neck": (9, 15)}, "neck range must contain a multiple of 8"),
        ({"head": (7, 15)}, "at least 8, got 7"),
        ({"convs": (0, 1)}, "at least 1, got 0"),
        ({"depth_ratio": (2, 1)}, "low=2, high=1"),
        ({"width_ratio": (0.5, "x")}, "finite number, got 'x'"),
        ({"width": 3}, "unknown keys"),
        (["neck"], "must be a mapping"),
    ],
)
def test_bad_ranges_are_refused(changes: object, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        NetworkRanges.changed(changes)
