"""Distribution of compute over the parts of the network, for all and for the best candidates."""

import pandas as pd
from scipy import stats

from reports.costs import SHARES
from reports.search_data import StageData, results_table
from reports.statistics.holm import holm
from reports.statistics.population import FEW, Interval, best_indices
from search_spaces.cost.detector import PARTS

COLUMNS = ("part", "best", "median", "low", "middle", "high", "tau", "p")


def range_of_best(numbers: pd.DataFrame, name: str) -> Interval:
    """Return the range of column `name` of the best candidate, by the empirical bootstrap.

    `numbers` is a table of `results_table`. Raises ConfigError if it is empty.
    """
    return Interval.of(numbers[name].to_numpy()[best_indices(numbers["error"])])


def share_table(stage: StageData) -> pd.DataFrame:
    """Return the share of the FLOPs of each part of the network, and its relation to hard AP.

    Columns: part; best: share of the winner; median: median of all finished; low, middle, high:
    range of the best (95 %) and its median; tau, p: Kendall's tau-b with hard AP and its two-sided
    p-value, exact where neither has ties, corrected for the number of parts (`holm`). The last
    five are NaN with fewer than `FEW` candidates, the last two also where all are equal.
    Shares are fractions of 1; without results the table is empty.
    """
    numbers = results_table(stage.finished)
    if numbers.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = []
    for part, share in zip(PARTS, SHARES, strict=True):
        row = {"part": part, "best": numbers[share].iloc[0], "median": numbers[share].median()}
        if len(numbers) >= FEW:
            found = range_of_best(numbers, share)
            test = stats.kendalltau(numbers[share], numbers["hard"])
            row |= {"low": found.low, "middle": found.median, "high": found.high}
            row |= {"tau": test.statistic, "p": test.pvalue}
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(p=holm(table["p"].tolist()))
