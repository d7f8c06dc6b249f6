"""Shares of compute by part."""

from collections.abc import Callable
from typing import Any

import pytest

from reports.figures.shares import share_table
from reports.search_data import StageData

MakeStage = Callable[..., StageData]


def test_rank_correlation_of_shares(make_stage: MakeStage) -> None:
    table = share_table(make_stage([0.1, 0.2, 0.4, 0.8])).set_index("part")
    assert table.loc["c5", "rho"] == pytest.approx(1.0)
    assert table.loc["stem", "rho"] == pytest.approx(-1.0)
    assert table["best"].sum() == pytest.approx(1.0)
    assert ((table["low"] <= table["middle"]) & (table["middle"] <= table["high"])).all()


@pytest.mark.parametrize("made", [[], ["failed"], [None]])
def test_the_table_of_shares_is_empty_without_results(
    make_stage: MakeStage, made: list[Any]
) -> None:
    assert share_table(make_stage(made)).empty


def test_constant_aps_have_no_correlation(make_stage: MakeStage) -> None:
    assert share_table(make_stage([0.5, 0.5, 0.5]))["rho"].isna().all()
