"""Leaderboards as the commands print them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nas.cli.shared import common
from reports.page.text import format_flops

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from nas.search.directory import SearchDir

_APS = ("hard", "medium", "easy")


def print_leaderboards(
    directory: "SearchDir",
    tables: Mapping[int, "pd.DataFrame"],
    *,
    as_json: bool,
    report: "Path | None" = None,
) -> None:
    """Print the leaderboards of some stages, and the paths of their files and of the report."""
    from reports.leaderboard import to_records

    records = {number: to_records(table) for number, table in tables.items()}
    if as_json:
        content: dict[str, Any] = {f"stage{number}": rows for number, rows in records.items()}
        content |= {} if report is None else {"report": str(report)}
        common.print_json({"search_dir": str(directory), **content})
        return
    for number, rows in records.items():
        _print_leaderboard(number, rows)
        _print_crops(rows)
        _print_confirmed([row for row in rows if row.get("seeds")])
        file = directory.leaderboard_file(number)
        common.print_rich(f"in {directory.url_of(file) or file}\n")
    common.print_rich("stem to head: where a candidate spends its FLOPs, in %")
    if report is not None:
        common.print_rich(f"report: {report}")


def _print_leaderboard(stage: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the leaderboard of a stage; up to 10 GFLOPs in 80 columns if all are finished."""
    from search_spaces.cost.detector import PARTS

    finished = [row for row in rows if row["state"] == "finished"]
    is_complete = len(finished) == len(rows)
    columns = ["rank", "cand.", *_APS, "FLOPs", "params", *PARTS, "minutes"]
    columns += [] if is_complete else ["epochs", "state"]
    title = f"Stage {stage}: {len(finished)} of {len(rows)} finished"
    if finished:
        title += f", epochs: {finished[0]['epochs']}"
    if rows and "select_on" in rows[0]:
        title += f", on {rows[0]['select_on']} of the training images"
    cells = (_cells(row) if is_complete else [*_cells(row), *_state(row)] for row in rows)
    common.print_table(title, columns, cells, text_columns=("state",), gap=1)


def _print_crops(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the probability of each crop scale, for a search of them."""
    names = [name for name in rows[0] if name.startswith("crop_")] if rows else []
    if not names:
        return
    columns = ["rank", "cand.", *(name.removeprefix("crop_") for name in names)]
    cells = [
        ["" if row["rank"] is None else row["rank"], row["candidate"]]
        + [f"{100 * row[name]:.1f}" for name in names]
        for row in rows
    ]
    common.print_table("Crop scales, % of samples", columns, cells)


def _print_confirmed(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the means over seeds of candidates that `scrfd-nas confirm` has trained."""
    if not rows:
        return
    columns = ("rank", "cand.", "seeds", "mean hard", "95 % interval")
    cells = [
        [row["rank"], row["candidate"], row["seeds"], f"{row['hard_mean']:.4f}", _interval(row)]
        for row in rows
    ]
    common.print_table("Confirmed with more seeds; one rank: tied", columns, cells)


def _interval(row: Mapping[str, Any]) -> str:
    return f"{row['hard_low']:.4f} to {row['hard_high']:.4f}"


def _cells(row: Mapping[str, Any]) -> list[str]:
    from search_spaces.cost.detector import PARTS

    cells = ["" if row["rank"] is None else str(row["rank"]), str(row["candidate"])]
    cells += ["" if row[name] is None else f"{row[name]:.4f}" for name in _APS]
    cells += [format_flops(row["flops"]), f"{row['params'] / 1e6:.3f}M"]
    cells += [f"{100 * row[f'share_{part}']:.0f}" for part in PARTS]
    seconds = row["duration_s"]
    return [*cells, "" if seconds is None else f"{seconds / 60:.1f}"]


def _state(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the epochs done, and the state with its reason."""
    state = f"{row['state']}: {row['reason']}" if row["reason"] else row["state"]
    return str(row["epochs"]), state
