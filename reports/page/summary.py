"""The first section of a report: what won, whether to trust it, and what to do next."""

import shlex
from dataclasses import dataclass
from typing import Any

import numpy as np

from reports.page.diagram import network_diagram
from reports.page.findings import noise_threshold
from reports.page.html import Markup, command, prose, tag
from reports.page.text import format_ap, format_flops
from reports.search_data import CandidateData, SearchData, StageData
from reports.statistics.confirmation import confirmed
from reports.statistics.verdict import Verdict, verdict
from search_spaces.errors import counted


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The best candidate of a search, its stage, and the verdict on it."""

    stage: StageData
    candidate: CandidateData
    verdict: Verdict


def stage_verdict(stage: StageData) -> Verdict:
    """Return the verdict on the best candidate of a stage."""
    hards = {c.candidate: c.hards or (c.hard or 0.0,) for c in stage.finished}
    left = sum(candidate.outcome is None for candidate in stage.candidates)
    return verdict(hards, left=left, noise=noise_threshold(stage))


def winner(search: SearchData) -> Winner | None:
    """Return the best of the best candidates of all stages, the later among equals."""
    best = [(s.finished[0].mean_hard, s.stage, s) for s in search.stages if s.finished]
    if not best:
        return None
    stage = max(best, key=lambda item: item[:2])[2]
    return Winner(stage=stage, candidate=stage.finished[0], verdict=stage_verdict(stage))


def conclusion(search: SearchData) -> dict[str, Any]:
    """Return the best candidate and the verdict on it, as JSON data.

    `title` names it, `label` and `reason` are those of the verdict. `stage` and
    `candidate` are those of the best, None without one.
    """
    won = winner(search)
    stage = number = None
    if won is None:
        left = sum(c.outcome is None for one in search.stages for c in one.candidates)
        found, title = verdict({}, left=left), "No candidate has a hard AP"
    else:
        found, stage, number = won.verdict, won.stage.stage, won.candidate.candidate
        verb = "wins" if found.kind == "trust" else "leads"
        title = f"Candidate {number} of stage {stage} {verb}: hard AP {won.candidate.mean_hard:.4f}"
    words = {"title": title, "label": found.label, "reason": found.reason}
    return {"stage": stage, "candidate": number, "kind": found.kind, **words}


def summary_section(search: SearchData) -> Markup:
    """Return the card of the winner, or what is missing for one."""
    won, said = winner(search), conclusion(search)
    if won is None:
        badge = tag("p", said["label"], class_="verdict")
        return tag("section", badge, tag("p", said["reason"]), class_="card none", id="summary")
    found = won.verdict
    return tag(
        "section",
        tag("h2", said["title"]),
        tag(
            "div",
            tag("p", tag("strong", found.label, class_="verdict"), " ", prose(found.reason)),
            *_next_step(search, won),
            class_="decision",
        ),
        tag("div", _facts(won), network_diagram(won.candidate.architecture), class_="figures"),
        tag("div", *_gains(search, won), _selection_note(won.stage), class_="gains"),
        class_=f"card {found.kind}",
        id="summary",
    )


def _next_step(search: SearchData, won: Winner) -> list[Markup]:
    """Return the next step as a sentence and a command."""
    place, stage, found = shlex.quote(search.location), won.stage.stage, won.verdict
    folder = f"{search.location}/stage{stage}/{won.candidate.candidate:04d}"
    if found.kind == "wait":
        text = "Next: let the search run on, or resume it if it was interrupted."
        return [tag("p", text), command(f"scrfd-nas resume --search-dir {place}")]
    if found.kind == "alone":
        return [tag("p", "Next: train more candidates, with a larger `--num-candidates`.")]
    if found.top:
        text = "Next: train the best with other seeds."
        if found.ties:
            text = f"{_cheapest(won)} Or separate them with more seeds:"
        options = f"--stage {stage} --top {found.top} --seeds {found.seeds}"
        return [tag("p", text), command(f"scrfd-nas confirm {options} --search-dir {place}")]
    if stage == 1 and len(search.stages) == 1:
        text = "Next: search the whole network around it."
        return [tag("p", text), command(f"scrfd-nas stage2 --template best --search-dir {place}")]
    data = shlex.quote(str(won.stage.request.get("data", "DATA")))
    line = f"scrfd-nas train {shlex.quote(folder)} --data {data} --epochs 640 --out final"
    return [tag("p", "Next: train it to the end."), command(line)]


def _cheapest(won: Winner) -> str:
    """Return which of the tied candidates costs least."""
    numbers = (won.candidate.candidate, *won.verdict.ties)
    tied = [c for c in won.stage.finished if c.candidate in numbers]
    if all(c.latency for c in tied):
        best = min(tied, key=lambda c: c.latency.median_ms if c.latency else 0.0)
        cost = f"fastest of them ({best.latency.median_ms:.1f} ms)" if best.latency else ""
    else:
        best = min(tied, key=lambda c: c.cost["flops"])
        cost = f"cheapest of them ({format_flops(best.cost['flops'])} FLOPs)"
    return f"Next: any of them is a fair choice; candidate {best.candidate} is the {cost}."


def _facts(won: Winner) -> Markup:
    """Return the figures of the winner."""
    candidate, stage = won.candidate, won.stage
    spread = confirmed({c.candidate: c.hards for c in stage.finished}).get(candidate.candidate)
    note = seed = "one seed"
    if spread is not None:
        note = f"{spread.low:.4f} to {spread.high:.4f} (95 %, {spread.seeds} seeds)"
        seed = f"seed {stage.request.get('seed', 0)}"
    facts = [("hard AP", f"{won.candidate.mean_hard:.4f}", note)]
    for name in ("medium", "easy"):
        value = format_ap(getattr(candidate.outcome, name))
        facts.append((f"{name} AP", value or "", seed))
    facts += [("FLOPs", format_flops(candidate.cost["flops"]), "multiply-adds at 640x480")]
    facts += [("parameters", f"{candidate.cost['params'] / 1e6:.3f}M", "")]
    if candidate.latency is not None:
        timed = candidate.latency
        where = f"{timed.runtime}, {timed.device}, {counted(timed.threads, 'thread')}"
        limit = stage.request.get("max_latency")
        where += f"; limit {limit:g} ms" if limit else ""
        facts += [("latency", f"{timed.median_ms:.1f} ms", where)]
    items = (tag("div", tag("dt", a), tag("dd", b, tag("small", c))) for a, b, c in facts)
    return tag("dl", *items, class_="facts")


def _gains(search: SearchData, won: Winner) -> list[Markup]:
    """Return the lead over baselines, over the best of the stage before, and over the median."""
    lines = []
    for name, hard in search.baselines.items():
        lines.append(_gain(won, (hard,), f"{name}, trained in the same way"))
    for stage in search.stages:
        if stage.stage < won.stage.stage and stage.finished:
            best = stage.finished[0]
            what = f"the best of stage {stage.stage}, candidate {best.candidate}"
            lines.append(_gain(won, best.hards or (best.hard or 0.0,), what))
    others = [c.hard or 0.0 for c in won.stage.finished]
    if len(others) > 1:
        what = f"the median of the {len(others)} candidates of its stage"
        lines.append(
            f"{won.candidate.mean_hard - float(np.median(others)):+.4f} hard AP over {what}."
        )
    content = [tag("h3", "What it gains"), tag("ul", *(tag("li", text) for text in lines))]
    if not search.baselines:
        text = (
            "No published network was trained in the same way, so that its worth over one is open."
        )
        content.append(tag("p", text + (" To train one:" if search.baseline_command else "")))
        content += [command(search.baseline_command)] if search.baseline_command else []
    return content


def _selection_note(stage: StageData) -> Markup:
    """Return on which images and faces the APs are."""
    chosen = str(stage.request.get("select_on", "val"))
    subsets = str(stage.record.get("subsets", ""))
    text = f"APs are of {chosen} of the training images; validation images are unused."
    if chosen == "val":
        text = "Candidates are ranked by APs of the validation images; that of the best of many is "
        text += "biased upwards."
    return tag("p", text + (f" In them, {subsets}." if subsets else ""), class_="soft")


def _gain(won: Winner, hards: tuple[float, ...], what: str) -> str:
    """Return the lead over other hard APs, and whether seeds alone explain it."""
    lead = f"{won.candidate.mean_hard - float(np.mean(hards)):+.4f} hard AP over {what}"
    found = confirmed({1: won.candidate.hards, 2: hards})
    if len(found) < 2:
        return f"{lead} (a single seed)."
    is_tie = len({item.tie for item in found.values()}) == 1
    return f"{lead} ({'within' if is_tie else 'beyond'} the spread of the seeds)."
