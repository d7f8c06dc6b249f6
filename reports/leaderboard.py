"""The ranked table of one stage's candidates."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from reports.costs import COSTS, costs
from reports.statistics.confirmation import confirmed
from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError
from search_spaces.files import write_text
from trials.evaluation.latency import Latency
from trials.result import Outcome, TrialResult, TrialStopped

UNFINISHED = ("waiting", "running", "interrupted")
COLUMNS = (
    *("rank", "candidate", "hard", "medium", "easy"),
    *COSTS,
    *("epochs", "duration_s", "last_hard", "state", "reason", "hash"),
)
CONFIRMATION = {  # column -> attribute of `Confirmed`, type
    "seeds": ("seeds", "Int64"),
    "hard_mean": ("mean", "float64"),
    "hard_low": ("low", "float64"),
    "hard_high": ("high", "float64"),
    "tie": ("tie", "Int64"),
}
_INTEGERS = ("rank", "candidate", "flops", "params", "epochs")
_TEXTS = ("state", "reason", "hash")
_STATES = ("finished", "stopped", "running", "interrupted", "waiting", "failed")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One candidate of a leaderboard.

    Attributes:
        candidate: number of the candidate.
        architecture: the network that was trained.
        outcome: result of the trial, None while it is unfinished.
        state: state of an unfinished trial: waiting, running or interrupted.
        epochs: epochs that an unfinished or failed trial has completed.
        select_on: images that the APs were measured on: `val`, or a part of the training images.
        crops: probability by crop scale, where these are searched.
        hards: hard APs by seed, that of the search first; a single value is unconfirmed.
        latency: None if it was not measured.
        max_latency: limit of the latency in milliseconds, if the search has one.
    """

    candidate: int
    architecture: Architecture
    outcome: Outcome | None = None
    state: str = "waiting"
    epochs: int = 0
    select_on: str = "val"
    crops: Mapping[float, float] = field(default_factory=dict)
    hards: tuple[float, ...] = ()
    latency: Latency | None = None
    max_latency: float | None = None

    def __post_init__(self) -> None:
        if self.state not in UNFINISHED:
            raise ConfigError(f"state must be one of {UNFINISHED}, got {self.state!r}")


def leaderboard(rows: Iterable[Row]) -> pd.DataFrame:
    """Return the candidates ranked by hard AP.

    Finished candidates come first, the highest hard AP at the top; equal ones share a rank and
    are sorted by number. Then follow stopped ones by their last epoch and their hard AP there
    (`last_hard`, without a rank: APs after few epochs are not comparable with final ones), then
    unfinished, then failed ones.

    Candidates that were trained with several seeds (see `confirmed`) precede all others, by
    their means, and ties share a rank: the best single-seed value of many is biased upwards and
    not comparable with a mean.

    Returns:
        One row per candidate with `COLUMNS`: APs and shares of compute as fractions of 1,
        FLOPs (multiply-adds at 480x640) and parameters as integers, missing values as NA.
        If other images than `val` decide, a column `select_on` follows; if latencies were
        measured, `latency_ms`, and with a limit of them `max_latency_ms`. If crop scales are
        searched, a column `crop_<scale>` with its probability follows for each. If candidates
        were confirmed, `CONFIRMATION` follows: number of seeds, mean hard AP with its interval,
        and the number of the group of ties.
    """
    rows = list(rows)
    found = confirmed({row.candidate: row.hards for row in rows})
    places = {number: place for place, number in enumerate(found)}
    rows.sort(key=lambda row: (places.get(row.candidate, len(places)), *_order(row)))
    table = pd.DataFrame([_values(row) for row in rows], columns=list(COLUMNS))
    alone = table["hard"].astype("float64").mask(table["candidate"].isin(places))
    table["rank"] = alone.rank(ascending=False, method="min") + len(found)
    ties = [item.tie for item in found.values()]
    table.loc[table.index < len(ties), "rank"] = [ties.index(tie) + 1.0 for tie in ties]
    kinds = dict.fromkeys(COLUMNS, "float64")
    kinds |= dict.fromkeys(_INTEGERS, "Int64") | dict.fromkeys(_TEXTS, "object")
    table = table.astype(kinds)
    if any(row.select_on != "val" for row in rows):
        table["select_on"] = [row.select_on for row in rows]
    if any(row.latency for row in rows):
        latencies = [row.latency.median_ms if row.latency else np.nan for row in rows]
        table["latency_ms"] = latencies
    if any(row.max_latency for row in rows):
        table["max_latency_ms"] = [row.max_latency for row in rows]
    for scale in dict.fromkeys(scale for row in rows for scale in row.crops):
        table[f"crop_{scale:g}"] = [row.crops.get(scale, np.nan) for row in rows]
    if found:
        items = [found.get(row.candidate) for row in rows]
        for column, (name, dtype) in CONFIRMATION.items():
            values = [getattr(item, name, None) for item in items]
            table[column] = pd.Series(values, dtype=dtype)
    return table


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as plain JSON data: integers stay integers, missing values are None."""
    return [
        {key: _plain(value) for key, value in zip(table.columns, row, strict=True)}
        for row in table.itertuples(index=False, name=None)
    ]


def write_leaderboard(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write the table as CSV atomically; missing values are empty."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def _values(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {
        "candidate": row.candidate,
        **costs(row.architecture),
        "epochs": row.epochs,
        "state": row.state,
        "reason": "",
        "hash": row.architecture.content_hash,
    }
    if isinstance(row.outcome, TrialResult):
        names = ("hard", "medium", "easy", "epochs", "duration_s")
        values |= {name: getattr(row.outcome, name) for name in names}
        values["state"] = row.outcome.state
    elif row.outcome is not None:
        values |= {"state": row.outcome.state, "reason": row.outcome.reason}
    if isinstance(row.outcome, TrialStopped):
        values |= {"epochs": row.outcome.epoch, "last_hard": row.outcome.hard}
    return values


def _order(row: Row) -> tuple[Any, ...]:
    """Return the sort key of a row among the unconfirmed ones."""
    outcome = row.outcome
    state = _STATES.index(row.state if outcome is None else outcome.state)
    if isinstance(outcome, TrialResult):
        return state, -outcome.hard, 0.0, row.candidate
    if isinstance(outcome, TrialStopped):
        return state, -outcome.epoch, 1.0 if outcome.hard is None else -outcome.hard, row.candidate
    return state, 0.0, 0.0, row.candidate


def _plain(value: Any) -> Any:
    if value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value
