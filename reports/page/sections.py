"""Sections of the report of a search: tables and text as HTML."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from reports.leaderboard import to_records
from reports.page.html import Markup, cell, column, join, number, number_column, table, tag
from reports.page.text import describe, format_ap, format_flops, percent
from reports.search_data import CandidateData, StageData
from search_spaces.architecture import Architecture
from search_spaces.cost.detector import PARTS, flops_by_part, total
from search_spaces.yaml_files import dump_yaml
from search_spaces.zoo.published import Published, published_near
from trials.result import TrialFailure

EARLY = ("stem", "c2", "c3")  # parts with most compute in the paper's best networks


def leaderboard_section(stage: StageData) -> Markup:
    """Return a table of all candidates, and one of published networks of the same budget."""
    known = {candidate.candidate: candidate for candidate in stage.candidates}
    timed = any(candidate.latency for candidate in stage.candidates)
    seeded = "seeds" in stage.table
    columns = [number_column(text) for text in ("rank", "candidate", "hard")]
    columns += [number_column("mean ± 95 % (seeds)")] if seeded else []
    columns += [column("compute", f"sorts by {' + '.join(EARLY)}")]
    columns += [number_column(text) for text in ("medium", "easy", "FLOPs", "params")]
    columns += [number_column("ms")] if timed else []
    columns += [number_column("epochs"), number_column("min"), column("state"), column("network")]
    rows = [
        _row(record, known[record["candidate"]], timed=timed, seeded=seeded)
        for record in to_records(stage.table)
        if record["candidate"] in known
    ]
    if not rows:
        return tag("p", f"Stage {stage.stage} has no candidates yet.")
    board = table(columns, rows, class_="sortable")
    ties = "Candidates of equal rank do not differ significantly over several seeds."
    note = tag("p", ties, class_="soft") if seeded else None
    return join(_key(), board, note, _published(int(stage.request.get("flops", 0))))


def share_section(shares: pd.DataFrame) -> Markup | None:
    """Return the table of `share_table`, or None without results."""
    if shares.empty:
        return None
    names = ("winner", "median of all", "range of the best (95 %)", "rank correlation")
    columns = [column("part"), *map(number_column, names)]
    rows = []
    for row in to_records(shares):
        p = "p < 0.01" if (row["p"] or 0) < 0.01 else f"p {row['p']:.2f}"
        rho = "" if row["rho"] is None else f"{row['rho']:+.2f} ({p})"
        rows.append(
            [
                cell(row["part"]),
                number(percent(row["best"]), row["best"]),
                number(percent(row["median"]), row["median"]),
                number(f"{percent(row['low'])} to {percent(row['high'])}", row["middle"]),
                number(rho, row["rho"]),
            ]
        )
    note = "The table has seven tests: one of seven p-values below 0.05 is not unusual."
    return join(table(columns, rows, class_="sortable"), tag("p", note, class_="soft"))


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
    command = f"scrfd-nas stage{stage.stage} --config search.yaml --search-dir again"
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
        tag("pre", command),
        tag("div", tag("table", body), class_="scroll", tabindex=0),
        tag("details", tag("summary", "the full request"), request),
    )


def summary_line(stage: StageData) -> str:
    """Return a summary of a stage in one line."""
    request, finished = stage.request, len(stage.finished)
    text = f"Stage {stage.stage}: {finished} of {len(stage.candidates)} candidates finished"
    text += f", {request.get('epochs')} epochs at {request.get('image_size')} px"
    flops = request.get("flops")
    return text + (f", budget {format_flops(flops)} FLOPs." if isinstance(flops, int) else ".")


def selection_note(stage: StageData) -> str:
    """Return a note on the images of which the ranks are, and on the faces that count."""
    chosen = str(stage.request.get("select_on", "val"))
    subsets = str(stage.record.get("subsets", ""))
    rule = f" In them, {subsets}." if subsets else ""
    if chosen == "val":
        return (
            "Candidates are ranked by APs of the validation images: the AP of the best is the "
            f"largest of many and therefore biased upwards.{rule}"
        )
    used = f"Ranks and APs are of {chosen} of the training images"
    return f"{used}; validation images are unused.{rule}"


def _row(
    record: Mapping[str, Any], candidate: CandidateData, *, timed: bool, seeded: bool
) -> list[Markup]:
    rank = record["rank"]
    cells = [number(None if rank is None else str(rank)), number(str(record["candidate"]))]
    cells += [number(format_ap(record["hard"]), record["hard"])]
    cells += [_seeds(record)] if seeded else []
    cells += [_bar(candidate.architecture)]
    cells += [number(format_ap(record[name]), record[name]) for name in ("medium", "easy")]
    cells += [number(format_flops(record["flops"]), record["flops"])]
    cells += [number(f"{record['params'] / 1e6:.3f}M", record["params"])]
    if timed:
        latency = candidate.latency.median_ms if candidate.latency else None
        cells.append(number(None if latency is None else f"{latency:.1f}", latency))
    seconds = record["duration_s"]
    minutes = None if seconds is None else f"{seconds / 60:.1f}"
    cells += [number(str(record["epochs"])), number(minutes, seconds)]
    return [*cells, _state(record), cell(describe(candidate.architecture))]


def _seeds(record: Mapping[str, Any]) -> Markup:
    """Return a cell with the mean over seeds and the half-width of its interval."""
    mean = record["hard_mean"]
    if mean is None:
        return number(None)
    half = max(record["hard_high"] - mean, mean - record["hard_low"])  # one end may be cut
    return number(f"{mean:.4f} ± {half:.4f} ({record['seeds']})", mean)


def _state(record: Mapping[str, Any]) -> Markup:
    """Return a cell with the state, and the last hard AP of a stopped trial."""
    last = format_ap(record["last_hard"])
    return cell(record["state"] + (f" (hard AP {last})" if last else ""))


def _bar(architecture: Architecture) -> Markup:
    """Return a cell with the shares of compute as a bar, and as text for screen readers."""
    flops = flops_by_part(architecture)
    shares = {part: flops[part] / total(flops) for part in PARTS}
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


def _published(flops: int) -> Markup | None:
    near = published_near(flops) if flops else ()
    if not near:
        return None
    names = ("hard", "medium", "easy", "FLOPs", "params")
    columns = [column("published"), column("from"), *map(number_column, names)]
    note = (
        "Published networks of about this budget, trained for 640 epochs on all of WIDER FACE; "
        "figures from the papers. They are not comparable with the ranking above, whose candidates "
        "were trained differently."
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
