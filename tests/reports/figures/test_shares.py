"""Shares of compute by part."""

from typing import Any

import pytest
from fake_stages import make_stage

from reports.figures.shares import share_table


def test_rank_correlation_of_shares() -> None:
    table = share_table(make_stage([0.1, 0.2, 0.4, 0.8])).set_index("part")
    assert table.loc["c5", "rho"] == pytest.approx(1.0)
    assert table.loc["stem", "rho"] == pytest.approx(-1.0)
    assert table["best"].sum() == pytest.approx(1.0)
    assert ((table["low"] <= table["middle"]) & (table["middle"] <= table["high"])).all()


@pytest.mark.parametrize("made", [[], ["failed"], [None]])
def test_the_table_of_shares_is_empty_without_results(made: list[Any]) -> None:
    assert share_table(make_stage(made)).empty


def test_constant_aps_have_no_correlation() -> None:
    assert share_table(make_stage([0.5, 0.5, 0.5]))["rho"].isna().all()
