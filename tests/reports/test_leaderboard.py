import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import make_architecture, make_result

from reports.costs import SHARES
from reports.leaderboard import (
    COLUMNS,
    CONFIRMATION,
    Row,
    leaderboard,
    to_records,
    write_leaderboard,
)
from search_spaces.architecture import Architecture
from search_spaces.cost.detector import flops_by_part, params_by_part, total
from search_spaces.errors import ConfigError
from trials.result import Outcome, TrialFailure, TrialResult


def network(number: int) -> Architecture:
    return make_architecture(depths=(1, 1, 1, number))


def result(hard: float) -> TrialResult:
    return make_result(hard, epochs=80, duration_s=60.5)


def row(
    number: int, outcome: Outcome | None = None, state: str = "waiting", epochs: int = 0
) -> Row:
    return Row(
        candidate=number,
        architecture=network(number),
        outcome=outcome,
        state=state,
        epochs=epochs,
    )


FAILED = TrialFailure(reason="ValueError: no, really", attempts=2)


def test_rows_are_ranked_by_hard_ap_and_equal_ones_by_number() -> None:
    table = leaderboard([row(n, result(hard)) for n, hard in ((4, 0.5), (1, 0.25), (2, 0.5))])
    assert list(table["candidate"]) == [2, 4, 1]
    assert list(table["rank"]) == [1, 1, 3]
    assert list(table["hard"]) == [0.5, 0.5, 0.25]


def test_zero_aps_are_ranked_and_failures_are_not() -> None:
    table = leaderboard([row(1, FAILED), row(2, result(0.0))])
    records = to_records(table)
    assert (records[0]["candidate"], records[0]["rank"], records[0]["hard"]) == (2, 1, 0.0)
    failed = records[1]
    assert (failed["candidate"], failed["state"]) == (1, "failed")
    assert failed["reason"] == "ValueError: no, really"
    missing = ("rank", "hard", "medium", "easy", "duration_s")
    assert {name: failed[name] for name in missing} == dict.fromkeys(missing)


def test_unfinished_are_between_finished_and_failed() -> None:
    rows = [row(1, FAILED), row(2), row(3, None, "interrupted", 4), row(4, None, "running", 2)]
    table = leaderboard([*rows, row(5, result(0.5))])
    assert list(table["candidate"]) == [5, 4, 3, 2, 1]
    assert list(table["epochs"]) == [80, 2, 4, 0, 0]
    assert list(table["rank"].isna()) == [False, True, True, True, True]


def test_costs_are_those_of_the_architecture() -> None:
    record = to_records(leaderboard([row(1, result(0.5))]))[0]
    flops = flops_by_part(network(1))
    assert record["flops"] == total(flops)
    assert record["params"] == total(params_by_part(network(1)))
    assert record["share_stem"] == flops["stem"] / total(flops)
    assert sum(record[name] for name in SHARES) == pytest.approx(1.0)
    assert record["hash"] == network(1).content_hash


def test_records_are_plain_json_with_whole_numbers() -> None:
    records = to_records(leaderboard([row(1, result(0.5)), row(2, FAILED), row(3)]))
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    for record in records:
        assert list(record) == list(COLUMNS)
        for name in ("candidate", "flops", "params", "epochs"):
            assert type(record[name]) is int
    assert type(records[0]["rank"]) is int
    assert list(leaderboard([]).columns) == list(COLUMNS)
    assert to_records(leaderboard([])) == []


def test_missing_values_are_empty_in_csv(tmp_path: Path) -> None:
    path = tmp_path / "new" / "leaderboard.csv"
    write_leaderboard(leaderboard([row(1, result(0.5)), row(2, FAILED)]), path)
    with path.open() as file:
        first, second = csv.DictReader(file)
    assert tuple(first) == COLUMNS
    assert (first["rank"], first["hard"], first["epochs"]) == ("1", "0.5", "80")
    assert (first["duration_s"], first["reason"]) == ("60.5", "")
    assert (second["rank"], second["hard"], second["duration_s"]) == ("", "", "")
    assert second["reason"] == "ValueError: no, really"


def confirmed_rows() -> list[Row]:
    """Return rows in which candidates 1, 2 and 3 have three seeds and the others at most one."""
    hards = {1: [0.9, 0.5, 0.49], 2: [0.7, 0.69, 0.71], 3: [0.65, 0.7, 0.72]}
    rows = [
        replace(row(number, result(values[0])), hards=tuple(values))
        for number, values in hards.items()
    ]
    rows.append(replace(row(4, result(0.6)), hards=(0.6,)))
    return [*rows, row(5, result(0.55)), row(6, FAILED), row(7, result(0.6))]


def test_confirmed_candidates_are_first_and_ties_share_a_rank() -> None:
    records = to_records(leaderboard(confirmed_rows()))
    shown = [(item["rank"], item["candidate"], item["seeds"], item["tie"]) for item in records]
    # All three are tied: the first seed of candidate 1 makes the spread large.
    assert shown[:3] == [(1, 2, 3, 1), (1, 3, 3, 1), (1, 1, 3, 1)]
    single = [(4, 4), (4, 7), (6, 5), (None, 6)]
    assert shown[3:] == [(rank, number, None, None) for rank, number in single]
    assert records[0]["hard"] == 0.7
    assert records[0]["hard_mean"] == pytest.approx(0.7)
    assert records[0]["hard_low"] < 0.7 < records[0]["hard_high"]
    assert records[3]["hard_mean"] is None


def test_significant_differences_have_different_ranks() -> None:
    rows = confirmed_rows()
    rows[0] = replace(rows[0], hards=(0.5, 0.5, 0.49))
    records = to_records(leaderboard(rows))
    shown = [(item["rank"], item["candidate"], item["tie"]) for item in records[:4]]
    assert shown == [(1, 2, 1), (1, 3, 1), (3, 1, 2), (4, 4, None)]


def test_confirmation_columns_exist_only_for_confirmed_candidates() -> None:
    assert tuple(leaderboard(confirmed_rows()).columns) == (*COLUMNS, *CONFIRMATION)
    single = [replace(row(1, result(0.5)), hards=(0.5,)), row(2, result(0.4))]
    assert tuple(leaderboard(single).columns) == COLUMNS
    assert json.loads(json.dumps(to_records(leaderboard(confirmed_rows())), allow_nan=False))


def test_unknown_states_are_refused() -> None:
    with pytest.raises(ConfigError, match="state must be one of"):
        row(1, None, "finished")
