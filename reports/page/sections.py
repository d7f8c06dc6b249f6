"""Sections of the report of a search: tables and text as HTML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from reports.leaderboard import to_records
from reports.page.html import Markup, cell, column, command, join, number, number_column, table, tag
from reports.page.text import describe, format_ap, format_flops, percent
from reports.search_data import CandidateData, StageData
from reports.statistics.verdict import TEST
from search_spaces.cost.detector import PARTS
from search_spaces.errors import counted
from search_spaces.yaml_files import dump_yaml
from search_spaces.zoo.published import Published, published_near
from trials.result import TrialFailure

EARLY = ("stem", "c2", "c3")  # parts with most compute in the paper's best networks


def leaderboard_section(stage: StageData) -> Markup:
    """Return a table of all candidates."""
    known = {candidate.candidate: candidate for candidate in stage.candidates}
    seeded, records = "seeds" in stage.table, to_records(stage.table)
    shown = Shown(
        seeded=seeded,
        timed=any(candidate.latency for candidate in stage.candidates),
        states=any(record["state"] != "finished" for record in records),
    )
    if not records:
        return tag("p", f"Stage {stage.stage} has no candidates yet.")
    rows = [_row(record, known[record["candidate"]], shown) for record in records]
    ids = [f"{stage.stage}-{record['candidate']}" for record in records]
    board = table(_columns(shown), rows, ids, class_="sortable board")
    ties = (
        "Candidates of one rank cannot be told apart by their seeds; the others of several seeds "
    )
    ties += f"can ({TEST})."
    return join(_key(), board, tag("p", ties, class_="soft") if seeded else None)


def share_section(shares: pd.DataFrame) -> Markup | None:
    """Return the table of `share_table`; None without ranges and correlations."""
    if shares.empty or shares["low"].isna().all():
        return None
    names = ("winner", "median of all", "range of the best (95 %)", "Kendall's τ with hard AP", "p")
    columns = [column("part"), *map(number_column, names)]
    rows = []
    for row in to_records(shares):
        tau, p = row["tau"], row["p"]
        cells = [cell(row["part"]), number(percent(row["best"]), row["best"])]
        cells += [number(percent(row["median"]), row["median"])]
        cells += [number(f"{percent(row['low'])} to {percent(row['high'])}", row["middle"])]
        cells += [number(None if tau is None else f"{tau:+.2f}", tau)]
        rows.append([*cells, number(None if p is None else _p_value(p), p)])
    note = "p: exact where there are no ties, corrected for the number of parts (Holm)."
    return join(table(columns, rows, class_="sortable"), tag("p", note, class_="soft"))


def _p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"


def failure_section(stages: Sequence[StageData]) -> Markup:
    """Return a table of the failed trials with their reasons."""
    rows = [_failure(stage.stage, candidate) for stage in stages for candidate in stage.failed]
    if not rows:
        return tag("p", "No trial failed.")
    columns = [number_column("stage"), number_column("candidate"), column("kind")]
    columns += [number_column("epoch"), number_column("attempts"), column("reason")]
    return table(columns, rows, class_="sortable")


def repeat_section(stage: StageData) -> Markup:
    """Return the command that repeats a stage, its environment, and its request."""
    again = f"scrfd-nas stage{stage.stage} --config search.yaml --search-dir again"
    versions = stage.record.get("versions", {})
    data, fingerprint = (stage.request.get(key) for key in ("data", "data_fingerprint"))
    facts = {
        "started": stage.record.get("created", "unknown"),
        "data": f"{data} (fingerprint {fingerprint})",
        "seed": stage.request.get("seed"),
        "versions": ", ".join(f"{name} {value}" for name, value in dict(versions).items()),
    }
    rows = [
        [tag("th", name, scope="row"), tag("td", str(v), class_="wrap")]
        for name, v in facts.items()
    ]
    body = tag("tbody", *(tag("tr", *row) for row in rows))
    request = tag("pre", dump_yaml(dict(stage.request)))
    return join(
        tag("h3", f"Stage {stage.stage}"),
        command(again),
        tag("div", tag("table", body), class_="scroll", tabindex=0),
        tag("details", tag("summary", "the full request"), request),
    )


def summary_line(stage: StageData) -> str:
    """Return a summary of a stage in one line."""
    request, finished = stage.request, len(stage.finished)
    count = counted(len(stage.candidates), "candidate")
    text = f"Stage {stage.stage}: {finished} of {count} finished"
    text += f", {request.get('epochs')} epochs at {request.get('image_size')} px"
    flops = request.get("flops")
    text += f", budget {format_flops(flops)} FLOPs" if isinstance(flops, int) else ""
    if request.get("max_latency"):
        limit, conditions = f"{request['max_latency']:g} ms", request.get("latency_conditions")
        text += f", at most {limit} an image ({conditions})"
    return f"{text}."


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Which optional columns a leaderboard has: seeds, latency, states and epochs."""

    seeded: bool
    timed: bool
    states: bool


