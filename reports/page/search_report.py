"""The report of a search: `report.html`, and its figures as files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from reports.figures import plots
from reports.figures.chart import Chart, save_table
from reports.figures.shares import share_table
from reports.page import sections
from reports.page.evidence import evidence_charts, evidence_section
from reports.page.figure import figure
from reports.page.findings import why_it_wins
from reports.page.html import Markup, join, page, prose, tag
from reports.search_data import SearchData, StageData
from search_spaces.files import write_text

REPORT_FILE = "report.html"
FIGURES = "report"
_NO_DRAWS = "No draws were rejected: the members of this space are counted and drawn by rank."


def write_report(search: SearchData, root: Path) -> Path:
    """Write `root/report.html`, and every figure as SVG, PNG and CSV to `root/report/`.

    The page is self-contained. Equal data give equal files.

    Returns:
        Path of the page.
    """
    charts = search_charts(search)
    for chart in charts:
        chart.save(root / FIGURES)
    for stage in search.stages:
        save_table(share_table(stage), root / FIGURES / f"ranges_stage{stage.stage}.csv")
    write_text(root / REPORT_FILE, report_page(search, charts))
    return root / REPORT_FILE


def search_charts(search: SearchData) -> list[Chart]:
    """Return the charts that have data, in the order of the page."""
    return [*_stage_charts(search.stages), *_search_charts(search.stages)]


def report_page(search: SearchData, charts: Sequence[Chart]) -> str:
    """Return the page with these charts (see `search_charts`)."""
    by_name = {chart.name: chart for chart in charts}
    lines = (tag("p", sections.summary_line(stage), class_="soft") for stage in search.stages)
    links = [(f"stage{s.stage}", f"Stage {s.stage}") for s in search.stages]
    links += [("population", "Population and cost"), ("failed", "Failed trials")]
    links += [("repeat", "How to repeat")]
    content = [
        tag("h1", f"Search {search.name}"),
        *lines,
        tag("nav", *(tag("a", text, href=f"#{target}") for target, text in links)),
        *(_stage(stage, by_name) for stage in search.stages),
        tag("h2", "Population and cost", id="population"),
        *_figures(by_name, ("edf", "progress", "cost")),
        tag("h2", "Failed trials", id="failed"),
        sections.failure_section(search.stages),
        tag("h2", "How to repeat", id="repeat"),
        tag("p", "Run with the search.yaml of this search in another folder:"),
        *(sections.repeat_section(stage) for stage in search.stages),
    ]
    return page(f"scrfd-nas: {search.name}", *content)


def _stage(stage: StageData, charts: dict[str, Chart]) -> Markup:
    n = stage.stage
    best = stage.finished[:1]
    title = f"Stage {n}: why candidate {best[0].candidate} wins" if best else f"Stage {n}"
    return join(
        tag("h2", title, id=f"stage{n}"),
        tag("p", prose(" ".join(why_it_wins(stage)))),
        tag("p", sections.selection_note(stage), class_="note"),
        tag("h3", "Leaderboard"),
        sections.leaderboard_section(stage),
        evidence_section(stage, charts),
        *_figures(charts, (f"shares_stage{n}",)),
        sections.share_section(share_table(stage)),
        *_figures(charts, (f"curves_stage{n}", f"sampler_stage{n}")),
        None if stage.draws is not None else tag("p", _NO_DRAWS, class_="soft"),
    )


def _figures(charts: dict[str, Chart], names: Sequence[str]) -> list[Markup]:
    return [figure(charts[name]) for name in names if name in charts]


def _stage_charts(stages: Sequence[StageData]) -> Iterator[Chart]:
    for stage in stages:
        yield from evidence_charts(stage)
        if stage.finished:
            yield plots.shares_chart(stage)
        if any(c.curve and c.curve.last for c in stage.candidates):
            yield plots.curves_chart(stage)
        if stage.draws is not None and len(stage.draws.flops):
            yield plots.sampler_chart(stage.draws, stage.stage)


def _search_charts(stages: Sequence[StageData]) -> Iterator[Chart]:
    with_results = [stage for stage in stages if stage.finished]
    if with_results:
        hard = {f"stage {s.stage}": [c.hard or 0.0 for c in s.finished] for s in with_results}
        yield plots.edf_chart(hard)
        yield plots.progress_chart(with_results)
        yield plots.cost_chart(with_results)
