"""Windows of FLOPs and GroupNorm groups."""

import pytest

from search_spaces.architecture import Head
from search_spaces.cost.constraints import flops_window, norm_groups, stage_window
from search_spaces.errors import ConfigError

HEAD = Head(convs=1, width=16, groups=8)

MOBILE_HEAD = Head(convs=1, width=16, groups=8, depthwise=True)


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
