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
    verdict: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print the leaderboards of some stages, and the paths of their files and of the report.

    `verdict` is that of `reports.page.summary.conclusion`; JSON has the content of `more` too.
    """
    from reports.leaderboard import to_records

    records = {number: to_records(table) for number, table in tables.items()}
    if as_json:
        content: dict[str, Any] = {f"stage{number}": rows for number, rows in records.items()}
        content |= {} if verdict is None else {"verdict": verdict}
        content |= {} if report is None else {"report": str(report)}
        common.print_json({"search_dir": str(directory), **content, **(more or {})})
        return
    for number, rows in records.items():
        _print_leaderboard(number, rows)
        _print_unfinished([row for row in rows if row["state"] != "finished"])
        _print_crops(rows)
        _print_confirmed([row for row in rows if row.get("seeds")])
        file = directory.leaderboard_file(number)
        common.print_rich(f"in {directory.url_of(file) or file}\n")
    common.print_rich("stem to head: where a candidate spends its FLOPs, in %")
    if verdict is not None:
        common.print_rich(f"\n{verdict['title']}. {verdict['label']}.")
        common.print_words(verdict["reason"])
    if report is not None:
        common.print_rich(f"report: {report}")


def _print_leaderboard(stage: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the finished candidates of a stage; up to 100 GFLOPs in 80 columns.

    Where their latency is limited, it stands in place of the minutes.
    """
    from search_spaces.cost.detector import PARTS

    finished = [row for row in rows if row["state"] == "finished"]
    limit = rows[0].get("max_latency_ms") if rows else None
    columns = ["rank", "cand.", *_APS, "FLOPs", "params", *PARTS, "ms" if limit else "minutes"]
    title = f"Stage {stage}: {len(finished)} of {len(rows)} finished"
    if finished:
        title += f", epochs: {finished[0]['epochs']}"
    if rows and "select_on" in rows[0]:
        title += f", on {rows[0]['select_on']} of the training images"
    if limit:
        title += f", within {limit:g} ms an image"
    common.print_table(title, columns, map(_cells, finished), gap=1)


def _print_unfinished(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the epochs and the states, with the reasons, of the other candidates."""
    if rows:
        cells = ([row["candidate"], row["epochs"], _state(row)] for row in rows)
        columns = ("cand.", "epochs", "state")
        common.print_table("Not finished", columns, cells, text_columns=("state",))


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

    cells = [str(row["rank"]), str(row["candidate"])]
    cells += [f"{row[name]:.4f}" for name in _APS]
    cells += [format_flops(row["flops"]), f"{row['params'] / 1e6:.3f}M"]
    cells += [f"{100 * row[f'share_{part}']:.0f}" for part in PARTS]
    if row.get("max_latency_ms"):
        return [*cells, "" if row["latency_ms"] is None else f"{row['latency_ms']:.2f}"]
    return [*cells, f"{row['duration_s'] / 60:.1f}"]


def _state(row: Mapping[str, Any]) -> str:
    """Return the state with its reason."""
    return f"{row['state']}: {row['reason']}" if row["reason"] else str(row["state"])
