"""The ranked table of one stage's candidates."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from search_spaces.architecture import Architecture
from search_spaces.cost import PARTS, flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError
from search_spaces.files import replacing
from trials.result import Outcome, TrialFailure, TrialResult

UNFINISHED = ("waiting", "running", "interrupted")
SHARES = tuple(f"share_{part}" for part in PARTS)
COLUMNS = (
    *("rank", "candidate", "hard", "medium", "easy", "flops", "params"),
    *SHARES,
    *("epochs", "duration_s", "state", "reason", "hash"),
)
_INTEGERS = ("rank", "candidate", "flops", "params", "epochs")
_TEXTS = ("state", "reason", "hash")
_ORDER = {"finished": 0, "running": 1, "interrupted": 2, "waiting": 3, "failed": 4}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate of a leaderboard.

    Attributes:
        candidate: its number.
        architecture: what was trained.
        outcome: None while it is unfinished.
        state: of an unfinished one: waiting, running or interrupted.
        epochs: epochs that an unfinished or failed one has behind it.
    """

    candidate: int
    architecture: Architecture
    outcome: Outcome | None = None
    state: str = "waiting"
    epochs: int = 0

    def __post_init__(self) -> None:
        if self.state not in UNFINISHED:
            raise ConfigError(f"state must be one of {UNFINISHED}, got {self.state!r}")


def leaderboard(rows: Iterable[Row]) -> pd.DataFrame:
    """Rank candidates by hard AP.

    Finished ones come first, the highest hard AP at the top, equal ones share a rank and
    stand by number; then the unfinished, then the failed, neither with a rank or an AP.

    Returns:
        One row a candidate with `COLUMNS`: APs and shares of compute as fractions of 1,
        FLOPs (multiply-adds at 480x640) and parameters as integers, missing values as NA.
    """
    table = pd.DataFrame([_values(row) for row in rows], columns=list(COLUMNS))
    order = table["state"].map(_ORDER)
    table = table.assign(order=order, least=-table["hard"].astype("float64"))
    table = table.sort_values(["order", "least", "candidate"], kind="stable", ignore_index=True)
    table["rank"] = table["hard"].astype("float64").rank(ascending=False, method="min")
    kinds = dict.fromkeys(COLUMNS, "float64")
    kinds |= dict.fromkeys(_INTEGERS, "Int64") | dict.fromkeys(_TEXTS, "object")
    return table[list(COLUMNS)].astype(kinds)


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as plain JSON data: integers stay integers, missing values are None."""
    return [
        {key: _plain(value) for key, value in zip(table.columns, row, strict=True)}
        for row in table.itertuples(index=False, name=None)
    ]


def write_leaderboard(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write the table as CSV, whole or not at all; missing values are empty."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _values(row: Row) -> dict[str, Any]:
    flops = flops_by_part(row.architecture)
    whole = total(flops)
    values: dict[str, Any] = {
        "candidate": row.candidate,
        "flops": whole,
        "params": total(params_by_part(row.architecture)),
        "epochs": row.epochs,
        "state": row.state,
        "reason": "",
        "hash": row.architecture.content_hash,
    }
    shares = zip(SHARES, PARTS, strict=True)
    values |= {share: flops[part] / whole for share, part in shares}
    if isinstance(row.outcome, TrialResult):
        names = ("hard", "medium", "easy", "epochs", "duration_s")
        values |= {name: getattr(row.outcome, name) for name in names}
        values["state"] = row.outcome.state
    elif isinstance(row.outcome, TrialFailure):
        values |= {"state": row.outcome.state, "reason": row.outcome.reason}
    return values


def _plain(value: Any) -> Any:
    if value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
