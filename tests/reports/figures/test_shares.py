"""Shares of compute by part."""

from typing import Any

import pytest
from fake_stages import make_stage

from reports.figures.shares import share_table


def test_exact_rank_correlation_of_shares() -> None:
    """Two of the 8! orders agree or disagree wholly: p = 2 / 40320, times 7 parts by Holm."""
    table = share_table(make_stage([0.1 * number for number in range(1, 9)])).set_index("part")
    assert table.loc["c5", "tau"] == pytest.approx(1.0)
    assert table.loc["stem", "tau"] == pytest.approx(-1.0)
    assert table.loc["c5", "p"] == pytest.approx(7 * 2 / 40320)
    assert table["best"].sum() == pytest.approx(1.0)
    assert ((table["low"] <= table["middle"]) & (table["middle"] <= table["high"])).all()


def test_few_candidates_have_no_ranges_and_no_correlations() -> None:
    table = share_table(make_stage([0.1 * number for number in range(1, 8)]))
    assert table[["low", "middle", "high", "tau", "p"]].isna().all(axis=None)
    assert table[["best", "median"]].notna().all(axis=None)


@pytest.mark.parametrize("made", [[], ["failed"], [None]])
def test_the_table_of_shares_is_empty_without_results(made: list[Any]) -> None:
    assert share_table(make_stage(made)).empty


def test_constant_aps_have_no_correlation() -> None:
    assert share_table(make_stage([0.5] * 8))["tau"].isna().all()