def _columns(shown: Shown) -> list[Markup]:
    columns = [number_column(text) for text in ("rank", "candidate", "hard AP")]
    columns += [column("compute", f"sorts by {' + '.join(EARLY)}")]
    columns += [number_column("hard, own seed")] if shown.seeded else []
    columns += [number_column(text) for text in ("medium", "easy", "FLOPs", "params")]
    columns += [number_column("ms")] if shown.timed else []
    columns += [number_column("hours")]
    columns += [column("state"), number_column("epochs")] if shown.states else []
    return [*columns, column("network")]


def _row(record: Mapping[str, Any], candidate: CandidateData, shown: Shown) -> list[Markup]:
    rank = record["rank"]
    cells = [number(None if rank is None else str(rank)), number(str(record["candidate"]))]
    cells += [_deciding(record), _bar(candidate)]
    names = ("hard", "medium", "easy") if shown.seeded else ("medium", "easy")
    cells += [number(format_ap(record[name]), record[name]) for name in names]
    cells += [number(format_flops(record["flops"]), record["flops"])]
    cells += [number(f"{record['params'] / 1e6:.3f}M", record["params"])]
    if shown.timed:
        latency = candidate.latency.median_ms if candidate.latency else None
        cells.append(number(None if latency is None else f"{latency:.1f}", latency))
    seconds = record["duration_s"]
    cells.append(number(None if seconds is None else f"{seconds / 3600:.2f}", seconds))
    if shown.states:
        cells += [_state(record), number(str(record["epochs"]))]
    return [*cells, cell(describe(candidate.architecture))]


def _deciding(record: Mapping[str, Any]) -> Markup:
    """Return a cell with the AP that ranks: over several seeds with its interval, else of one."""
    mean = record.get("hard_mean")
    if mean is None:
        return number(format_ap(record["hard"]), record["hard"])
    half = max(record["hard_high"] - mean, mean - record["hard_low"])  # one end may be cut
    spread = tag("small", f"±{half:.4f} ({record['seeds']} seeds)")
    return number(join(f"{mean:.4f} ", spread), mean)


def _state(record: Mapping[str, Any]) -> Markup:
    """Return a cell with the state, and the last hard AP of a stopped trial."""
    last = format_ap(record["last_hard"])
    return cell(record["state"] + (f" (hard AP {last})" if last else ""))


def _bar(candidate: CandidateData) -> Markup:
    """Return a cell with the shares of compute as a bar, and as text for screen readers."""
    shares = {part: candidate.cost[f"share_{part}"] for part in PARTS}
    texts = {part: f"{part} {percent(share)}" for part, share in shares.items()}
    pieces = (
        tag("span", class_=part, style=f"flex:{100 * share:.2f}", title=texts[part])
        for part, share in shares.items()
    )
    bar = tag("div", *pieces, class_="bar", role="img", aria_label=", ".join(texts.values()))
    return cell(bar, round(sum(shares[part] for part in EARLY), 6))


def _key() -> Markup:
    items = (tag("li", tag("span", class_=part), part) for part in PARTS)
    return tag("ul", *items, class_="key", aria_label="colours of the compute bars")


def published_section(flops: int) -> Markup | None:
    """Return a table of the published networks of about this budget, None without any."""
    near = published_near(flops) if flops else ()
    if not near:
        return None
    names = ("hard", "medium", "easy", "FLOPs", "params")
    columns = [column("published"), column("from"), *map(number_column, names)]
    note = (
        "Published networks of about this budget, trained for 640 epochs on all of WIDER FACE; "
        "figures from the papers. They are not comparable with the candidates of this search, "
        "which were trained differently."
    )
    rows = [_published_row(row) for row in near]
    board = table(columns, rows, class_="published")
    return join(tag("h3", "Published (640 epochs)"), tag("p", note, class_="soft"), board)


def _published_row(row: Published) -> list[Markup]:
    cells = [cell(row.name), cell(row.family)]
    cells += [number(format_ap(value), value) for value in (row.hard, row.medium, row.easy)]
    params = None if row.params is None else f"{row.params / 1e6:.2f}M"
    return [*cells, number(format_flops(row.flops), row.flops), number(params, row.params)]


def _failure(stage: int, candidate: CandidateData) -> list[Markup]:
    failure = candidate.outcome
    assert isinstance(failure, TrialFailure)
    cells = [number(str(stage)), number(str(candidate.candidate)), cell(failure.kind)]
    cells += [number(str(failure.epoch)), number(str(failure.attempts))]
    return [*cells, cell(failure.reason, class_="wrap")]
