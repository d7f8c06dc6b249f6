"""Sentences on where the best candidates of a stage spend compute, and the noise of its APs."""

import numpy as np
import pandas as pd

from reports.page.text import percent
from reports.search_data import StageData
from reports.statistics.population import FEW, curve_noise, quarter, shows_noise
from search_spaces.cost.detector import PARTS

WORTH = 0.01  # of the FLOPs: smaller differences are not reported
_NORMAL_95 = 1.96


def compute_findings(stage: StageData, shares: pd.DataFrame) -> str:
    """Return where the winner and the best candidates of a stage with results spend compute.

    `shares` is the table of `share_table`.
    """
    enough = len(stage.finished) >= FEW
    agreement = _agreement(stage, shares) if enough else _too_few(stage)
    return f"{_spending(stage, shares)} {agreement}"


def noise_threshold(stage: StageData) -> float | None:
    """Return the difference of two hard APs that evaluation noise alone exceeds in 5 % of cases.

    Estimated from the last epochs of the curves (see `curve_noise`). Seeds add further noise, so
    this is a lower limit. None without a curve that shows it (`shows_noise`).
    """
    curves = [c.curve.hard for c in stage.finished if c.curve is not None]
    noise = curve_noise([list(hard.values()) for hard in curves if shows_noise(list(hard))])
    return None if noise is None else _NORMAL_95 * float(np.sqrt(2)) * noise


def _spending(stage: StageData, table: pd.DataFrame) -> str:
    """Return the parts on which the winner differs most from the median candidate."""
    order = (table["best"] - table["median"]).abs().sort_values(ascending=False, kind="stable")
    pieces = []
    for index in order.index[:3]:
        row = table.loc[index]
        pieces.append(f"{row['part']} {percent(row['best'])} (median {percent(row['median'])})")
    best = stage.finished[0]
    parts = ", ".join(pieces)
    return f"The FLOPs of candidate {best.candidate} differ most from the others in {parts}."


def _agreement(stage: StageData, table: pd.DataFrame) -> str:
    """Return the parts on which the best agree: their range excludes the median of all."""
    named = [
        f"{'more' if row['low'] > row['median'] else 'less'} in {row['part']} "
        f"({percent(row['low'])} to {percent(row['high'])}, median of all "
        f"{percent(row['median'])})"
        for _, row in table.iterrows()
        if not row["low"] <= row["median"] <= row["high"]
        and abs(row["middle"] - row["median"]) >= WORTH
    ]
    drawn = f"the best of {quarter(len(stage.finished))} drawn candidates"
    if not named:
        return (
            f"For every part the range of the share of {drawn} includes the median of all: these "
            f"{len(stage.finished)} candidates do not show where compute should go."
        )
    others = len(PARTS) - len(named)
    rest = f" The other {others} parts show no difference." if others else ""
    return f"In 95 % of the draws {drawn} spends {'; '.join(named)}.{rest}"


def _too_few(stage: StageData) -> str:
    return (
        f"Ranges and correlations are left out: {len(stage.finished)} candidates are too few to "
        f"show where compute should go, at least {FEW} are needed."
    )
