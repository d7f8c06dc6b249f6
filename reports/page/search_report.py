"""The report of a search: `report.html`, and its figures as files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from reports.figures import search_plots, stage_plots
from reports.figures.chart import Chart, save_table
from reports.figures.shares import share_table
from reports.page import sections
from reports.page.evidence import evidence_charts, evidence_section
from reports.page.figure import figure
from reports.page.findings import compute_findings
from reports.page.html import Markup, join, page, prose, tag
from reports.page.summary import stage_verdict, summary_section, winner
from reports.search_data import SearchData, StageData
from search_spaces.files import write_text

REPORT_FILE = "report.html"
FIGURES = "report"
_NO_DRAWS = "No draws were rejected: the members of this space are counted and drawn by rank."
Shares = Mapping[int, pd.DataFrame]  # by stage


def write_report(search: SearchData, root: Path) -> Path:
    """Write `root/report.html`, and every figure as SVG, PNG and CSV to `root/report/`.

    The page is self-contained. Equal data give equal files.

    Returns:
        Path of the page.
    """
    shares = {stage.stage: share_table(stage) for stage in search.stages}
    charts = [*_stage_charts(search.stages), *_search_charts(search.stages)]
    for chart in charts:
        chart.save(root / FIGURES)
    for number, table in shares.items():
        save_table(table, root / FIGURES / f"ranges_stage{number}.csv")
    write_text(root / REPORT_FILE, report_page(search, charts, shares))
    return root / REPORT_FILE


def report_page(search: SearchData, charts: Sequence[Chart], shares: Shares) -> str:
    """Return the page with these charts and tables of `share_table`."""
    won = winner(search)
    by_name = {chart.name: chart for chart in charts}
    later_first = sorted(search.stages, key=lambda stage: -stage.stage)
    links = [("summary", "Winner")]
    links += [(f"stage{s.stage}", f"Stage {s.stage}") for s in later_first]
    links += [("population", "All candidates"), ("failed", "Failed trials"), ("repeat", "Repeat")]
    content = [
        tag("h1", search.name),
        *(tag("p", sections.summary_line(stage), class_="soft") for stage in search.stages),
        tag("nav", *(tag("a", text, href=f"#{target}") for target, text in links)),
        summary_section(search),
        None if won is None else evidence_section(won.stage, by_name),
        *(
            _stage(
                stage, by_name, shares[stage.stage], is_first=won is not None and stage is won.stage
            )
            for stage in later_first
        ),
        tag("h2", "All candidates", id="population"),
        *_figures(by_name, ("cost", "edf", "progress")),
        *_published(search.stages),
        tag("h2", "Failed trials", id="failed"),
        sections.failure_section(search.stages),
        tag("h2", "How to repeat", id="repeat"),
        tag("p", "Run with the search.yaml of this search in another folder:"),
        *(sections.repeat_section(stage) for stage in search.stages),
    ]
    return page(search.name, *content)


def _stage(
    stage: StageData, charts: Mapping[str, Chart], shares: pd.DataFrame, *, is_first: bool
) -> Markup:
    """Return the section of a stage; the card has the verdict and the evidence of the first."""
    n = stage.stage
    return join(
        tag("h2", f"Stage {n}", id=f"stage{n}"),
        None if is_first else _lead(stage),
        sections.leaderboard_section(stage),
        evidence_section(stage, charts) if not is_first and stage.evaluations.records else None,
        tag("h3", "Where the compute goes") if stage.finished else None,
        tag("p", prose(compute_findings(stage, shares))) if stage.finished else None,
        *_figures(charts, (f"shares_stage{n}",)),
        sections.share_section(shares),
        *_figures(charts, (f"curves_stage{n}", f"sampler_stage{n}")),
        None if stage.draws is not None else tag("p", _NO_DRAWS, class_="soft"),
    )


def _lead(stage: StageData) -> Markup:
    """Return the best candidate of a stage and the verdict on it."""
    found = stage_verdict(stage)
    best = "".join(
        f"Candidate {c.candidate} leads with hard AP {c.mean_hard:.4f}. "
        for c in stage.finished[:1]
    )
    return tag("p", best, tag("b", f"{found.label}."), " ", prose(found.reason))


def _published(stages: Sequence[StageData]) -> list[Markup | None]:
    budgets = dict.fromkeys(int(stage.request.get("flops", 0)) for stage in stages)
    return [sections.published_section(flops) for flops in budgets]


def _figures(charts: Mapping[str, Chart], names: Sequence[str]) -> list[Markup]:
    return [figure(charts[name]) for name in names if name in charts]


def _stage_charts(stages: Sequence[StageData]) -> Iterator[Chart]:
    for stage in stages:
        yield from evidence_charts(stage)
        if stage.finished:
            yield stage_plots.shares_chart(stage)
        if any(c.curve and c.curve.last for c in stage.candidates):
            yield stage_plots.curves_chart(stage)
        if stage.draws is not None and len(stage.draws.flops):
            yield stage_plots.sampler_chart(stage.draws, stage.stage)


def _search_charts(stages: Sequence[StageData]) -> Iterator[Chart]:
    with_results = [stage for stage in stages if stage.finished]
    if with_results:
        yield search_plots.cost_chart(with_results)
        hard = {f"stage {s.stage}": [c.hard or 0.0 for c in s.finished] for s in with_results}
        yield search_plots.edf_chart(hard)
        yield search_plots.progress_chart(with_results)
