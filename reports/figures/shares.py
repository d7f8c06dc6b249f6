"""Distribution of compute over the parts of the network, for all and for the best candidates."""

import numpy as np
import pandas as pd
from scipy import stats

from reports.costs import SHARES
from reports.search_data import StageData, results_table
from reports.statistics.population import Interval, best_indices
from search_spaces.cost.detector import PARTS

COLUMNS = ("part", "best", "median", "low", "middle", "high", "rho", "p")


def range_of_best(numbers: pd.DataFrame, name: str) -> Interval:
    """Return the range of column `name` of the best candidate, by the empirical bootstrap.

    `numbers` is a table of `results_table`. Raises ConfigError if it is empty.
    """
    return Interval.of(numbers[name].to_numpy()[best_indices(numbers["error"])])


def share_table(stage: StageData) -> pd.DataFrame:
    """Return the share of the FLOPs of each part of the network, and its relation to hard AP.

    Columns: part; best: share of the winner; median: median of all finished; low, middle, high:
    range of the best (95 %) and its median; rho, p: Spearman's rank correlation with hard AP and
    its two-sided p-value, NaN if undefined. Shares are fractions of 1; without results the table
    is empty.
    """
    numbers = results_table(stage.finished)
    if numbers.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = []
    for part, share in zip(PARTS, SHARES, strict=True):
        values, found = numbers[share], range_of_best(numbers, share)
        middle = (float(values.iloc[0]), float(values.median()))
        interval = (found.low, found.median, found.high)
        rows.append((part, *middle, *interval, *_spearman(values, numbers["hard"])))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _spearman(shares: pd.Series, hard: pd.Series) -> tuple[float, float]:
    if len(shares) < 3 or shares.nunique() < 2 or hard.nunique() < 2:
        return float("nan"), float("nan")
    found = stats.spearmanr(np.asarray(shares), np.asarray(hard))
    return float(found.statistic), float(found.pvalue)
